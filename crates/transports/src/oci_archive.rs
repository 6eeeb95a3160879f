//! `oci-archive:FILE[:REF | :@N]`: OCI image layouts in one tar file.
//!
//! An archive is read in place: its members are found once, and their bytes are read where they
//! are. Only a compressed archive is unpacked first, as one stream, into a file that nobody else
//! sees.

mod opened;
mod sink;

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use dhow_model::{Descriptor, Digest, RawManifest, Reference};
use dhow_transport::{
    Blob, ByteRange, Catalog, Deletion, Error, Location, ParseError, PolicyScopes, Result, Sink,
    Source, SourceCaps, Transport,
};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use self::opened::Opened;
use self::sink::ArchiveSink;
use crate::file_blob::{self, blocking};
use crate::path_scopes;
use crate::select::Select;

/// The `oci-archive` transport.
#[derive(Debug)]
pub struct OciArchive {
    tmp: PathBuf,
}

impl OciArchive {
    /// Returns the transport. Compressed archives are unpacked into `tmp`.
    pub const fn new(tmp: PathBuf) -> Self {
        Self { tmp }
    }
}

impl Transport for OciArchive {
    fn name(&self) -> &'static str {
        "oci-archive"
    }

    fn parse(&self, rest: &str) -> Result<Arc<dyn Location>, ParseError> {
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name)),
            None => (rest, None),
        };
        if path.is_empty() {
            let error = ParseError::new("`oci-archive:` needs the path of a file");
            return Err(error.hint("write `oci-archive:FILE:TAG`"));
        }
        let select = name.map(|name| Select::parse(rest, name)).transpose()?;
        Ok(Arc::new(ArchiveLocation {
            path: PathBuf::from(path),
            tmp: self.tmp.clone(),
            select: select.unwrap_or(Select::Only),
        }))
    }

    fn validate_policy_scope(&self, scope: &str) -> Result<(), ParseError> {
        path_scopes::validate(scope.split(':').next().unwrap_or_default())
    }
}

#[derive(Clone, Debug)]
struct ArchiveLocation {
    path: PathBuf,
    tmp: PathBuf,
    select: Select,
}

impl ArchiveLocation {
    fn open(&self) -> Result<Opened> {
        Opened::open(&self.path, &self.tmp)
    }
}

impl fmt::Display for ArchiveLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci-archive:{}{}", self.path.display(), self.select)
    }
}

#[async_trait]
impl Location for ArchiveLocation {
    fn transport(&self) -> &'static str {
        "oci-archive"
    }

    fn reference(&self) -> Option<&Reference> {
        None
    }

    fn policy_scopes(&self) -> PolicyScopes {
        path_scopes::scopes(&self.path, self.select.name())
    }

    async fn source(&self) -> Result<Arc<dyn Source>> {
        let location = self.clone();
        let (archive, root) = blocking({
            let location = location.clone();
            move || {
                let archive = location.open()?;
                let entry = location.select.choose(&archive.index, &location.path)?;
                let root = archive.manifest(&entry.digest, Some(&entry))?;
                Ok::<_, Error>((Arc::new(archive), root))
            }
        })
        .await??;
        Ok(Arc::new(ArchiveSource {
            location,
            archive,
            root,
        }))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        self.select.check_destination()?;
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
            let archive = blocking(move || location.open()).await??;
            Ok(stream::iter(archive.index.names().into_iter().map(Ok)))
        };
        stream::once(names).try_flatten().boxed()
    }

    async fn delete(&self, _what: Deletion) -> Result<()> {
        // COMPAT(skopeo): so it is there.
        let error = Error::unsupported("deleting images is not implemented for `oci-archive:`");
        Err(error.hint("copy the images that are to stay into another archive"))
    }
}

#[derive(Debug)]
struct ArchiveSource {
    location: ArchiveLocation,
    archive: Arc<Opened>,
    root: RawManifest,
}

#[async_trait]
impl Source for ArchiveSource {
    fn location(&self) -> &dyn Location {
        &self.location
    }

    fn caps(&self) -> SourceCaps {
        SourceCaps::local(CONCURRENCY)
    }

    async fn root(&self) -> Result<RawManifest> {
        Ok(self.root.clone())
    }

    async fn manifest(&self, digest: &Digest) -> Result<RawManifest> {
        let (archive, digest) = (Arc::clone(&self.archive), *digest);
        blocking(move || archive.manifest(&digest, None)).await?
    }

    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob> {
        let part = self.archive.blob(&blob.digest).map_err(|error| {
            if blob.urls.is_empty() {
                error
            } else {
                error.hint("this is a foreign layer that the archive names without holding it")
            }
        })?;
        file_blob::read_part(Arc::clone(&self.archive.archive.file), part, blob, range)
    }
}

/// Blobs that are read or written at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(8).expect("8 is not zero");
