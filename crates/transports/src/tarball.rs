//! `tarball:FILE[:FILE…]`: tar files as the layers of an image that is made for them. Read only.
//!
//! Every file becomes a layer, the first one at the base; `-` is standard input. The same files give
//! the same image: it is as old as the newest of them.

mod file;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use dhow_model::{
    Descriptor, Digest, ImageConfig, MediaType, PlatformWish, RawManifest, Reference, json,
};
use dhow_transport::{
    Blob, ByteRange, Catalog, Deletion, Error, Kind, Location, ParseError, PolicyScopes, Result,
    Sink, Source, SourceCaps, Transport,
};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use self::file::LayerFile;
use crate::file_blob::{self, Part, blocking};
use crate::manifest_error;

/// The `tarball` transport.
#[derive(Debug)]
pub struct Tarball {
    tmp: PathBuf,
    platform: PlatformWish,
}

impl Tarball {
    /// Returns the transport. What cannot be read in place goes into `tmp`; images are for
    /// `platform`.
    pub const fn new(tmp: PathBuf, platform: PlatformWish) -> Self {
        Self { tmp, platform }
    }
}

impl Transport for Tarball {
    fn name(&self) -> &'static str {
        "tarball"
    }

    fn parse(&self, rest: &str) -> Result<Arc<dyn Location>, ParseError> {
        let files: Vec<PathBuf> = rest.split(':').map(PathBuf::from).collect();
        if files.iter().any(|file| file.as_os_str().is_empty()) {
            let error = ParseError::new("`tarball:` needs the paths of files");
            return Err(error.hint("write `tarball:FILE` or `tarball:FILE:FILE`"));
        }
        Ok(Arc::new(TarballLocation {
            files,
            tmp: self.tmp.clone(),
            platform: self.platform.clone(),
        }))
    }

    fn validate_policy_scope(&self, _scope: &str) -> Result<(), ParseError> {
        // COMPAT(skopeo): so it is there.
        Err(ParseError::new(
            "tarball: does not support any scopes except the default \"\" one",
        ))
    }
}

#[derive(Clone, Debug)]
struct TarballLocation {
    files: Vec<PathBuf>,
    tmp: PathBuf,
    platform: PlatformWish,
}

impl fmt::Display for TarballLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.iter().map(|file| file.display().to_string());
        write!(f, "tarball:{}", files.collect::<Vec<_>>().join(":"))
    }
}

#[async_trait]
impl Location for TarballLocation {
    fn transport(&self) -> &'static str {
        "tarball"
    }

    fn reference(&self) -> Option<&Reference> {
        None
    }

    fn policy_scopes(&self) -> PolicyScopes {
        // COMPAT(skopeo): only the default scope counts.
        PolicyScopes::default()
    }

    async fn source(&self) -> Result<Arc<dyn Source>> {
        let location = self.clone();
        Ok(Arc::new(
            blocking(move || TarballSource::open(location)).await??,
        ))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        // COMPAT(skopeo): its words.
        let error =
            Error::unsupported("\"tarball:\" locations can only be read from, not written to");
        Err(error.hint("to write an archive, name `docker-archive:` or `oci-archive:`"))
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

#[async_trait]
impl Catalog for TarballLocation {
    fn tags(&self) -> BoxStream<'_, Result<String>> {
        let error = Error::unsupported("tar files have no tags");
        stream::iter([Err(error)]).boxed()
    }

    async fn delete(&self, _what: Deletion) -> Result<()> {
        // skopeo removes the user's files here, which nobody expects who deletes an image.
        let error = Error::unsupported("deleting images is not implemented for `tarball:`");
        Err(error.hint("remove the files"))
    }
}

/// Tar files with the image that was made for them.
#[derive(Debug)]
struct TarballSource {
    location: TarballLocation,
    root: RawManifest,
    config: Bytes,
    layers: HashMap<Digest, LayerFile>,
}

impl TarballSource {
    /// Reads all files to know what is in them. Blocks.
    fn open(location: TarballLocation) -> Result<Self> {
        let layers = location.files.iter();
        let layers = layers
            .map(|path| LayerFile::open(path, &location.tmp))
            .collect::<Result<Vec<_>>>()?;
        let config = config(&layers, &location.platform)?;
        let descriptors: Vec<&Descriptor> = layers.iter().map(|layer| &layer.blob).collect();
        let document = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST.as_str(),
            "config": Descriptor::of(MediaType::OCI_CONFIG, &config),
            "layers": descriptors,
        });
        let bytes = json::to_vec(&document)
            .map_err(|error| Error::new(Kind::Bug, "no manifest can be made").caused_by(error))?;
        Ok(Self {
            root: RawManifest::new(bytes.into(), None).map_err(manifest_error)?,
            config: config.into(),
            layers: layers
                .into_iter()
                .map(|layer| (layer.blob.digest, layer))
                .collect(),
            location,
        })
    }
}

/// Makes the config of the image.
fn config(layers: &[LayerFile], platform: &PlatformWish) -> Result<Vec<u8>> {
    let newest = layers.iter().map(|layer| layer.modified).max();
    let history = layers.iter().map(|layer| {
        json!({
            "created": time(layer.modified),
            // COMPAT(skopeo): the words of `docker import`.
            "created_by": format!("/bin/sh -c #(nop) ADD file:{} in /", layer.diff_id.hex()),
            "comment": "imported from tarball",
        })
    });
    let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.diff_id).collect();
    let mut document = json!({
        "created": time(newest.unwrap_or(UNIX_EPOCH)),
        "architecture": platform.architecture,
        "os": platform.os,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history.collect::<Vec<_>>(),
    });
    if let Some(variant) = &platform.variant {
        document["variant"] = json!(variant);
    }
    let config = ImageConfig::parse(document.to_string().as_bytes()).map_err(manifest_error)?;
    Ok(config.to_oci_json())
}

/// Returns a time as RFC 3339, in whole seconds.
fn time(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_string()
}

#[async_trait]
impl Source for TarballSource {
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
        if *digest == self.root.digest() {
            return Ok(self.root.clone());
        }
        let message = format!("tar files have no manifest `{digest}`");
        Err(Error::new(Kind::NotFound, message))
    }

    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob> {
        if blob.digest.matches(&self.config) {
            return Ok(file_blob::in_memory(&self.config, range));
        }
        let Some(layer) = self.layers.get(&blob.digest) else {
            let message = format!("the image has no blob `{}`", blob.digest);
            return Err(Error::new(Kind::NotFound, message));
        };
        let part = Part {
            offset: 0,
            size: layer.blob.size,
        };
        file_blob::read_part(Arc::clone(&layer.file), part, blob, range)
    }
}

/// Blobs that are read at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(8).expect("8 is not zero");
