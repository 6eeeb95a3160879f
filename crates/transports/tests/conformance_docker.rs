//! The conformance suite of `docker:` against our own registry, and against Debian's
//! `docker-registry` where that is installed.

use std::any::Any;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use dhow_client::{Endpoint, EndpointOptions, Session, SessionOptions};
use dhow_config::{AuthFiles, CredentialSource, Registries};
use dhow_server::{Config, Server, StoreConfig};
use dhow_testkit::conformance::Place;
use dhow_transport::{Location, Transport as _};
use dhow_transports::docker::Docker;
use tempfile::TempDir;
use tokio::task::JoinSet;

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
        config: Arc::new(dhow_config::Config::default().with_registries(Registries::default())),
        retries: 0,
        ..SessionOptions::default()
    });
    let options = EndpointOptions {
        tls_verify: Some(false),
        ..EndpointOptions::new(CredentialSource::Files(AuthFiles::new(
            std::sync::Arc::default(),
            None,
        )))
    };
    Endpoint::new(&session.expect("the options are right"), options)
}

/// Returns a repository of the registry on `port`, which `keep` keeps running.
fn repository(port: u16, keep: impl Any + Send + Sync) -> Place {
    let transport = Docker::new(endpoint());
    let locate = move |name: &str| -> Arc<dyn Location> {
        let rest = format!("//127.0.0.1:{port}/conformance/place:{name}");
        transport.parse(&rest).expect("the test names a place")
    };
    Place::named(locate, keep)
}

mod in_debians_registry {
    use super::*;

    async fn place() -> Option<Place> {
        let (registry, port) = registry()?;
        Some(repository(port, registry))
    }

    dhow_testkit::conformance_tests!(optional place);
}

/// Starts our registry.
async fn served(store: StoreConfig, keep: TempDir) -> Place {
    let server = Server::bind(Config::new(([127, 0, 0, 1], 0).into(), store)).await;
    let server = server.expect("there is a free port");
    let port = server.local_addr().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(server.run(std::future::pending()));
    repository(port, (tasks, keep))
}

mod in_our_registry_on_disk {
    use super::*;

    async fn place() -> Place {
        let directory = tempfile::tempdir().expect("there is a place for files");
        let store = StoreConfig::Directory(directory.path().join("layout"));
        served(store, directory).await
    }

    dhow_testkit::conformance_tests!(place);
}

mod in_our_registry_in_memory {
    use super::*;

    async fn place() -> Place {
        let directory = tempfile::tempdir().expect("there is a place for files");
        served(StoreConfig::Memory, directory).await
    }

    dhow_testkit::conformance_tests!(place);
}
