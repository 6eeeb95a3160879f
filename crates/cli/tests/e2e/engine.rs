//! A real Docker engine, for one test.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::dhow::{Desk, Outcome, outcome};
use crate::tools;

/// A running dockerd, stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    child: Child,
    folder: PathBuf,
    /// `unix:///PATH`.
    pub(crate) host: String,
}

impl Engine {
    /// Starts dockerd in a folder of the desk, listening on its socket and where `more` says.
    /// `None` where there is none, or nobody may start it.
    pub(crate) fn start(desk: &Desk, name: &str, more: &[String]) -> Option<Self> {
        if !tools::has("dockerd") || !tools::has("curl") || !tools::is_root() {
            return None;
        }
        let folder = desk.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        let at = |file: &str| folder.join(file).display().to_string();
        let host = format!("unix://{}", at("docker.sock"));
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new("/usr/sbin/dockerd");
        command
            .args(["--iptables=false", "--bridge=none", "--storage-driver=vfs"])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .args(["--pidfile", &at("pid"), "--host", &host])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().unwrap();
        let engine = Self {
            child,
            folder,
            host,
        };
        engine.wait(desk);
        Some(engine)
    }

    fn wait(&self, desk: &Desk) {
        let start = Instant::now();
        while self.curl(desk, &["http://engine/_ping"]).code != Some(0) {
            if start.elapsed() > START {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("dockerd does not start:\n{log}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks the engine, past dhow.
    pub(crate) fn curl(&self, desk: &Desk, arguments: &[&str]) -> Outcome {
        let socket = self.host.trim_start_matches("unix://");
        let mut command = desk.dressed("curl");
        command.args(["--silent", "--fail", "--unix-socket", socket]);
        outcome(command.args(arguments))
    }

    /// Returns what the engine says of an image.
    #[track_caller]
    pub(crate) fn image(&self, desk: &Desk, name: &str) -> serde_json::Value {
        self.curl(desk, &[&format!("http://engine/images/{name}/json")])
            .json()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It ends its containerd, too, when it is asked and not killed.
        let id = rustix::process::Pid::from_child(&self.child);
        let _asked = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < START {
            thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How long the engine may take to start or to end.
const START: Duration = Duration::from_secs(40);
