//! `oci:DIR[:REF | :@N]`: OCI image layout directories.

use std::fmt;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use dhow_layout::{Layout, Lock};
use dhow_model::{Annotations, Descriptor, Digest, ManifestKind, RawManifest, Reference, Tag};
use dhow_transport::{
    Blob, BlobWant, ByteRange, Catalog, Deletion, Error, How, Kind, LayerForm, Location,
    ParseError, Placed, PolicyScopes, Result, ReuseScope, Sink, SinkCaps, Source, SourceCaps,
    Transport,
};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};

use crate::file_blob::{self, blocking, layout_error};
use crate::path_scopes;

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

/// Which image of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Select {
    /// The only one.
    Only,
    /// The one with this name.
    Named(String),
    /// The one at this place of `index.json` (0-based).
    At(usize),
}

impl Select {
    fn parse(whole: &str, text: &str) -> Result<Self, ParseError> {
        let whole = whole.escape_debug();
        if text.is_empty() {
            return Ok(Self::Only);
        }
        if let Some(place) = text.strip_prefix('@') {
            return place.parse().map(Self::At).map_err(|_| {
                ParseError::new(format!(
                    "invalid source index `@{}`: not a number from 0",
                    place.escape_debug()
                ))
            });
        }
        if !text.split('/').all(is_name_component) {
            return Err(ParseError::new(format!("invalid image `{whole}`")).hint(
                "a name in a layout has letters and digits, with one of `-._:@+/` between them",
            ));
        }
        Ok(Self::Named(text.to_owned()))
    }
}

/// OCI image-spec, *annotations*: `alphanum ((separator) alphanum)*`, where a separator is one of
/// `-._:@+` or `--`.
fn is_name_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text
            .split(alphanumeric)
            .all(|run| matches!(run, "" | "-" | "." | "_" | ":" | "@" | "+" | "--"))
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
        let index = self.layout.read_index().map_err(|error| {
            let absent = matches!(&error, dhow_layout::Error::Io { source, .. }
                if source.kind() == std::io::ErrorKind::NotFound);
            let error = layout_error(error);
            if absent {
                error.hint("is this an OCI layout directory? check the path")
            } else {
                error
            }
        })?;
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
            Select::Named(name) => index.named(name).ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!("no descriptor found for reference `{name}` in `{path}`"),
                )
                .hint(names_hint(&index.names()))
            }),
        }?;
        if found
            .media_type
            .manifest_kind()
            .is_none_or(ManifestKind::is_docker1)
        {
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
        Ok(Arc::new(OciSink {
            caps: sink_caps(self.layout.path()),
            location: self.clone(),
            lock: Mutex::new(None),
        }))
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

#[async_trait]
impl Catalog for OciLocation {
    fn tags(&self) -> BoxStream<'_, Result<Tag>> {
        let layout = self.layout.clone();
        let names = async move {
            let index = blocking(move || layout.read_index())
                .await?
                .map_err(layout_error)?;
            let tags = index.names().into_iter().map(|name| {
                Tag::parse(&name)
                    .map_err(|_| Error::unsupported(format!("the name `{name}` is no tag")))
            });
            Ok::<_, Error>(stream::iter(tags.collect::<Vec<_>>()))
        };
        stream::once(names)
            .flat_map(|names| match names {
                Ok(names) => names.boxed(),
                Err(error) => stream::once(async move { Err(error) }).boxed(),
            })
            .boxed()
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
        file_blob::read(file, range).await
    }
}

#[derive(Debug)]
struct OciSink {
    location: OciLocation,
    caps: SinkCaps,
    /// Held from the first blob on, so that garbage collection leaves alone what is not listed yet.
    lock: Mutex<Option<Lock>>,
}

impl OciSink {
    fn hold(&self) -> Result<()> {
        let mut held = self
            .lock
            .lock()
            .map_err(|_| Error::new(Kind::Bug, "a lock is poisoned"))?;
        if held.is_none() {
            *held = Some(
                self.location
                    .layout
                    .lock_for_writing()
                    .map_err(layout_error)?,
            );
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for OciSink {
    fn location(&self) -> &dyn Location {
        &self.location
    }

    fn caps(&self) -> &SinkCaps {
        &self.caps
    }

    async fn present_root(&self) -> Result<Option<Digest>> {
        let location = self.location.clone();
        blocking(move || Ok(location.entry().ok().map(|entry| entry.digest))).await?
    }

    async fn reuse(&self, want: &BlobWant) -> Result<Option<Placed>> {
        let Some(digest) = want.digest else {
            return Ok(None);
        };
        let (layout, size) = (self.location.layout.clone(), want.size);
        let present = blocking(move || layout.blob_size(&digest, size)).await?;
        Ok(present.map(|size| Placed {
            digest,
            size,
            how: How::Present,
        }))
    }

    async fn has(&self, want: &BlobWant) -> Result<bool> {
        Ok(self.reuse(want).await?.is_some())
    }

    async fn put_blob(&self, want: &BlobWant, blob: Blob) -> Result<Placed> {
        self.hold()?;
        let (layout, size) = (self.location.layout.clone(), want.size.or(blob.size));
        let writer = blocking(move || layout.create_blob(size))
            .await?
            .map_err(layout_error)?;
        file_blob::store(writer, want.digest, blob).await
    }

    async fn put_manifest(&self, manifest: &RawManifest) -> Result<()> {
        self.hold()?;
        let (layout, manifest) = (self.location.layout.clone(), manifest.clone());
        blocking(move || layout.put_blob(&manifest.digest(), manifest.bytes()))
            .await?
            .map_err(layout_error)
    }

    async fn commit(&self, root: &RawManifest) -> Result<()> {
        self.put_manifest(root).await?;
        let (layout, entry) = (self.location.layout.clone(), root.descriptor());
        let name = match &self.location.select {
            Select::Named(name) => Some(name.clone()),
            _ => None,
        };
        blocking(move || {
            layout.update_index(|index| {
                index.insert(&entry, name.as_deref());
                Ok(())
            })
        })
        .await?
        .map_err(layout_error)
    }
}

fn sink_caps(path: &Path) -> SinkCaps {
    SinkCaps {
        manifests: vec![ManifestKind::OciManifest, ManifestKind::OciIndex],
        layers: LayerForm::Compressed,
        concurrency: CONCURRENCY,
        needs_size: false,
        foreign_layers: true,
        sparse_index: true,
        verifies: true,
        scope: ReuseScope(format!("oci:{}", path.display())),
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
