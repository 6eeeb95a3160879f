//! A registry (distribution) as a child process, with storage of its own.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::access_log::AccessLog;
use super::certificates::Certificates;
use super::network::Network;
use super::stop::Stop;
use xtask::shell;

/// A registry that runs. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Registry {
    /// Where it listens: `127.0.0.1:40001`.
    pub(super) address: String,
    /// What it was asked.
    pub(super) log: AccessLog,
    process: Child,
    storage: PathBuf,
}

impl Registry {
    /// Starts the registry `name` with its files in `folder`, and waits until it listens.
    pub(super) fn start(
        program: &Path,
        name: &str,
        folder: &Path,
        network: &Network,
        certificates: Option<&Certificates>,
        stop: &Stop,
    ) -> Result<Self, String> {
        let wrap = |error: std::io::Error| format!("cannot start {}: {error}", program.display());
        let storage = folder.join(name);
        fs::create_dir_all(&storage).map_err(wrap)?;
        let address = format!("{}:{}", network.address, free_port().map_err(wrap)?);
        let settings = folder.join(format!("{name}.yml"));
        fs::write(&settings, configuration(&storage, &address, certificates)).map_err(wrap)?;
        let log = folder.join(format!("{name}.log"));
        let errors = folder.join(format!("{name}.err"));
        let process = network
            .command(program)
            .arg("serve")
            .arg(&settings)
            // The third version would else look for somebody to send its traces to.
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(File::create(&log).map_err(wrap)?)
            .stderr(File::create(&errors).map_err(wrap)?)
            .spawn()
            .map_err(wrap)?;
        let mut registry = Self {
            address,
            log: AccessLog::new(&log),
            process,
            storage: storage.join("docker/registry/v2"),
        };
        registry.wait(stop).map_err(|error| {
            let said = fs::read_to_string(&errors).unwrap_or_default();
            format!("the registry {name} {error}: {}", said.trim())
        })?;
        Ok(registry)
    }

    /// Removes everything it holds.
    pub(super) fn clear(&self) -> Result<(), String> {
        remove(&self.storage.join("repositories"))?;
        remove(&self.storage.join("blobs"))
    }

    /// Removes a repository; blobs stay.
    pub(super) fn remove(&self, repository: &str) -> Result<(), String> {
        remove(&self.repository(repository))
    }

    /// Makes more tags that point to what `tag` points to.
    pub(super) fn add_tags(
        &self,
        repository: &str,
        tag: &str,
        more: &[String],
    ) -> Result<(), String> {
        let tags = self.repository(repository).join("_manifests/tags");
        let link = fs::read(tags.join(tag).join("current/link"));
        let link = link.map_err(|error| format!("cannot read the tag {tag}: {error}"))?;
        for name in more {
            let folder = tags.join(name).join("current");
            fs::create_dir_all(&folder)
                .and_then(|()| fs::write(folder.join("link"), &link))
                .map_err(|error| format!("cannot write the tag {name}: {error}"))?;
        }
        Ok(())
    }

    /// Returns where a repository is stored.
    pub(super) fn repository(&self, name: &str) -> PathBuf {
        self.storage.join("repositories").join(name)
    }

    /// Returns where the content of a digest is stored.
    pub(super) fn blob(&self, hex: &str) -> PathBuf {
        let start = hex.get(..2).unwrap_or_default();
        self.storage
            .join("blobs/sha256")
            .join(start)
            .join(hex)
            .join("data")
    }

    fn wait(&mut self, stop: &Stop) -> Result<(), String> {
        let end = Instant::now() + START;
        while TcpStream::connect(&self.address).is_err() {
            stop.check()?;
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!("ended with {status}"));
            }
            if Instant::now() > end {
                return Err("does not listen".to_owned());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Returns the registry program on this machine.
pub(super) fn find() -> Result<PathBuf, String> {
    let found = PROGRAMS.iter().find_map(|name| shell::find(name));
    found.ok_or_else(|| {
        format!(
            "none of {} is installed; Debian has one: apt-get install docker-registry",
            PROGRAMS.join(", ")
        )
    })
}

fn configuration(storage: &Path, address: &str, certificates: Option<&Certificates>) -> String {
    let tls = certificates.map_or_else(String::new, |files| {
        format!(
            "  tls:\n    certificate: {}\n    key: {}\n",
            files.certificate.display(),
            files.key.display()
        )
    });
    format!(
        "version: 0.1
log:
  level: error
  accesslog:
    disabled: false
storage:
  filesystem:
    rootdirectory: {}
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: {address}
  secret: bench
{tls}",
        storage.display()
    )
}

/// Returns a port that nobody listens on; in a namespace of its own every port is as free.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn remove(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

const PROGRAMS: [&str; 3] = ["registry3", "registry", "docker-registry"];

/// How long a registry may take to start.
const START: Duration = Duration::from_secs(15);
