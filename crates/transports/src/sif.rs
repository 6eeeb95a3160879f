//! `sif:FILE`: the file system in a Singularity or Apptainer image, as an image of one layer. Read only.
//!
//! The layer is written into a file without a name, with its entries in the order of their names; the
//! same SIF file gives the same bytes. What the definition file in it says about starting a container
//! becomes a script in the layer. The SIF container format is that of its specification, version 1.

mod container;
mod definition;
mod image;
mod layer;
mod squashfs;

use std::fmt;
use std::fs::File;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dhow_model::{Descriptor, Digest, RawManifest, Reference};
use dhow_transport::{
    Blob, ByteRange, Catalog, Deletion, Error, Kind, Location, ParseError, PolicyScopes, Result,
    Sink, Source, SourceCaps, Transport,
};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};

use self::image::Made;
use crate::file_blob::{self, Part, blocking};
use crate::path_scopes;

/// The `sif` transport.
#[derive(Debug)]
pub struct Sif {
    tmp: PathBuf,
}

impl Sif {
    /// Returns the transport. Layers are made in `tmp`.
    pub const fn new(tmp: PathBuf) -> Self {
        Self { tmp }
    }
}

impl Transport for Sif {
    fn name(&self) -> &'static str {
        "sif"
    }

    fn parse(&self, rest: &str) -> Result<Arc<dyn Location>, ParseError> {
        if rest.is_empty() {
            let error = ParseError::new("`sif:` needs the path of a file");
            return Err(error.hint("write `sif:FILE`"));
        }
        Ok(Arc::new(SifLocation {
            file: PathBuf::from(rest),
            tmp: self.tmp.clone(),
        }))
    }

    fn validate_policy_scope(&self, scope: &str) -> Result<(), ParseError> {
        path_scopes::validate(scope)
    }
}

#[derive(Clone, Debug)]
struct SifLocation {
    file: PathBuf,
    tmp: PathBuf,
}

impl fmt::Display for SifLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sif:{}", self.file.display())
    }
}

#[async_trait]
impl Location for SifLocation {
    fn transport(&self) -> &'static str {
        "sif"
    }

    fn reference(&self) -> Option<&Reference> {
        None
    }

    fn policy_scopes(&self) -> PolicyScopes {
        path_scopes::scopes(&self.file, None)
    }

    async fn source(&self) -> Result<Arc<dyn Source>> {
        let location = self.clone();
        let opened = blocking(move || {
            let made = image::make(&location.file, &location.tmp)?;
            Ok::<_, Error>(SifSource { location, made })
        });
        Ok(Arc::new(opened.await??))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        // COMPAT(skopeo): its words.
        let error = Error::unsupported("\"sif:\" locations can only be read from, not written to");
        Err(error.hint("to write an archive, name `docker-archive:` or `oci-archive:`"))
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

#[async_trait]
impl Catalog for SifLocation {
    fn tags(&self) -> BoxStream<'_, Result<String>> {
        let error = Error::unsupported("SIF files have no tags");
        stream::iter([Err(error)]).boxed()
    }

    async fn delete(&self, _what: Deletion) -> Result<()> {
        let error = Error::unsupported("deleting images is not implemented for `sif:`");
        Err(error.hint("remove the file"))
    }
}

/// A SIF file with the image that was made of it.
#[derive(Debug)]
struct SifSource {
    location: SifLocation,
    made: Made,
}

#[async_trait]
impl Source for SifSource {
    fn location(&self) -> &dyn Location {
        &self.location
    }

    fn caps(&self) -> SourceCaps {
        SourceCaps::local(CONCURRENCY)
    }

    async fn root(&self) -> Result<RawManifest> {
        Ok(self.made.root.clone())
    }

    async fn manifest(&self, digest: &Digest) -> Result<RawManifest> {
        if *digest == self.made.root.digest() {
            return Ok(self.made.root.clone());
        }
        let message = format!("the SIF file has no manifest `{digest}`");
        Err(Error::new(Kind::NotFound, message))
    }

    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob> {
        let config: &Bytes = &self.made.config;
        if blob.digest.matches(config) {
            return Ok(file_blob::in_memory(config, range));
        }
        if blob.digest != self.made.layer.digest {
            let message = format!("the image has no blob `{}`", blob.digest);
            return Err(Error::new(Kind::NotFound, message));
        }
        let part = Part {
            offset: 0,
            size: self.made.layer.size,
        };
        let file: Arc<File> = Arc::clone(&self.made.file);
        file_blob::read_part(file, part, blob, range)
    }
}

/// Blobs that are read at once; there are two.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(2).expect("2 is not zero");
