//! `oci:DIR[:REF | :@N]`: OCI image layout directories.

mod sink;

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dhow_layout::Layout;
use dhow_model::{Annotations, Descriptor, Digest, RawManifest, Reference};
use dhow_transport::{
    Blob, ByteRange, Catalog, Deletion, Error, Kind, Location, ParseError, PolicyScopes, Result,
    Sink, Source, SourceCaps, Transport,
};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use self::sink::OciSink;
use crate::file_blob::{self, blocking, layout_error, place_is_absent};
use crate::path_scopes;
use crate::select::Select;

/// The `oci` transport.
#[derive(Debug)]
pub struct Oci {
    shared_blobs: Option<PathBuf>,
}

impl Oci {
    /// Returns the transport. With `shared_blobs`, blobs are kept there and not in the layouts.
    pub const fn new(shared_blobs: Option<PathBuf>) -> Self {
        Self { shared_blobs }
    }
}

impl Transport for Oci {
    fn name(&self) -> &'static str {
        "oci"
    }

    fn parse(&self, rest: &str) -> Result<Arc<dyn Location>, ParseError> {
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name)),
            None => (rest, None),
        };
        if path.is_empty() {
            let error = ParseError::new("`oci:` needs the path of a layout directory");
            return Err(error.hint("write `oci:DIRECTORY:TAG`"));
        }
        let select = name.map(|name| Select::parse(rest, name)).transpose()?;
        let layout = match &self.shared_blobs {
            Some(blobs) => Layout::with_shared_blobs(path, blobs.clone()),
            None => Layout::new(path),
        };
        Ok(Arc::new(OciLocation {
            layout,
            select: select.unwrap_or(Select::Only),
        }))
    }

    fn validate_policy_scope(&self, scope: &str) -> Result<(), ParseError> {
        path_scopes::validate(scope.split(':').next().unwrap_or_default())
    }
}

#[derive(Clone, Debug)]
struct OciLocation {
    layout: Layout,
    select: Select,
}

impl fmt::Display for OciLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci:{}{}", self.layout.path().display(), self.select)
    }
}

impl OciLocation {
    /// Finds the entry of `index.json` that is meant.
    fn entry(&self) -> Result<Descriptor> {
        let index = self
            .layout
            .read_index()
            .map_err(|error| place_is_absent(layout_error(error), "an OCI layout directory"))?;
        self.select.choose(&index, self.layout.path())
    }

    fn read_manifest(&self, digest: &Digest, expected: Option<&Descriptor>) -> Result<RawManifest> {
        let bytes = self.layout.read_manifest(digest).map_err(layout_error)?;
        if let Some(expected) = expected.filter(|expected| expected.size != bytes.len() as u64) {
            return Err(Error::new(
                Kind::SizeMismatch,
                format!(
                    "size mismatch: the manifest {digest} should have {} bytes and has {}",
                    expected.size,
                    bytes.len()
                ),
            ));
        }
        let claimed = expected.map(|expected| &expected.media_type);
        RawManifest::verified(Bytes::from(bytes), claimed, digest).map_err(crate::manifest_error)
    }
}

#[async_trait]
impl Location for OciLocation {
    fn transport(&self) -> &'static str {
        "oci"
    }

    fn reference(&self) -> Option<&Reference> {
        None
    }

    fn policy_scopes(&self) -> PolicyScopes {
        path_scopes::scopes(self.layout.path(), self.select.name())
    }

    async fn source(&self) -> Result<Arc<dyn Source>> {
        let location = self.clone();
        let root = blocking({
            let location = location.clone();
            move || {
                let entry = location.entry()?;
                location.read_manifest(&entry.digest, Some(&entry))
            }
        })
        .await??;
        Ok(Arc::new(OciSource { location, root }))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        self.select.check_destination()?;
        if self.layout.path().exists() && !self.layout.path().is_dir() {
            return Err(Error::new(
                Kind::Exists,
                format!(
                    "`{}` is there and is no directory",
                    self.layout.path().display()
                ),
            ));
        }
        Ok(Arc::new(OciSink::new(self.clone())))
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

#[async_trait]
impl Catalog for OciLocation {
    fn tags(&self) -> BoxStream<'_, Result<String>> {
        let layout = self.layout.clone();
        let names = async move {
            let index = blocking(move || layout.read_index())
                .await?
                .map_err(layout_error)?;
            Ok(stream::iter(index.names().into_iter().map(Ok)))
        };
        stream::once(names).try_flatten().boxed()
    }

    async fn delete(&self, _what: Deletion) -> Result<()> {
        let location = self.clone();
        blocking(move || {
            let doomed = location.entry()?;
            let name = doomed
                .annotations
                .value(Annotations::REF_NAME)
                .map(str::to_owned);
            location
                .layout
                .remove(|entry| {
                    entry.digest == doomed.digest
                        && entry.annotations.value(Annotations::REF_NAME) == name.as_deref()
                })
                .map_err(layout_error)?;
            Ok(())
        })
        .await?
    }
}

#[derive(Debug)]
struct OciSource {
    location: OciLocation,
    root: RawManifest,
}

#[async_trait]
impl Source for OciSource {
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
        let (location, digest) = (self.location.clone(), *digest);
        blocking(move || location.read_manifest(&digest, None)).await?
    }

    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob> {
        let (layout, digest) = (self.location.layout.clone(), blob.digest);
        let file = blocking(move || layout.open_blob(&digest))
            .await?
            .map_err(|error| {
                let error = layout_error(error);
                if blob.urls.is_empty() {
                    error
                } else {
                    error.hint("this is a foreign layer that the layout names without holding it")
                }
            })?;
        file_blob::read(file, blob, range).await
    }
}

/// Files that are read or written at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(8).expect("8 is not zero");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_at_the_first_colon() {
        let parse = |text| {
            Oci::new(None)
                .parse(text)
                .map(|location| location.to_string())
        };
        for good in [
            "./target:centos:7",
            "dir",
            "dir:a/b:c@d",
            "dir:@3",
            "/a/b:rhel7:7.5",
            "d:a--b",
        ] {
            assert_eq!(parse(good).unwrap(), format!("oci:{good}"));
        }
        assert_eq!(parse("dir:").unwrap(), "oci:dir");
        for bad in [
            "",
            ":x",
            "dir:@x",
            "dir:@-1",
            "dir:-a",
            "dir:a..b",
            "dir:a b",
            "dir:a//b",
            "dir:a---b",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
