//! Reading an image of a store.

use std::num::NonZeroU16;

use async_trait::async_trait;
use bytes::Bytes;
use dhow_model::{
    Descriptor, Digest, ImageManifest, ManifestKind, MediaType, RawManifest, convert,
};
use dhow_storage::{Found, ImageRecord, LayerRecord, Store};
use dhow_transport::{Blob, ByteRange, Error, Kind, Location, Result, Source, SourceCaps};

use super::{StorageLocation, noted_digest, reading, schema1, store_error};
use crate::file_blob::{self, blocking};

/// An image of a store, opened for reading.
#[derive(Debug)]
pub(super) struct StorageSource {
    location: StorageLocation,
    store: Store,
    found: Found,
    layers: Vec<Held>,
    root: RawManifest,
}

/// A layer as the store can give it.
#[derive(Clone, Debug)]
struct Held {
    record: LayerRecord,
    diff_id: Digest,
    size: u64,
}

impl StorageSource {
    /// Looks an image up. Blocks.
    pub(super) fn open(location: StorageLocation) -> Result<Self> {
        let store = location.store()?;
        let found = location.find(&store)?;
        let layers = Held::all(&store, &found.record)?;
        let mut root = manifest(&found, location.name.digest())?;
        if root.kind().is_docker1() {
            let held: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
            root = schema1::with_layers(&root, &held)?;
        }
        Ok(Self {
            location,
            store,
            found,
            layers,
            root,
        })
    }

    /// Returns the layer whose content has this digest.
    async fn layer(&self, diff_id: &Digest) -> Result<Option<Held>> {
        let own = self.layers.iter().find(|layer| layer.diff_id == *diff_id);
        if own.is_some() || !self.root.kind().is_index() {
            return Ok(own.cloned());
        }
        let (store, digest) = (self.store.clone(), diff_id.to_string());
        blocking(move || {
            let layers = store.layers().map_err(store_error)?.into_iter();
            let mut layers = layers.filter(|layer| layer.diff_digest.as_ref() == Some(&digest));
            let layer = layers.next();
            layer.map(|record| Held::of(&store, record)).transpose()
        })
        .await?
    }

    /// Returns the layers of the image that has this config.
    async fn layers_of(&self, config: &Digest) -> Result<Vec<Held>> {
        if !self.root.kind().is_index() {
            return Ok(self.layers.clone());
        }
        let (store, config) = (self.store.clone(), config.to_string());
        blocking(move || {
            let Some(found) = with_config(&store, &config)? else {
                return Ok(Vec::new());
            };
            Held::all(&store, &found.record)
        })
        .await?
    }
}

/// Finds an image by its config. Blocks.
fn with_config(store: &Store, digest: &String) -> Result<Option<Found>> {
    let of = |image: &ImageRecord| image.big_data_names().contains(digest);
    store.find_by(of).map_err(store_error)
}

impl Held {
    /// Returns the layers of an image, the lowest first. Blocks.
    fn all(store: &Store, image: &ImageRecord) -> Result<Vec<Self>> {
        let records = store.layers_of(image).map_err(store_error)?;
        let layers = records.into_iter().map(|record| Self::of(store, record));
        layers.collect()
    }

    fn of(store: &Store, record: LayerRecord) -> Result<Self> {
        let noted = (record.diff_digest.as_deref(), record.diff_size);
        let (diff_id, size) = match noted {
            (Some(digest), Some(size)) => (
                noted_digest(digest)?,
                u64::try_from(size).unwrap_or_default(),
            ),
            // It was put together from files that were here: nobody has seen the archive.
            _ => reading::measure(store, &record)?,
        };
        Ok(Self {
            record,
            diff_id,
            size,
        })
    }
}

/// Reads a manifest of an image: its own, or one of this digest.
fn manifest(found: &Found, digest: Option<&Digest>) -> Result<RawManifest> {
    let text = digest.map(ToString::to_string);
    let bytes = found.manifest(text.as_deref()).map_err(store_error)?;
    let bytes = Bytes::from(bytes);
    match digest {
        Some(digest) => RawManifest::verified(bytes, None, digest),
        None => RawManifest::new(bytes, None),
    }
    .map_err(crate::manifest_error)
}

#[async_trait]
impl Source for StorageSource {
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
        let (found, store, digest) = (self.found.clone(), self.store.clone(), *digest);
        blocking(move || match manifest(&found, Some(&digest)) {
            Err(error) if error.kind() == Kind::NotFound => {
                // The images of an index are images of their own.
                let text = digest.to_string();
                let of = |image: &ImageRecord| image.has_manifest(&text);
                let other = store.find_by(of).map_err(store_error)?.ok_or(error)?;
                manifest(&other, Some(&digest))
            }
            other => other,
        })
        .await?
    }

    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob> {
        if let Some(layer) = self.layer(&blob.digest).await? {
            let skip = match range {
                ByteRange::All => 0,
                ByteRange::From(offset) => offset.min(layer.size),
            };
            let stream = reading::open(self.store.clone(), layer.record.clone(), skip);
            let blob = Blob::from_stream(Some(layer.size - skip), stream);
            return Ok(blob.starting_at(skip));
        }
        let (empty, bytes) = convert::empty_layer();
        if self.root.kind().is_docker1() && empty.digest == blob.digest {
            return Ok(file_blob::in_memory(&bytes, range));
        }
        let (store, digest) = (self.store.clone(), blob.digest.to_string());
        let bytes = blocking(move || {
            let found = with_config(&store, &digest)?.ok_or_else(|| {
                let message = format!("the store has no blob `{digest}`");
                let error = Error::new(Kind::NotFound, message);
                error.hint("a store has layers uncompressed only")
            })?;
            found.big_data(&digest).map_err(store_error)
        });
        Ok(file_blob::in_memory(&Bytes::from(bytes.await??), range))
    }

    async fn held_layers(&self, manifest: &ImageManifest) -> Result<Option<Vec<Descriptor>>> {
        let layers = self.layers_of(&manifest.config.digest).await?;
        if manifest.layers.len() != layers.len() {
            let message = format!(
                "the manifest has {} layers, and the store has {} for the image",
                manifest.layers.len(),
                layers.len()
            );
            return Err(Error::new(Kind::Invalid, message));
        }
        let is_docker = manifest.kind == ManifestKind::Docker2Manifest;
        let layers = manifest.layers.iter().zip(&layers);
        let layers = layers.map(|(said, held)| {
            if said.digest == held.diff_id {
                return said.clone();
            }
            let media_type = if is_docker {
                MediaType::DOCKER2_LAYER
            } else {
                MediaType::OCI_LAYER
            };
            Descriptor::new(media_type, held.diff_id, held.size)
        });
        Ok(Some(layers.collect()))
    }
}

/// Blobs that are read at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(4).expect("4 is not zero");
