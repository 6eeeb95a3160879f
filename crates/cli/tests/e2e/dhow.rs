//! The binary under test, with an environment of its own.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A home, a working directory and a runtime directory for one test; gone with it.
#[derive(Debug)]
pub(crate) struct Desk {
    place: TempDir,
}

impl Desk {
    /// Makes the directories.
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().expect("a test can make a directory");
        for name in ["home", "run", "tmp", "work"] {
            std::fs::create_dir(place.path().join(name)).expect("a test can make a directory");
        }
        Self { place }
    }

    /// The directory in which commands run.
    pub(crate) fn work(&self) -> PathBuf {
        self.place.path().join("work")
    }

    /// A path in the working directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.work().join(name)
    }

    /// The user's home.
    pub(crate) fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }

    /// Returns dhow, ready for arguments.
    pub(crate) fn command(&self) -> Command {
        self.dressed(binary())
    }

    /// Returns any program in this environment.
    pub(crate) fn dressed(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.work())
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.place.path().join("run"))
            .env("TMPDIR", self.place.path().join("tmp"));
        for name in [
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "no_proxy",
            "NO_PROXY",
            "REGISTRY_AUTH_FILE",
            "DOCKER_CONFIG",
            "DOCKER_CONTEXT",
            "DOCKER_HOST",
            "DOCKER_TLS_VERIFY",
            "DOCKER_CERT_PATH",
            "XDG_CONFIG_HOME",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "RUST_LOG",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// Runs dhow with arguments and returns how it ended.
    pub(crate) fn dhow<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Outcome {
        outcome(self.command().args(arguments))
    }
}

/// Runs a command to its end.
pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    Outcome::new(format!("{command:?}"), &output)
}

/// Where the binary under test is.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dhow"))
}

/// How a command ended.
pub(crate) struct Outcome {
    command: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn new(command: String, output: &Output) -> Self {
        Self {
            command,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Returns stdout of a command that worked.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Returns stdout of a command that worked, as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let shown = format!("{self:?}");
        serde_json::from_str(&self.ok()).unwrap_or_else(|error| panic!("{error}: {shown}"))
    }

    /// Returns stderr of a command that ended with this code.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self.stderr
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            command,
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "{command}\nexit code {code:?}\nstdout:\n{stdout}\nstderr:\n{stderr}"
        )
    }
}
