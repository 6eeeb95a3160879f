//! `docker-daemon:NAME:TAG | NAME@DIGEST | sha256:ID`: the images of a Docker engine, over its API
//! (Docker Engine API v1.41, *Image*).
//!
//! Reading, the engine's `docker save` goes once into a file that nobody else sees, and is read
//! there as an archive. Writing, the archive is sent to `docker load` while it is made; layers that
//! the engine has are left out of it.

mod client;
mod engine;
mod host;
mod present;
mod reference;
mod sink;
mod source;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use dhow_model::Reference;
use dhow_transport::{
    Catalog, Deletion, Error, Location, ParseError, PolicyScopes, Result, Sink, Source, Transport,
};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};

use self::engine::Engine;
use self::reference::Name;
use self::sink::EngineSink;
use self::source::EngineSource;
use crate::EngineOptions;
use crate::docker::scopes;

/// The `docker-daemon` transport.
#[derive(Debug)]
pub struct DockerDaemon {
    options: EngineOptions,
    tmp: PathBuf,
}

impl DockerDaemon {
    /// Returns the transport. Images that are read, and layers that have to wait, go into `tmp`.
    pub const fn new(options: EngineOptions, tmp: PathBuf) -> Self {
        Self { options, tmp }
    }
}

impl Transport for DockerDaemon {
    fn name(&self) -> &'static str {
        "docker-daemon"
    }

    fn parse(&self, rest: &str) -> Result<Arc<dyn Location>, ParseError> {
        Ok(Arc::new(DaemonLocation {
            name: Name::parse(rest)?,
            options: self.options.clone(),
            tmp: self.tmp.clone(),
        }))
    }

    fn validate_policy_scope(&self, scope: &str) -> Result<(), ParseError> {
        // COMPAT(skopeo): an ID, or the scopes of registries.
        if scope.is_empty() {
            return Err(ParseError::new("docker-daemon: an empty scope"));
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct DaemonLocation {
    name: Name,
    options: EngineOptions,
    tmp: PathBuf,
}

impl DaemonLocation {
    async fn engine(&self) -> Result<Engine> {
        Engine::find(&self.options).await
    }
}

impl fmt::Display for DaemonLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker-daemon:{}", self.name)
    }
}

#[async_trait]
impl Location for DaemonLocation {
    fn transport(&self) -> &'static str {
        "docker-daemon"
    }

    fn reference(&self) -> Option<&Reference> {
        self.name.reference()
    }

    fn is_in_registry(&self) -> bool {
        false
    }

    fn policy_scopes(&self) -> PolicyScopes {
        self.name.reference().map(scopes).unwrap_or_default()
    }

    async fn source(&self) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(EngineSource::open(self.clone()).await?))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        let Some(name) = self.name.tagged() else {
            // COMPAT(skopeo): its words.
            let error = Error::unsupported(format!(
                "invalid destination `{self}`: a destination must be a name:tag"
            ));
            return Err(error.hint("write `docker-daemon:NAME:TAG`"));
        };
        Ok(Arc::new(
            EngineSink::open(self.clone(), name.clone()).await?,
        ))
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

#[async_trait]
impl Catalog for DaemonLocation {
    fn tags(&self) -> BoxStream<'_, Result<String>> {
        let error = Error::unsupported("unsupported transport `docker-daemon` for tag listing");
        let error = error.hint("`docker images` lists what the engine has");
        stream::iter([Err(error)]).boxed()
    }

    /// Takes the name away from the image; the image goes with its last name.
    async fn delete(&self, _what: Deletion) -> Result<()> {
        self.engine().await?.delete(&self.name.asked()).await
    }
}
