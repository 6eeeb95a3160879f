//! The conformance suite of `docker:` against Debian's `docker-registry`, where that is installed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dhow_client::{Endpoint, EndpointOptions, Session, SessionOptions};
use dhow_config::{AuthFiles, CredentialSource, EnvSnapshot};
use dhow_testkit::conformance::Place;
use dhow_transport::{Location, Transport as _};
use dhow_transports::docker::Docker;
use tempfile::TempDir;

/// A registry that is stopped when it is dropped.
struct Registry {
    process: Child,
    _directory: TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

const CONFIG: &str = "version: 0.1\nlog: {level: info}\nstorage: {inmemory: {}}\n\
                      http: {addr: '127.0.0.1:0'}\n\
                      validation: {manifests: {urls: {allow: ['^https://']}}}\n";

/// Starts a registry and returns it with the port it chose.
fn registry() -> Option<(Registry, u16)> {
    let directory = tempfile::tempdir().expect("there is a place for files");
    let config = directory.path().join("config.yml");
    std::fs::write(&config, CONFIG).expect("there is a place for files");
    let mut process = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut log = BufReader::new(process.stderr.take()?);
    let mut line = String::new();
    let port = loop {
        line.clear();
        let read = log.read_line(&mut line).expect("it writes a log");
        assert!(read > 0, "the registry ended before it listened");
        let Some((_, address)) = line.split_once("listening on 127.0.0.1:") else {
            continue;
        };
        let digits = address.split(|c: char| !c.is_ascii_digit()).next();
        break digits.and_then(|port| port.parse().ok()).expect("a port");
    };
    // Somebody has to read the rest, or the registry stops at a full pipe.
    std::thread::spawn(move || drop(std::io::copy(&mut log, &mut std::io::sink())));
    let registry = Registry {
        process,
        _directory: directory,
    };
    Some((registry, port))
}

fn endpoint() -> Endpoint {
    let session = Session::new(SessionOptions {
        retries: 0,
        ..SessionOptions::default()
    });
    let options = EndpointOptions {
        credentials: CredentialSource::Files(AuthFiles::new(&EnvSnapshot::default(), None)),
        tls_verify: Some(false),
        cert_dir: None,
    };
    Endpoint::new(&session.expect("the options are right"), options)
}

/// Makes a repository that nobody has used.
fn repository() -> Option<Place> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let (registry, port) = registry()?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let transport = Docker::new(endpoint());
    let locate = move |name: &str| -> Arc<dyn Location> {
        let rest = format!("//127.0.0.1:{port}/conformance/place-{number}:{name}");
        transport.parse(&rest).expect("the test names a place")
    };
    Some(Place::named(locate, registry))
}

mod in_debians_registry {
    use super::*;

    async fn place() -> Option<Place> {
        repository()
    }

    dhow_testkit::conformance_tests!(optional place);
}
