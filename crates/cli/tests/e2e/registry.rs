//! Registries as child processes: Debian's docker-registry, and dhow's own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use dhow_testkit::token_service::{ISSUER, SERVICE, TokenService};

use crate::authority::Authority;
use crate::dhow::Desk;

/// How long a registry may take to listen.
const START: Duration = Duration::from_mins(1);

/// How a registry is asked to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// With a certificate of this authority.
    pub(crate) tls: Option<&'a Authority>,
    /// For this user with this password only.
    pub(crate) user: Option<(&'a str, &'a str)>,
    /// With tokens rather than Basic (dhow only).
    pub(crate) tokens: bool,
    /// Only for pulling (dhow only).
    pub(crate) read_only: bool,
    /// For clients with a certificate of this authority only (Debian's only, with `tls`).
    pub(crate) clients_of: Option<&'a Path>,
    /// For the tokens of this service only (Debian's only).
    pub(crate) signed: Option<&'a TokenService>,
}

/// A running registry, stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// Starts Debian's docker-registry; its files are under `name` of the desk.
    pub(crate) fn debian(desk: &Desk, name: &str, wanted: Wanted<'_>) -> Self {
        let directory = desk.path(name);
        fs::create_dir_all(&directory).unwrap();
        let tls = wanted.tls.map_or_else(String::new, |authority| {
            let (certificate, key) = (authority.certificate.display(), authority.key.display());
            let clients = wanted.clients_of.map_or_else(String::new, |authority| {
                format!(", clientcas: [{}]", authority.display())
            });
            format!("  tls: {{certificate: {certificate}, key: {key}{clients}}}\n")
        });
        let mut auth = wanted.user.map_or_else(String::new, |user| {
            let file = htpasswd(&directory, user);
            format!(
                "auth:\n  htpasswd: {{realm: test, path: {}}}\n",
                file.display()
            )
        });
        if let Some(service) = wanted.signed {
            let bundle = directory.join("tokens.crt");
            service.write_certificate(&bundle);
            auth = format!(
                "auth:\n  token: {{realm: '{}', service: {SERVICE}, issuer: {ISSUER}, \
                 rootcertbundle: {}}}\n",
                service.realm(),
                bundle.display()
            );
        }
        let configuration = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
             delete: {{enabled: true}}\ncompatibility: {{schema1: {{enabled: true}}}}\nhttp:\n  addr: 127.0.0.1:0\n{tls}{auth}",
            directory.display()
        );
        let file = directory.join("registry.yml");
        fs::write(&file, configuration).unwrap();
        let mut command = desk.dressed("docker-registry");
        command
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self::start(command)
    }

    /// Starts `dhow serve` on a directory of the desk.
    pub(crate) fn dhow(desk: &Desk, name: &str, wanted: Wanted<'_>) -> Self {
        let directory = desk.path(name);
        let mut command = desk.command();
        command
            .arg("serve")
            .arg(&directory)
            .args(["--listen", "127.0.0.1:0"]);
        if let Some(authority) = wanted.tls {
            command.arg("--tls-cert").arg(&authority.certificate);
            command.arg("--tls-key").arg(&authority.key);
        }
        if let Some(user) = wanted.user {
            command.arg("--htpasswd").arg(htpasswd(&desk.work(), user));
        }
        if wanted.tokens {
            command.arg("--token-auth");
        }
        if wanted.read_only {
            command.arg("--read-only");
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let (found, listening) = mpsc::channel();
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        follow(stdout, Arc::clone(&log), found.clone());
        follow(stderr, Arc::clone(&log), found);
        let Ok(address) = listening.recv_timeout(START) else {
            child.kill().ok();
            panic!("{command:?} does not listen: {:#?}", log.lock().unwrap());
        };
        Self {
            child,
            address,
            log,
        }
    }

    /// Returns the requests so far that came with this method, as `METHOD /path`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap()
            .iter()
            .filter_map(|line| request(line))
            .collect()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget(&self) {
        self.log.lock().unwrap().clear();
    }

    /// The process, for measuring.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads lines until the end and tells the address that the first of them names.
fn follow(
    stream: impl Read + Send + 'static,
    log: Arc<Mutex<Vec<String>>>,
    found: mpsc::Sender<String>,
) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("listening on ") {
                let rest = rest
                    .trim_start_matches("http://")
                    .trim_start_matches("https://");
                let end = rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit());
                found
                    .send(rest[..end.unwrap_or(rest.len())].to_owned())
                    .ok();
            }
            log.lock().unwrap().push(line);
        }
    });
}

/// Returns `METHOD /path` of a line of an access log.
fn request(line: &str) -> Option<String> {
    const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"];
    let words: Vec<&str> = line
        .split([' ', '"'])
        .filter(|word| !word.is_empty())
        .collect();
    // Debian's registry says everything twice: once as a structured line, once as Apache would.
    if line.contains(" level=") {
        return None;
    }
    let at = words
        .windows(2)
        .position(|pair| METHODS.contains(&pair[0]) && pair[1].starts_with('/'))?;
    Some(format!("{} {}", words[at], words[at + 1]))
}

/// Writes a password file with one user, as `htpasswd -B` does.
pub(crate) fn htpasswd(place: &Path, (user, password): (&str, &str)) -> PathBuf {
    let file = place.join("htpasswd");
    let hash = bcrypt::hash(password, 4).expect("bcrypt takes this password");
    fs::write(&file, format!("{user}:{hash}\n")).unwrap();
    file
}
