//! Credential helpers: programs called `docker-credential-NAME` that keep credentials elsewhere
//! (docker-credential-helpers' protocol: the action as argument, JSON or a name on stdin, JSON on
//! stdout).
//!
//! A helper runs without a shell, in a process group of its own, for a bounded time, and its output
//! is bounded. What it says when it does not do what it should is never shown: it may be a secret.
//! Nobody falls back to other credentials then.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{ConfigError, Credentials, EnvSnapshot, Secret};

/// How long a helper may take: it may have to ask its user to unlock something.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The most that a helper may say, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;
/// What helpers say when they have nothing for a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user name that stands for "the secret is an identity token".
const TOKEN_USER: &str = "<token>";

/// A credential helper.
#[derive(Clone, Debug)]
pub struct CredentialProgram {
    name: String,
    /// The file that names it, for messages.
    named_in: PathBuf,
    time_limit: Duration,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: Secret,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    #[serde(rename = "Username")]
    username: &'a str,
    #[serde(rename = "Secret")]
    secret: &'a str,
}

impl CredentialProgram {
    /// Returns the helper called `name` in the file `named_in`.
    pub fn new(name: &str, named_in: &Path) -> Self {
        Self {
            name: name.to_owned(),
            named_in: named_in.to_owned(),
            time_limit: TIME_LIMIT,
        }
    }

    /// Returns the same helper with another limit of time.
    #[must_use]
    pub const fn within(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// Returns the program's name.
    pub fn program(&self) -> String {
        format!("docker-credential-{}", self.name.escape_debug())
    }

    /// Finds the program in the folders of `PATH`.
    ///
    /// # Errors
    /// When there is none, or it cannot be run.
    pub fn find(&self, environment: &EnvSnapshot) -> Result<PathBuf, ConfigError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.name.is_empty()
            || self.name.starts_with(['.', '-'])
            || !self.name.chars().all(plain)
        {
            return Err(self.fault("is not called as helpers may be called"));
        }
        let program = self.program();
        let mut there = None;
        // A relative folder would let the working directory decide what is run.
        let folders = environment.variable("PATH").unwrap_or_default().split(':');
        for folder in folders.map(Path::new).filter(|path| path.is_absolute()) {
            let path = folder.join(&program);
            match path.metadata() {
                Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => {
                    return Ok(path);
                }
                Ok(_) => there = Some(path),
                Err(_) => {}
            }
        }
        Err(match there {
            Some(path) => self.fault(format!("is at `{}`, but is no program", path.display())),
            None => self.fault("is not installed in any folder of PATH"),
        })
    }

    /// Asks for the credentials of a registry; `None` when the helper has none.
    ///
    /// # Errors
    /// When the helper is missing or does not do what it should.
    pub fn get(
        &self,
        environment: &EnvSnapshot,
        server: &str,
    ) -> Result<Option<Credentials>, ConfigError> {
        let (status, answer) = self.run(environment, "get", server.as_bytes(), server)?;
        if !status.success() {
            if answer.trim_ascii() == NOT_FOUND.as_bytes() {
                return Ok(None);
            }
            return Err(self.fault(ended(status)));
        }
        let Ok(answer) = serde_json::from_slice::<Answer>(&answer) else {
            return Err(self.fault("answered something that is not what helpers answer"));
        };
        if answer.secret.expose().is_empty() {
            return Ok(None);
        }
        Ok(Some(if answer.username == TOKEN_USER {
            Credentials::IdentityToken(answer.secret)
        } else {
            Credentials::Basic {
                username: answer.username,
                password: answer.secret,
            }
        }))
    }

    /// Gives credentials to the helper to keep.
    ///
    /// # Errors
    /// When the helper is missing or does not do what it should.
    pub fn store(
        &self,
        environment: &EnvSnapshot,
        server: &str,
        username: &str,
        secret: &Secret,
    ) -> Result<(), ConfigError> {
        let entry = Entry {
            server,
            username,
            secret: secret.expose(),
        };
        let input = serde_json::to_vec(&entry).map(Zeroizing::new);
        let input = input.map_err(|_| self.fault("cannot be given these credentials"))?;
        let (status, _) = self.run(environment, "store", &input, server)?;
        if status.success() {
            return Ok(());
        }
        Err(self.fault(ended(status)))
    }

    /// Lets the helper forget the credentials of a registry; returns whether it had any.
    ///
    /// # Errors
    /// When the helper is missing or does not do what it should.
    pub fn erase(&self, environment: &EnvSnapshot, server: &str) -> Result<bool, ConfigError> {
        let (status, answer) = self.run(environment, "erase", server.as_bytes(), server)?;
        if status.success() {
            return Ok(true);
        }
        if answer.trim_ascii() == NOT_FOUND.as_bytes() {
            return Ok(false);
        }
        Err(self.fault(ended(status)))
    }

    fn run(
        &self,
        environment: &EnvSnapshot,
        action: &str,
        input: &[u8],
        server: &str,
    ) -> Result<(ExitStatus, Zeroizing<Vec<u8>>), ConfigError> {
        if server.is_empty() || server.contains(char::is_control) {
            return Err(self.fault("cannot be asked about a name with control characters"));
        }
        let program = self.find(environment)?;
        let end = Instant::now() + self.time_limit;
        let mut child = Command::new(&program)
            .arg(action)
            .env_clear()
            .envs(&environment.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It may be a secret, and it is for the helper's user at a terminal.
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|source| self.fault(format!("cannot be started: {source}")))?;
        let outcome = self.talk(&mut child, input, end);
        if outcome.is_err() {
            stop(&mut child);
        }
        outcome
    }

    fn talk(
        &self,
        child: &mut Child,
        input: &[u8],
        end: Instant,
    ) -> Result<(ExitStatus, Zeroizing<Vec<u8>>), ConfigError> {
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(self.fault("has no streams"));
        };
        let input = Zeroizing::new([input, b"\n"].concat());
        // A helper that reads nothing, or says nothing, holds up a thread and not the program.
        thread::spawn(move || drop(stdin.write_all(&input)));
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut answer = Zeroizing::new(Vec::new());
            let read = stdout.take(MAX_ANSWER + 1).read_to_end(&mut answer);
            drop(tell.send(read.map(|_| answer)));
        });
        let slow = || {
            self.fault(format!(
                "did not end within {} seconds",
                self.time_limit.as_secs_f32()
            ))
        };
        let left = |end: Instant| end.saturating_duration_since(Instant::now());
        let answer = match told.recv_timeout(left(end)) {
            Ok(Ok(answer)) if answer.len() as u64 > MAX_ANSWER => {
                return Err(self.fault(format!("said more than {MAX_ANSWER} bytes")));
            }
            Ok(Ok(answer)) => answer,
            Ok(Err(source)) => return Err(self.fault(format!("cannot be listened to: {source}"))),
            Err(_) => return Err(slow()),
        };
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok((status, answer)),
                Ok(None) if left(end).is_zero() => return Err(slow()),
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                Err(source) => return Err(self.fault(format!("was lost: {source}"))),
            }
        }
    }

    fn fault(&self, why: impl Into<String>) -> ConfigError {
        ConfigError::Helper {
            program: self.program(),
            named_in: self.named_in.clone(),
            why: why.into(),
        }
    }
}

fn ended(status: ExitStatus) -> String {
    format!("did not do it and ended with {status}")
}

/// Ends the helper and everything that it has started.
fn stop(child: &mut Child) {
    let group = i32::try_from(child.id()).ok();
    if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
        // It may have ended by itself.
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
    }
    drop(child.kill());
    drop(child.wait());
}
