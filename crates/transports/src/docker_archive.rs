//! `docker-archive:PATH[:REF | :@N]`: what `docker save` writes and `docker load` reads
//! (moby, *Docker Image Specification v1.2*, *Combined Image JSON + Filesystem Changeset Format*).
//!
//! An archive is read in place; only a compressed one, or one that comes through a pipe, is written
//! into a file first that nobody else sees. Layers are known by the digests of their content, as the
//! config lists them, and are always written uncompressed.

mod assembly;
mod commit;
mod gap;
mod items;
mod legacy;
mod opened;
mod sink;
mod source;
mod spool;
mod tail;
mod there;
mod turns;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use dhow_model::Reference;
use dhow_transport::{
    Catalog, Deletion, Error, Location, ParseError, PolicyScopes, Result, Sink, Source, Transport,
};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

pub(crate) use assembly::Assembly;
pub(crate) use commit::{Image, finish};
pub(crate) use opened::Opened;
pub(crate) use source::ImageSource;
pub(crate) use tail::Tail;

use self::sink::ArchiveSink;
use crate::file_blob::blocking;

/// The `docker-archive` transport.
#[derive(Debug)]
pub struct DockerArchive {
    tmp: PathBuf,
    additional_tags: Vec<Reference>,
}

impl DockerArchive {
    /// Returns the transport. What must be decompressed goes into `tmp`; images that are written
    /// get `additional_tags`, too.
    pub const fn new(tmp: PathBuf, additional_tags: Vec<Reference>) -> Self {
        Self {
            tmp,
            additional_tags,
        }
    }
}

impl Transport for DockerArchive {
    fn name(&self) -> &'static str {
        "docker-archive"
    }

    fn parse(&self, rest: &str) -> Result<Arc<dyn Location>, ParseError> {
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name)),
            None => (rest, None),
        };
        if path.is_empty() {
            let error = ParseError::new("`docker-archive:` needs the path of a file");
            return Err(error.hint("write `docker-archive:FILE:NAME:TAG`"));
        }
        Ok(Arc::new(ArchiveLocation {
            path: PathBuf::from(path),
            tmp: self.tmp.clone(),
            additional_tags: self.additional_tags.clone(),
            select: name.map_or(Ok(Select::Only), Select::parse)?,
        }))
    }

    fn validate_policy_scope(&self, _scope: &str) -> Result<(), ParseError> {
        // COMPAT(skopeo): so it is there.
        Err(ParseError::new(
            "docker-archive: does not support any scopes except the default \"\" one",
        ))
    }
}

/// Which image of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    /// The only one.
    Only,
    /// The one with this name, in full.
    Named(Reference),
    /// The one at this place of `manifest.json` (0-based).
    At(usize),
}

impl Select {
    fn parse(text: &str) -> Result<Self, ParseError> {
        if let Some(place) = text.strip_prefix('@') {
            return place.parse().map(Self::At).map_err(|_| {
                let shown = place.escape_debug();
                let why = if place.starts_with('-') {
                    "must not be negative"
                } else {
                    "not a number from 0"
                };
                ParseError::new(format!("invalid source index @{shown}: {why}"))
            });
        }
        let reference = Reference::parse(text)
            .map_err(|error| ParseError::new(error.to_string()).hint("write `NAME:TAG`"))?;
        if reference.digest.is_some() {
            let shown = text.escape_debug();
            let error = ParseError::new(format!("reference does not include a tag: {shown}"));
            return Err(error.hint("name an image in an archive by its tag, or as `@0`"));
        }
        Ok(Self::Named(reference.with_default_tag()))
    }

    fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Named(reference) => Some(reference),
            Self::Only | Self::At(_) => None,
        }
    }
}

impl fmt::Display for Select {
    /// Writes what stands behind the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => Ok(()),
            Self::Named(reference) => write!(f, ":{reference}"),
            Self::At(place) => write!(f, ":@{place}"),
        }
    }
}

#[derive(Clone, Debug)]
struct ArchiveLocation {
    path: PathBuf,
    tmp: PathBuf,
    additional_tags: Vec<Reference>,
    select: Select,
}

impl ArchiveLocation {
    fn open(&self) -> Result<Opened> {
        Opened::open(&self.path, &self.tmp)
    }
}

impl fmt::Display for ArchiveLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker-archive:{}{}", self.path.display(), self.select)
    }
}

#[async_trait]
impl Location for ArchiveLocation {
    fn transport(&self) -> &'static str {
        "docker-archive"
    }

    fn reference(&self) -> Option<&Reference> {
        self.select.reference()
    }

    fn is_in_registry(&self) -> bool {
        false
    }

    fn policy_scopes(&self) -> PolicyScopes {
        // COMPAT(skopeo): only the default scope counts.
        PolicyScopes::default()
    }

    async fn source(&self) -> Result<Arc<dyn Source>> {
        let location = self.clone();
        let source = blocking(move || {
            let opened = location.open()?;
            let path = location.path.display().to_string();
            let item = opened.choose(&location.select, &path)?.clone();
            ImageSource::open(Arc::new(location), opened, &item)
        })
        .await??;
        Ok(Arc::new(source))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        if let Select::At(place) = &self.select {
            return Err(Error::unsupported(format!(
                "destination reference must not contain a manifest index @{place}"
            )));
        }
        Ok(Arc::new(ArchiveSink::new(self.clone())))
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

#[async_trait]
impl Catalog for ArchiveLocation {
    fn tags(&self) -> BoxStream<'_, Result<String>> {
        let location = self.clone();
        let names = async move {
            let opened = blocking(move || location.open()).await??;
            Ok(stream::iter(opened.names().into_iter().map(Ok)))
        };
        stream::once(names).try_flatten().boxed()
    }

    async fn delete(&self, _what: Deletion) -> Result<()> {
        // COMPAT(skopeo): so it is there.
        let error = Error::unsupported("deleting images is not implemented for `docker-archive:`");
        Err(error.hint("copy the images that are to stay into another archive"))
    }
}
