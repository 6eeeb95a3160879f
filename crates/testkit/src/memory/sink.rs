//! Writing to memory.

use std::sync::Arc;

use async_trait::async_trait;
use dhow_model::{Digest, RawManifest};
use dhow_transport::{
    Blob, BlobPart, BlobParts, BlobWant, Coming, Error, How, Kind, Location, Placed, Result, Sink,
    SinkCaps,
};
use futures_util::StreamExt as _;

use super::{Call, Fault, Memory};

/// A place in memory, opened for writing.
#[derive(Debug)]
pub(super) struct MemorySink(pub(super) Memory);

impl MemorySink {
    fn present(&self, want: &BlobWant) -> Option<Placed> {
        let digest = want.digest?;
        let held = self.0.blob(&digest).map(|bytes| bytes.len() as u64);
        let pretended = || {
            self.0
                .has_fault(&Fault::Pretend(digest))
                .then(|| want.size.unwrap_or_default())
        };
        Some(Placed {
            digest,
            size: held.or_else(pretended)?,
            how: How::Present,
        })
    }

    fn check(&self, manifest: &RawManifest) -> Result<()> {
        self.0.busy(&manifest.digest())?;
        if self.0.has_fault(&Fault::Refuse(manifest.kind())) {
            let why = format!("`{}` is not taken", manifest.media_type());
            return Err(Error::new(Kind::ManifestRejected, why));
        }
        let state = self.0.state();
        let lacking = state.faults.iter().any(
            |fault| matches!(fault, Fault::Pretend(digest) if !state.blobs.contains_key(digest)),
        );
        if lacking {
            return Err(Error::new(Kind::Invalid, "a blob is unknown"));
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn location(&self) -> &dyn Location {
        &self.0
    }

    fn caps(&self) -> &SinkCaps {
        &self.0.0.sink_caps
    }

    fn is_near(&self) -> bool {
        !self.0.0.far
    }

    async fn present_root(&self) -> Result<Option<Digest>> {
        Ok(self.0.root().map(|root| root.digest()))
    }

    async fn prepare(&self, coming: &Coming) -> Result<()> {
        let told = (coming.layers.clone(), coming.config.clone());
        self.0.record(Call::Prepare(told.0, told.1));
        Ok(())
    }

    fn expect_blobs(&self, at_once: usize) {
        self.0.state().expected = at_once;
    }

    async fn reuse(&self, want: &BlobWant) -> Result<Option<Placed>> {
        self.0
            .record(Call::Reuse(want.digest, want.mount_from.clone()));
        if self.0.0.far {
            tokio::task::yield_now().await;
        }
        Ok(self.present(want))
    }

    async fn has(&self, want: &BlobWant) -> Result<bool> {
        self.0.record(Call::Has(want.digest));
        Ok(self.present(want).is_some())
    }

    async fn wants_likely_size(&self, _want: &BlobWant) -> bool {
        self.0.state().likely.is_some()
    }

    async fn put_blob(&self, want: &BlobWant, blob: Blob) -> Result<Placed> {
        self.0.record(Call::PutBlob(want.digest));
        if let Some(sizes) = &mut self.0.state().likely {
            sizes.push(blob.likely);
        }
        if want
            .digest
            .is_some_and(|digest| self.0.has_fault(&Fault::Full(digest)))
        {
            return Err(Error::new(Kind::Io, "no space is left"));
        }
        let _turn = Turn::take(&self.0);
        let mut all = Vec::new();
        let mut body = blob.body.into_stream();
        while let Some(piece) = body.next().await {
            all.extend_from_slice(&piece.map_err(Error::from_stream)?);
        }
        if self.caps().verifies
            && let Some(expected) = want.digest
            && !expected.matches(&all)
        {
            return Err(Error::new(Kind::DigestMismatch, "digest mismatch"));
        }
        let digest = want.digest.unwrap_or_else(|| Digest::sha256(&all));
        let size = all.len() as u64;
        self.0.state().blobs.insert(digest, all.into());
        Ok(Placed {
            digest,
            size,
            how: How::Sent,
        })
    }

    async fn put_parts(
        &self,
        want: &BlobWant,
        parts: Arc<dyn BlobParts>,
    ) -> Result<Option<Placed>> {
        self.0.record(Call::PutParts(want.digest));
        let blob = parts.blob();
        let half = self.0.state().halves.get(&blob.digest).cloned();
        let Some(half) = half else {
            return Ok(None);
        };
        let offset = half.len() as u64;
        let length = blob.size - offset;
        let rest = parts.part(BlobPart { offset, length }).await?;
        let mut all = half.to_vec();
        let mut body = rest.body.into_stream();
        while let Some(piece) = body.next().await {
            all.extend_from_slice(&piece.map_err(Error::from_stream)?);
        }
        if !blob.digest.matches(&all) {
            return Err(Error::new(Kind::DigestMismatch, "digest mismatch"));
        }
        self.0.state().blobs.insert(blob.digest, all.into());
        Ok(Some(Placed {
            digest: blob.digest,
            size: blob.size,
            how: How::Sent,
        }))
    }

    async fn put_manifest(&self, manifest: &RawManifest) -> Result<()> {
        self.0.record(Call::PutManifest(manifest.digest()));
        self.check(manifest)?;
        let mut state = self.0.state();
        state.manifests.insert(manifest.digest(), manifest.clone());
        Ok(())
    }

    async fn commit(&self, root: &RawManifest) -> Result<()> {
        self.0.record(Call::Commit(root.digest()));
        self.check(root)?;
        let mut state = self.0.state();
        state.manifests.insert(root.digest(), root.clone());
        state.root = Some(root.clone());
        Ok(())
    }
}

/// A transfer under way.
struct Turn<'a>(&'a Memory);

impl<'a> Turn<'a> {
    fn take(place: &'a Memory) -> Self {
        let mut state = place.state();
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        Self(place)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}
