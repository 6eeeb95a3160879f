//! An OCI layout as a destination.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use dhow_layout::{Layout, Lock};
use dhow_model::{Digest, ManifestKind, RawManifest};
use dhow_transport::{
    Blob, BlobWant, Error, How, Kind, LayerForm, Location, Placed, Result, ReuseScope, Sink,
    SinkCaps,
};
use tokio::sync::Semaphore;

use super::{CONCURRENCY, OciLocation};
use crate::file_blob::{self, blocking, layout_error};
use crate::path_scopes;

#[derive(Debug)]
pub(super) struct OciSink {
    location: OciLocation,
    caps: SinkCaps,
    /// Held from the first blob on, so that garbage collection leaves alone what is not listed yet.
    lock: Arc<Mutex<Option<Lock>>>,
    /// All blobs are asked for at once, and a thread that is started for one question costs more
    /// than the answer.
    questions: Semaphore,
}

impl OciSink {
    pub(super) fn new(location: OciLocation) -> Self {
        Self {
            caps: caps(&location.layout),
            location,
            lock: Arc::default(),
            questions: Semaphore::new(QUESTIONS),
        }
    }

    /// Runs file work under the lock.
    async fn locked<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Layout) -> Result<T, dhow_layout::Error> + Send + 'static,
    ) -> Result<T> {
        let (lock, layout) = (self.lock.clone(), self.location.layout.clone());
        blocking(move || {
            let mut held = held(&lock)?;
            if held.is_none() {
                *held = Some(layout.lock_for_writing().map_err(layout_error)?);
            }
            drop(held);
            work(&layout).map_err(layout_error)
        })
        .await?
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
        if !self.has(want).await? {
            return Ok(None);
        }
        // From here on it cannot be deleted any more; in between it could.
        let size = want.size;
        let present = self
            .locked(move |layout| Ok(layout.blob_size(&digest, size)))
            .await?;
        Ok(present.map(|size| Placed {
            digest,
            size,
            how: How::Present,
        }))
    }

    async fn has(&self, want: &BlobWant) -> Result<bool> {
        let Some(digest) = want.digest else {
            return Ok(false);
        };
        let (layout, size) = (self.location.layout.clone(), want.size);
        let _turn = self.questions.acquire().await;
        blocking(move || layout.blob_size(&digest, size).is_some()).await
    }

    async fn kept(&self, want: &BlobWant) -> Result<u64> {
        let Some((digest, size)) = want.digest.zip(want.size) else {
            return Ok(0);
        };
        let layout = self.location.layout.clone();
        blocking(move || layout.kept(&digest, size)).await
    }

    async fn put_blob(&self, want: &BlobWant, blob: Blob) -> Result<Placed> {
        let start = blob.start;
        let (known, size) = (want.digest.zip(want.size), want.size.or(blob.size));
        let writer = self
            .locked(move |layout| match known {
                Some((digest, size)) => layout.resume_blob(&digest, size, start),
                None => layout.create_blob(size),
            })
            .await?;
        let placed = file_blob::store(writer, want.digest, blob).await;
        placed.map_err(|error| match error.kind() {
            // The bytes that were here may have been wrong, as after a crash of the machine. They
            // are gone now, and the blob begins anew.
            Kind::DigestMismatch if start > 0 => error.retryable(Some(Duration::ZERO)),
            _ => error,
        })
    }

    // Docker's types are not among the caps, but whoever insists may store them, as with skopeo.
    async fn put_manifest(&self, manifest: &RawManifest) -> Result<()> {
        if manifest.kind().is_docker1() {
            return Err(Error::new(
                Kind::ManifestRejected,
                "an OCI layout cannot hold schema 1 manifests",
            ));
        }
        let manifest = manifest.clone();
        self.locked(move |layout| layout.put_blob(&manifest.digest(), manifest.bytes()))
            .await
    }

    async fn commit(&self, root: &RawManifest) -> Result<()> {
        self.put_manifest(root).await?;
        let entry = root.descriptor();
        let name = self.location.select.name().map(str::to_owned);
        self.locked(move |layout| {
            layout.update_index(|index| {
                index.insert(&entry, name.as_deref());
                Ok(())
            })
        })
        .await?;
        drop(held(&self.lock)?.take());
        Ok(())
    }
}

/// How many blobs are looked for at the same time.
const QUESTIONS: usize = 4;

fn held(lock: &Mutex<Option<Lock>>) -> Result<MutexGuard<'_, Option<Lock>>> {
    lock.lock()
        .map_err(|_| Error::new(Kind::Bug, "a lock is poisoned"))
}

fn caps(layout: &Layout) -> SinkCaps {
    let blobs = path_scopes::resolve(layout.blobs_path());
    SinkCaps {
        manifests: vec![ManifestKind::OciManifest, ManifestKind::OciIndex],
        layers: LayerForm::Compressed,
        concurrency: CONCURRENCY,
        strict: false,
        in_order: false,
        config_first: false,
        foreign_layers: true,
        sparse_index: true,
        verifies: true,
        scope: ReuseScope(format!("oci:{}", blobs.display())),
    }
}
