//! Reading an image: a manifest is made for it, since archives have none.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dhow_model::{Descriptor, Digest, ImageManifest, MediaType, RawManifest, convert};
use dhow_transport::{Blob, ByteRange, Error, Kind, Location, Result, Source, SourceCaps};
use futures_util::{StreamExt as _, future, stream};

use super::items::Item;
use super::opened::{Found, Layer, Opened};
use crate::file_blob;
use crate::manifest_error;

/// An image of an archive, opened for reading.
pub(crate) struct ImageSource {
    location: Arc<dyn Location>,
    opened: Opened,
    root: RawManifest,
    config: Bytes,
    layers: Vec<Layer>,
    by_diff_id: HashMap<Digest, usize>,
}

impl ImageSource {
    /// Looks into an image of an archive. Blocks.
    pub(crate) fn open(location: Arc<dyn Location>, opened: Opened, item: &Item) -> Result<Self> {
        let Found { config, layers } = opened.look(item)?;
        let root = manifest(&config, &layers)?;
        let numbered = layers.iter().enumerate();
        let by_diff_id = numbered
            .map(|(place, layer)| (layer.diff_id, place))
            .collect();
        Ok(Self {
            location,
            opened,
            root,
            config,
            layers,
            by_diff_id,
        })
    }
}

/// Makes the manifest of an image, as skopeo makes it.
fn manifest(config: &[u8], layers: &[Layer]) -> Result<RawManifest> {
    let config = Descriptor::of(MediaType::DOCKER2_CONFIG, config);
    // COMPAT(skopeo): layers are uncompressed, and called compressed, so that the digest that
    // `inspect` shows is the same (image/docker/internal/tarfile/src.go). What they really are is
    // told by `held_layers`.
    let called =
        |layer: &Layer| Descriptor::new(MediaType::DOCKER2_LAYER_GZIP, layer.diff_id, layer.size);
    let layers: Vec<Descriptor> = layers.iter().map(called).collect();
    convert::docker2_manifest(&config, &layers).map_err(manifest_error)
}

#[async_trait]
impl Source for ImageSource {
    fn location(&self) -> &dyn Location {
        &*self.location
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
        let message = format!("an archive has no manifest `{digest}`");
        Err(Error::new(Kind::NotFound, message))
    }

    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob> {
        if blob.digest.matches(&self.config) {
            return Ok(file_blob::in_memory(&self.config, range));
        }
        let layer = self.by_diff_id.get(&blob.digest);
        let Some(layer) = layer.and_then(|place| self.layers.get(*place)) else {
            let message = format!("the image has no layer `{}`", blob.digest);
            return Err(Error::new(Kind::NotFound, message));
        };
        let file = Arc::clone(&self.opened.archive.file);
        if layer.compression.is_none() {
            return file_blob::read_part(file, layer.part, blob, range);
        }
        if blob.size > 0 && blob.size != layer.size {
            let message = format!(
                "size mismatch: blob {} should have {} bytes and has {}",
                blob.digest, blob.size, layer.size
            );
            return Err(Error::new(Kind::SizeMismatch, message));
        }
        let packed = Descriptor::new(blob.media_type.clone(), blob.digest, layer.part.size);
        let packed = file_blob::read_part(file, layer.part, &packed, ByteRange::All)?;
        let (content, _) = dhow_codec::unpack(packed.body.into_stream());
        Ok(match range {
            ByteRange::All => Blob::from_stream(Some(layer.size), content),
            ByteRange::From(offset) => {
                let left = layer.size.saturating_sub(offset);
                Blob::from_stream(Some(left), skipped(content, offset))
            }
        })
    }

    async fn held_layers(&self, _: &ImageManifest) -> Result<Option<Vec<Descriptor>>> {
        let layers = self.layers.iter();
        let layers = layers
            .map(|layer| Descriptor::new(MediaType::DOCKER2_LAYER, layer.diff_id, layer.size));
        Ok(Some(layers.collect()))
    }
}

type Content = dhow_codec::BoxStream<'static, std::io::Result<Bytes>>;

/// Leaves out so many bytes at the start.
fn skipped(content: Content, offset: u64) -> Content {
    let rest = stream::unfold((content, offset), |(mut content, left)| async move {
        let piece = content.next().await?;
        Some(match piece {
            Ok(mut piece) => {
                let skip = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                let piece = piece.split_off(skip);
                (Ok(piece), (content, left - skip as u64))
            }
            Err(error) => (Err(error), (content, left)),
        })
    });
    rest.filter(|piece| future::ready(!piece.as_ref().is_ok_and(Bytes::is_empty)))
        .boxed()
}

impl fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageSource({})", self.location)
    }
}

/// Blobs that are read at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(8).expect("8 is not zero");
