//! A Docker engine as a child process, with all of its files in a directory of its own.
//!
//! It runs no containers, so it needs neither a network of its own nor a graph driver beyond copying
//! files. It needs root, and the right to mount: dockerd mounts its directory onto itself.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::dhow::{Outcome, outcome};
use crate::tools;

/// How an engine listens beside its socket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listening<'a> {
    /// Not at all.
    Socket,
    /// At a port, to anybody.
    Plain,
    /// At a port, to clients with a certificate of this authority, whose certificate it shows.
    Secured(&'a Authority),
}

/// A running engine. It is stopped, and leaves nothing behind, when it is dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    child: Child,
    place: TempDir,
    /// `127.0.0.1:PORT`, or nothing where it listens at its socket only.
    pub(crate) address: String,
}

impl Engine {
    /// Starts an engine at a socket, or skips the test with a word.
    pub(crate) fn start() -> Option<Self> {
        Self::listening(Listening::Socket)
    }

    /// Starts an engine that listens at a port, too, or skips the test with a word.
    #[expect(clippy::print_stderr, reason = "who runs tests wants to know")]
    pub(crate) fn listening(how: Listening<'_>) -> Option<Self> {
        if !tools::has("dockerd") || !tools::has("curl") {
            return None;
        }
        if !tools::is_root() {
            eprintln!("skipped: dockerd needs root");
            return None;
        }
        let place = tempfile::tempdir().expect("a test can make a directory");
        let log = fs::File::create(place.path().join("log")).unwrap();
        let address = match how {
            Listening::Socket => String::new(),
            Listening::Plain | Listening::Secured(_) => free_address(),
        };
        let mut command = command(place.path());
        if !address.is_empty() {
            command.args(["--host", &format!("tcp://{address}")]);
        }
        match how {
            // Without this word it waits for a while, so that its owner thinks about it.
            Listening::Socket | Listening::Plain => command.arg("--tls=false"),
            Listening::Secured(authority) => command
                .arg("--tlsverify")
                .arg("--tlscacert")
                .arg(authority.trusted.join("ca.crt"))
                .arg("--tlscert")
                .arg(&authority.certificate)
                .arg("--tlskey")
                .arg(&authority.key),
        };
        command.stdout(Stdio::null()).stderr(log);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let mut engine = Self {
            child,
            place,
            address,
        };
        engine.wait_until_it_answers();
        Some(engine)
    }

    /// The socket.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(self.place.path())
    }

    /// The socket, as `DOCKER_HOST` names it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Returns what `docker inspect` shows of an image.
    #[track_caller]
    pub(crate) fn image(&self, name: &str) -> Value {
        self.asked(&format!("/images/{name}/json"), &[]).json()
    }

    /// Returns the names of all images, sorted; images whose name went to another have none.
    #[track_caller]
    pub(crate) fn names(&self) -> Vec<String> {
        let images = self.asked("/images/json", &[]).json();
        let images = images.as_array().expect("it is a list").clone();
        let names = images
            .iter()
            .filter_map(|image| image["RepoTags"].as_array());
        let mut names: Vec<String> = names
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .filter(|name| name != "<none>:<none>")
            .collect();
        names.sort();
        names
    }

    /// Writes a file as `docker save` does.
    #[track_caller]
    pub(crate) fn save(&self, names: &[&str], file: &Path) {
        let names: Vec<String> = names.iter().map(|name| format!("names={name}")).collect();
        let path = format!("/images/get?{}", names.join("&"));
        let file = file.to_str().expect("its name is text");
        self.asked(&path, &["--output", file]).ok();
    }

    /// Reads a file as `docker load` does, and returns what the engine says of it.
    #[track_caller]
    pub(crate) fn load(&self, file: &Path) -> String {
        let file = file.to_str().expect("its name is text");
        let sending = ["--header", "Content-Type: application/x-tar", "-T", file];
        let posting = [&["--request", "POST"], &sending[..]].concat();
        self.asked("/images/load?quiet=0", &posting).ok()
    }

    /// Takes an image away, by any of its names.
    #[track_caller]
    pub(crate) fn remove(&self, name: &str) {
        let path = format!("/images/{name}?force=1");
        self.asked(&path, &["--request", "DELETE"]).ok();
    }

    fn asked(&self, path: &str, more: &[&str]) -> Outcome {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "60"])
            .arg("--unix-socket")
            .arg(self.socket())
            .args(more)
            .arg(format!("http://docker{path}"));
        outcome(&mut curl)
    }

    fn wait_until_it_answers(&mut self) {
        let started = Instant::now();
        let socket = self.socket();
        while !answers(&socket).unwrap_or(false) {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || started.elapsed() > START {
                let log = fs::read_to_string(self.place.path().join("log")).unwrap_or_default();
                panic!("dockerd does not answer ({ended:?}):\n{log}");
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Asked to end, it ends its containerd and unmounts what it has mounted.
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        let started = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && started.elapsed() < STOP {
            thread::sleep(PAUSE);
        }
        // containerd, asked to, ends with its parent.
        self.child.kill().ok();
        self.child.wait().ok();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        // What was mounted last is unmounted first.
        for point in points.collect::<Vec<_>>().into_iter().rev() {
            if Path::new(point).starts_with(self.place.path()) {
                Command::new("umount").arg(point).status().ok();
            }
        }
    }
}

/// Returns dockerd, with its files in a directory.
fn command(place: &Path) -> Command {
    // A test that is killed cannot stop it: then it ends by itself.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM", "/usr/sbin/dockerd"])
        .args(["--iptables=false", "--bridge=none", "--storage-driver=vfs"])
        .arg("--config-file")
        .arg(place.join("daemon.json"))
        .arg("--data-root")
        .arg(place.join("data"))
        .arg("--exec-root")
        .arg(place.join("exec"))
        .arg("--pidfile")
        .arg(place.join("pid"))
        .arg("--host")
        .arg(format!("unix://{}", socket(place).display()));
    fs::write(place.join("daemon.json"), "{}").unwrap();
    command
}

fn socket(place: &Path) -> PathBuf {
    place.join("docker.sock")
}

/// Returns whether an engine answers at a socket.
fn answers(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(START))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer.ends_with(b"OK"))
}

/// Returns an address at which nobody listens.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// How long an engine may take to answer.
const START: Duration = Duration::from_secs(30);

/// How long an engine may take to end.
const STOP: Duration = Duration::from_secs(15);

/// How long is waited between two looks at an engine.
const PAUSE: Duration = Duration::from_millis(20);

/// The largest answer to a greeting that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;
