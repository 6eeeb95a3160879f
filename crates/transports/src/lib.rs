//! The transports, one module each, and the table of them.

mod archive_file;
mod archive_target;
pub mod containers_storage;
pub mod dir;
pub mod docker;
pub mod docker_archive;
pub mod docker_daemon;
mod file_blob;
mod measured;
mod members;
mod near;
pub mod oci;
pub mod oci_archive;
mod path_scopes;
mod select;
pub mod sif;
mod tar_entry;
pub mod tarball;

use std::path::PathBuf;
use std::sync::Arc;

use dhow_client::Endpoint;
use dhow_config::EnvSnapshot;
use dhow_model::{PlatformWish, Reference};
use dhow_transport::{Location, ParseError, Transport};

/// What transports are built from: the settings of one side of a command.
#[derive(Clone, Debug)]
pub struct Parts {
    /// How registries are reached.
    pub endpoint: Endpoint,
    /// Where `oci:` keeps its blobs, when that is not in the layout.
    pub shared_blob_dir: Option<PathBuf>,
    /// Where big temporary files go.
    pub tmp: PathBuf,
    /// What images are for that are made here.
    pub platform: PlatformWish,
    /// More names for an image that is written to `docker-archive:`.
    pub additional_tags: Vec<Reference>,
    /// How a Docker engine is reached.
    pub engine: EngineOptions,
    /// The environment of the process: where Podman's storage is.
    pub environment: Arc<EnvSnapshot>,
}

/// How a Docker engine is reached, from the flags of one side.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Where it listens (`unix://…`, `tcp://…`, `http://…`), as the flag says; `None`: what the
    /// environment and Docker's contexts say, else the usual socket.
    pub host: Option<String>,
    /// The environment of the process: `DOCKER_HOST` and what belongs to it.
    pub environment: Arc<EnvSnapshot>,
    /// The directory with `ca.pem`, `cert.pem` and `key.pem`.
    pub cert_dir: Option<PathBuf>,
    /// Whether certificates are verified; `None`: yes.
    pub tls_verify: Option<bool>,
}

/// The transports of one side of a command.
#[derive(Clone, Debug)]
pub struct Transports(Vec<Arc<dyn Transport>>);

/// Returns all transports, in alphabetical order.
pub fn standard(parts: &Parts) -> Transports {
    Transports(vec![
        Arc::new(containers_storage::ContainersStorage::new(
            Arc::clone(&parts.environment),
            parts.tmp.clone(),
        )),
        Arc::new(dir::Dir::new()),
        Arc::new(docker::Docker::new(parts.endpoint.clone())),
        Arc::new(docker_archive::DockerArchive::new(
            parts.tmp.clone(),
            parts.additional_tags.clone(),
        )),
        Arc::new(docker_daemon::DockerDaemon::new(
            parts.engine.clone(),
            parts.tmp.clone(),
        )),
        Arc::new(oci::Oci::new(parts.shared_blob_dir.clone())),
        Arc::new(oci_archive::OciArchive::new(parts.tmp.clone())),
        Arc::new(sif::Sif::new(parts.tmp.clone())),
        Arc::new(tarball::Tarball::new(
            parts.tmp.clone(),
            parts.platform.clone(),
        )),
    ])
}

impl Transports {
    /// Parses `transport:rest`.
    pub fn parse(&self, name: &str) -> Result<Arc<dyn Location>, ParseError> {
        let shown = name.escape_debug();
        let Some((transport, rest)) = name.split_once(':') else {
            let error = ParseError::new(format!(
                "invalid image name `{shown}`, expected colon-separated transport:reference"
            ));
            return Err(error.hint(format!(
                "for an image in a registry write `docker://{shown}`"
            )));
        };
        match self.0.iter().find(|known| known.name() == transport) {
            Some(known) => known.parse(rest),
            None => Err(ParseError::new(format!(
                "invalid image name `{shown}`, unknown transport `{}`",
                transport.escape_debug()
            ))
            .hint(self.hint(name, transport))),
        }
    }

    /// Returns what to do about a transport that does not exist.
    fn hint(&self, name: &str, transport: &str) -> String {
        let names = self.names();
        if let Some(near) = near::nearest(transport, names.iter().copied()).first() {
            return format!("write `{near}:`; the transports are {}", names.join(", "));
        }
        if Reference::parse(name).is_ok() {
            return format!("for an image in a registry write `docker://{name}`");
        }
        format!("name one of the transports {}", names.join(", "))
    }

    /// Returns the names, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|transport| transport.name()).collect()
    }
}

/// Classifies what is wrong with a manifest.
pub(crate) fn manifest_error(error: dhow_model::ManifestError) -> dhow_transport::Error {
    use dhow_model::ManifestError;
    use dhow_transport::{Error, Kind};
    let kind = match &error {
        ManifestError::Digest { .. } => Kind::DigestMismatch,
        _ => Kind::Invalid,
    };
    let message = error.to_string();
    match error {
        ManifestError::Malformed { source, .. } => Error::new(kind, message).caused_by(source),
        _ => Error::new(kind, message),
    }
}
