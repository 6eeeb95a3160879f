//! Reading images from registries.

use std::num::NonZeroU16;

use async_trait::async_trait;
use dhow_client::{ManifestRef, RepositoryClient};
use dhow_model::{Descriptor, Digest, RawManifest};
use dhow_transport::{Blob, ByteRange, Location, Result, Source, SourceCaps};
use futures_util::StreamExt as _;
use tokio::sync::OnceCell;

use super::error::{convert, into_io};
use super::location::DockerLocation;

/// How many blobs of one image are read at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(6).expect("6 is not 0");

/// An image in a registry, opened for reading.
#[derive(Debug)]
pub(super) struct DockerSource {
    location: DockerLocation,
    client: RepositoryClient,
    reference: ManifestRef,
    /// A tag can move: what it named first is what this source reads.
    root: OnceCell<RawManifest>,
}

impl DockerSource {
    pub(super) fn new(
        location: DockerLocation,
        client: RepositoryClient,
        reference: ManifestRef,
    ) -> Self {
        Self {
            location,
            client,
            reference,
            root: OnceCell::new(),
        }
    }
}

#[async_trait]
impl Source for DockerSource {
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
        let fetched = self
            .root
            .get_or_try_init(|| self.client.manifest(&self.reference))
            .await;
        fetched.cloned().map_err(convert)
    }

    async fn root_digest(&self) -> Result<Digest> {
        if let ManifestRef::Digest(digest) = self.reference {
            return Ok(digest);
        }
        if self.root.get().is_none() {
            let head = self.client.head_manifest(&self.reference).await;
            // A registry that does not say the digest has to send the manifest.
            if let Some(digest) = head.map_err(convert)?.and_then(|head| head.digest) {
                return Ok(digest);
            }
        }
        Ok(self.root().await?.digest())
    }

    async fn manifest(&self, digest: &Digest) -> Result<RawManifest> {
        if let Some(root) = self.root.get().filter(|root| root.digest() == *digest) {
            return Ok(root.clone());
        }
        self.client
            .manifest(&ManifestRef::Digest(*digest))
            .await
            .map_err(convert)
    }

    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob> {
        let offset = match range {
            ByteRange::All => 0,
            ByteRange::From(offset) => offset,
        };
        let stream = self.client.blob(blob, offset).await.map_err(convert)?;
        Ok(Blob::from_stream(
            stream.size,
            stream.bytes.map(|piece| piece.map_err(into_io)).boxed(),
        ))
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.client.referrers(subject, None).await.map_err(convert)
    }
}
