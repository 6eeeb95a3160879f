//! Runs the binary with a clean environment in a directory of its own, and holds what it said.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dhow_model::Digest;
use tempfile::TempDir;

/// A directory with an image in it, and the binary under one of its names.
#[derive(Debug)]
pub(crate) struct Bench {
    place: TempDir,
    program: PathBuf,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    /// The binary as `dhow`.
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().expect("a test can make a directory");
        write_image(&place.path().join("image"));
        Self {
            place,
            program: PathBuf::from(env!("CARGO_BIN_EXE_dhow")),
        }
    }

    /// The binary as `skopeo`, through a link.
    pub(crate) fn skopeo() -> Self {
        let mut bench = Self::new();
        let link = bench.path("skopeo");
        std::os::unix::fs::symlink(&bench.program, &link).expect("a test can make a link");
        bench.program = link;
        bench
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The command with these arguments, not started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.place.path())
            .current_dir(self.place.path());
        command
    }

    /// Runs with these arguments, which blanks separate.
    pub(crate) fn run(&self, arguments: &str) -> Run {
        self.run_with(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs with these arguments.
    pub(crate) fn run_with(&self, arguments: &[&str]) -> Run {
        self.run_fed(arguments, "")
    }

    /// Runs with these arguments and this on stdin.
    pub(crate) fn run_fed(&self, arguments: &[&str], input: &str) -> Run {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        // Who does not read it closes it, which is fine.
        stdin.write_all(input.as_bytes()).ok();
        drop(stdin);
        let output = child.wait_with_output().expect("the binary ends");
        Run {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }
}

/// The layer of the image: a tar file without entries, compressed.
const LAYER: &[u8] = &[
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, b'c', b'`', 0x18, 5, 0xa3, b'`', 0x14, 0x8c, b'T', 0, 0,
    b'.', 0xaf, 0xb5, 0xef, 0, 4, 0, 0,
];

/// Returns the config of the image.
pub(crate) fn config() -> String {
    let empty_tar = Digest::sha256(&[0; 1024]);
    format!(
        "{{\"created\":\"2024-01-02T03:04:05Z\",\"architecture\":\"amd64\",\"os\":\"linux\",\
         \"config\":{{\"Env\":[\"A=1\"],\"WorkingDir\":\"/w\",\"Labels\":{{\"who\":\"<me>\"}}}},\
         \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{empty_tar}\"]}}}}"
    )
}

/// Returns the manifest of the image.
pub(crate) fn manifest() -> String {
    let config = config();
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
         \"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\
         \"digest\":\"{}\",\"size\":{}}},\
         \"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\
         \"digest\":\"{}\",\"size\":{}}}]}}",
        Digest::sha256(config.as_bytes()),
        config.len(),
        Digest::sha256(LAYER),
        LAYER.len()
    )
}

/// Returns the digest of the manifest of the image.
pub(crate) fn digest() -> String {
    Digest::sha256(manifest().as_bytes()).to_string()
}

/// Writes the image as `dir:` has it.
fn write_image(directory: &Path) {
    fs::create_dir(directory).expect("a test can make a directory");
    let write = |name: &str, bytes: &[u8]| {
        fs::write(directory.join(name), bytes).expect("a test can write a file");
    };
    write("version", b"Directory Transport Version: 1.1\n");
    write("manifest.json", manifest().as_bytes());
    for blob in [config().as_bytes(), LAYER] {
        write(&Digest::sha256(blob).hex(), blob);
    }
}
