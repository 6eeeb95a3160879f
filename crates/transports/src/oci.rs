//! `oci:DIR[:REF | :@N]`: OCI image layout directories.

mod select;
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

use self::select::Select;
use self::sink::OciSink;
use crate::file_blob::{self, blocking, layout_error, place_is_absent};
use crate::{near, path_scopes};

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
        write!(f, "oci:{}", self.layout.path().display())?;
        match &self.select {
            Select::Only => Ok(()),
            Select::Named(name) => write!(f, ":{name}"),
            Select::At(place) => write!(f, ":@{place}"),
        }
    }
}

impl OciLocation {
    /// Finds the entry of `index.json` that is meant.
    fn entry(&self) -> Result<Descriptor> {
        let index = self
            .layout
            .read_index()
            .map_err(|error| place_is_absent(layout_error(error), "an OCI layout directory"))?;
        let entries = index.entries();
        let path = self.layout.path().display();
        let found = match &self.select {
            Select::At(place) => entries.get(*place).cloned().ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!(
                        "index {place} is too large for `{path}`, only {} entries available",
                        entries.len()
                    ),
                )
            }),
            Select::Only if entries.len() == 1 => Ok(entries[0].clone()),
            Select::Only if entries.is_empty() => Err(Error::new(
                Kind::NotFound,
                format!("`{path}` holds no image"),
            )),
            Select::Only => Err(Error::new(
                Kind::Invalid,
                format!("more than one image in oci layout `{path}`, choose an image"),
            )
            .hint(names_hint(&index.names()))),
            Select::Named(name) => named(&entries, name).cloned().ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!("no descriptor found for reference `{name}` in `{path}`"),
                )
                .hint(near_hint(name, &index.names()))
            }),
        }?;
        if !is_supported(&found) {
            return Err(Error::new(
                Kind::Unsupported,
                format!(
                    "`{self}` is of the unsupported media type `{}`",
                    found.media_type
                ),
            ));
        }
        Ok(found)
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

/// Returns the entry of that name, rather one that can be read.
fn named<'a>(entries: &'a [Descriptor], name: &str) -> Option<&'a Descriptor> {
    let mut of_name = entries
        .iter()
        .filter(|entry| entry.annotations.value(Annotations::REF_NAME) == Some(name));
    let mut supported = of_name.clone().filter(|entry| is_supported(entry));
    supported.next().or_else(|| of_name.next())
}

fn is_supported(entry: &Descriptor) -> bool {
    let kind = entry.media_type.manifest_kind();
    kind.is_some_and(|kind| !kind.is_docker1())
}

fn near_hint(name: &str, names: &[String]) -> String {
    match near::nearest(name, names.iter().map(String::as_str)).as_slice() {
        [] => names_hint(names),
        near => format!("near names are `{}`", near.join("`, `")),
    }
}

fn names_hint(names: &[String]) -> String {
    const SHOWN: usize = 12;
    if names.is_empty() {
        return "no image there has a name; choose one by its place, as `:@0`".to_owned();
    }
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    format!("name one of: {}{more}", shown.join(", "))
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
        let name = match &self.select {
            Select::Named(name) => Some(name.as_str()),
            _ => None,
        };
        path_scopes::scopes(self.layout.path(), name)
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
        if let Select::At(place) = self.select {
            return Err(Error::unsupported(format!(
                "destination reference must not contain a manifest index @{place}"
            )));
        }
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
        SourceCaps {
            ranges: true,
            concurrency: CONCURRENCY,
            counted: false,
            places: NonZeroU16::MIN,
        }
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
