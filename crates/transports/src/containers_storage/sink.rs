//! Writing images into a store.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dhow_model::{Admitted, Digest, ImageConfig, ImageManifest, Index, ManifestKind, RawManifest};
use dhow_storage::{FileTable, LayerRecord, NewImage, NewLayer, Store};
use dhow_transport::{
    Blob, BlobParts, BlobWant, Coming, Error, How, Kind, LayerForm, Location, Placed, Result,
    ReuseScope, Sink, SinkCaps, Slot,
};

use super::pending::{self, Arrived, Form};
use super::{StorageLocation, layers, noted_digest, parts, store_error};
use crate::file_blob::blocking;

/// A store, opened for writing an image.
#[derive(Debug)]
pub(super) struct StorageSink {
    location: StorageLocation,
    store: Store,
    caps: SinkCaps,
    tmp: PathBuf,
    state: Arc<Mutex<State>>,
}

/// What has come so far.
#[derive(Debug, Default)]
struct State {
    /// The IDs that the layers will have, and the digests of their contents, where the config was told.
    expected: Vec<(String, Digest)>,
    /// The index that the image was chosen from.
    index: Option<Bytes>,
    configs: HashMap<Digest, Bytes>,
    layers: HashMap<Digest, Arrived>,
    /// The images of an index.
    children: Vec<RawManifest>,
}

impl StorageSink {
    /// Opens a store. Nothing is made before the first layer comes. Blocks.
    pub(super) fn open(location: StorageLocation) -> Result<Self> {
        let store = location.store()?;
        location.name.wanted_id()?;
        Ok(Self {
            caps: SinkCaps {
                manifests: vec![
                    ManifestKind::OciManifest,
                    ManifestKind::Docker2Manifest,
                    ManifestKind::OciIndex,
                    ManifestKind::Docker2List,
                ],
                strict: true,
                layers: LayerForm::Keep,
                concurrency: CONCURRENCY,
                in_order: false,
                config_first: true,
                foreign_layers: false,
                sparse_index: false,
                verifies: false,
                scope: ReuseScope(format!("containers-storage:{}", store.specifier())),
            },
            tmp: location.tmp.clone(),
            location,
            store,
            state: Arc::default(),
        })
    }

    /// Returns the layer of the store that a wanted one would become, or whose content it has.
    async fn known(&self, want: &BlobWant) -> Result<Option<LayerRecord>> {
        let (Slot::Layer { index }, Some(digest)) = (want.slot, want.digest) else {
            return Ok(None);
        };
        let expected = lock(&self.state).expected.get(index).cloned();
        let (expected, diff_id) = expected.unzip();
        let diff_id = diff_id.map(|digest: Digest| digest.to_string());
        let (store, digest) = (self.store.clone(), digest.to_string());
        blocking(move || {
            let mut layers = store.layers().map_err(store_error)?;
            let becomes = |layer: &LayerRecord| expected.as_ref() == Some(&layer.id);
            // A layer that cannot be read again is of no use above another one.
            let holds = |layer: &LayerRecord| {
                let is_it = layer.is_from(&digest)
                    || diff_id
                        .as_ref()
                        .is_some_and(|diff_id| layer.is_from(diff_id));
                is_it && layer.diff_digest.is_some() && store.can_read(layer)
            };
            let place = layers.iter().position(becomes);
            let place = place.or_else(|| layers.iter().position(holds));
            Ok(place.map(|place| layers.swap_remove(place)))
        })
        .await?
    }
}

#[async_trait]
impl Sink for StorageSink {
    fn location(&self) -> &dyn Location {
        &self.location
    }

    fn caps(&self) -> &SinkCaps {
        &self.caps
    }

    async fn present_root(&self) -> Result<Option<Digest>> {
        let (store, location) = (self.store.clone(), self.location.clone());
        blocking(move || {
            let name = location.name.in_store(&store)?;
            let found = store.find(&name).map_err(store_error)?;
            let digest = found.and_then(|found| found.record.digest);
            digest.as_deref().map(noted_digest).transpose()
        })
        .await?
    }

    async fn prepare(&self, coming: &Coming) -> Result<()> {
        let mut state = lock(&self.state);
        state.index.clone_from(&coming.index);
        let config = coming.config.as_ref();
        let parsed = config.and_then(|config| ImageConfig::parse(config).ok());
        let diff_ids = parsed.map(|config| config.rootfs.diff_ids);
        let diff_ids = diff_ids.unwrap_or_default();
        state.expected = layers::ids(&diff_ids).into_iter().zip(diff_ids).collect();
        Ok(())
    }

    async fn reuse(&self, want: &BlobWant) -> Result<Option<Placed>> {
        let Some(digest) = want.digest else {
            return Ok(None);
        };
        let Some(record) = self.known(want).await? else {
            return Ok(None);
        };
        let noted = record
            .diff_digest
            .as_deref()
            .map(noted_digest)
            .transpose()?;
        let Some(diff_id) = noted else {
            return Ok(None);
        };
        let noted = record
            .compressed_size
            .and_then(|size| u64::try_from(size).ok());
        let size = want.size.or(noted).unwrap_or_default();
        let arrived = Arrived {
            diff_id,
            diff_size: u64::try_from(record.diff_size.unwrap_or_default()).unwrap_or_default(),
            compression: record.packed_with(),
            from_blob: record.is_from(&digest.to_string()),
            table: FileTable::None,
            form: Form::Known(Box::new(record)),
        };
        lock(&self.state).layers.insert(digest, arrived);
        Ok(Some(Placed {
            digest,
            size,
            how: How::Present,
        }))
    }

    async fn has(&self, want: &BlobWant) -> Result<bool> {
        Ok(self.known(want).await?.is_some())
    }

    async fn put_blob(&self, want: &BlobWant, blob: Blob) -> Result<Placed> {
        let (blob, measured) = crate::measured::measured(blob, want);
        if matches!(want.slot, Slot::Layer { .. }) {
            let (store, tmp) = (self.store.clone(), self.tmp.clone());
            let table = parts::table(&want.annotations);
            let arrived = pending::receive(store, tmp, blob, table).await?;
            let (digest, size) = measured.result()?;
            lock(&self.state).layers.insert(digest, arrived);
            return Ok(sent(digest, size));
        }
        let bytes = pending::whole(blob).await?;
        let (digest, size) = measured.result()?;
        lock(&self.state).configs.insert(digest, bytes);
        Ok(sent(digest, size))
    }

    async fn put_parts(
        &self,
        want: &BlobWant,
        parts: Arc<dyn BlobParts>,
    ) -> Result<Option<Placed>> {
        let (Slot::Layer { index }, Some(digest)) = (want.slot, want.digest) else {
            return Ok(None);
        };
        // Nothing but the digest of the content says that what was put together is right.
        let expected = lock(&self.state).expected.get(index).cloned();
        let Some((_, diff_id)) = expected else {
            return Ok(None);
        };
        let size = parts.blob().size;
        let (store, tmp) = (self.store.clone(), self.tmp.clone());
        let arrived = parts::receive(store, tmp, diff_id, parts).await?;
        Ok(arrived.map(|arrived| {
            lock(&self.state).layers.insert(digest, arrived);
            sent(digest, size)
        }))
    }

    async fn put_manifest(&self, manifest: &RawManifest) -> Result<()> {
        lock(&self.state).children.push(manifest.clone());
        Ok(())
    }

    async fn commit(&self, root: &RawManifest) -> Result<()> {
        let (store, location) = (self.store.clone(), self.location.clone());
        let (state, root) = (Arc::clone(&self.state), root.clone());
        blocking(move || {
            let state = std::mem::take(&mut *lock(&state));
            Commit {
                store,
                location,
                state,
            }
            .run(&root)
        })
        .await?
    }
}

/// The last step.
struct Commit {
    store: Store,
    location: StorageLocation,
    state: State,
}

impl Commit {
    fn run(mut self, root: &RawManifest) -> Result<()> {
        if let Some(wanted) = self.location.name.digest()
            && *wanted != root.digest()
        {
            let message = format!(
                "the manifest has the digest `{}`, and the name says `{wanted}`",
                root.digest()
            );
            return Err(Error::new(Kind::DigestMismatch, message)
                .hint("leave the digest out of the destination's name"));
        }
        let names: Vec<String> = self.location.name.tagged().into_iter().collect();
        if root.kind().is_index() {
            return self.index(root, names);
        }
        let (layers, image) = self.image(root, names, &HashSet::new())?;
        self.publish(layers, &image)
    }

    fn publish(&self, layers: Vec<NewLayer>, image: &NewImage) -> Result<()> {
        let published = self.store.publish(layers, image);
        published.map(drop).map_err(store_error)
    }

    /// Makes an image ready to become visible.
    fn image(
        &mut self,
        manifest: &RawManifest,
        names: Vec<String>,
        made: &HashSet<String>,
    ) -> Result<(Vec<NewLayer>, NewImage)> {
        let parsed = ImageManifest::parse(&Admitted::by_policy(manifest.clone()))
            .map_err(crate::manifest_error)?;
        if !parsed.has_image_config() {
            let message = format!(
                "a store holds images, and `{}` is none: its config is of type `{}`",
                manifest.digest(),
                parsed.config.media_type
            );
            return Err(Error::unsupported(message).hint("copy it to an OCI layout"));
        }
        let config = self.state.configs.get(&parsed.config.digest).cloned();
        let config = config.ok_or_else(|| Error::new(Kind::Bug, "the config did not come"))?;
        let known = ImageConfig::parse(&config).map_err(crate::manifest_error)?;
        let stack = layers::stack(
            &self.store,
            &parsed.layers,
            &known.rootfs.diff_ids,
            &mut self.state.layers,
            made,
        )?;
        let id = match self.location.name.wanted_id()? {
            Some(id) => id,
            None => parsed.config.digest.hex(),
        };
        let image = NewImage {
            id: Some(id),
            names,
            layers: stack.ids,
            manifest: manifest.bytes().to_vec(),
            index: self.state.index.as_ref().map(|index| index.to_vec()),
            beside: vec![(parsed.config.digest.to_string(), config.to_vec())],
            created: known.created.map(|created| created.to_string()),
        };
        Ok((stack.new, image))
    }

    /// Makes the images of an index visible, and the index under its names, as Podman keeps one that
    /// was made with `podman manifest create`.
    fn index(&mut self, root: &RawManifest, names: Vec<String>) -> Result<()> {
        let parsed = Index::parse(root).map_err(crate::manifest_error)?;
        let mut instances = serde_json::Map::new();
        let mut made = HashSet::new();
        for child in std::mem::take(&mut self.state.children) {
            let (layers, image) = self.image(&child, Vec::new(), &made)?;
            made.extend(image.layers.iter().cloned());
            self.publish(layers, &image)?;
            let listed = parsed.entries.iter();
            let mut listed = listed.filter(|entry| entry.digest == child.digest());
            if let (Some(_), Some(id)) = (listed.next(), &image.id) {
                let name = format!("containers-storage:{}@{id}", self.store.specifier());
                instances.insert(child.digest().to_string(), name.into());
            }
        }
        let instances = serde_json::Value::Object(instances).to_string();
        let image = NewImage {
            id: Some(root.digest().hex()),
            names,
            manifest: root.bytes().to_vec(),
            beside: vec![(INSTANCES.to_owned(), instances.into_bytes())],
            ..NewImage::default()
        };
        self.publish(Vec::new(), &image)
    }
}

const fn sent(digest: Digest, size: u64) -> Placed {
    Placed {
        digest,
        size,
        how: How::Sent,
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Under which key Podman keeps the images of an index.
const INSTANCES: &str = "instances.json";

/// Layers that are unpacked at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(4).expect("4 is not zero");
