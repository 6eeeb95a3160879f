//! Writing images to registries.
//!
//! A blob that is new costs two requests, POST and PUT, and HEAD where it is large and the registry
//! not known; one that is there or can be mounted costs one. See `presence.rs`, `host.rs` and
//! `uploads.rs`.

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::BytesMut;
use dhow_client::{Content, ManifestRef, RepositoryClient};
use dhow_model::{Digest, ManifestKind, RawManifest, Repository};
use dhow_transport::{
    Blob, BlobWant, Body, Error, Kind, LayerForm, Location, Placed, Result, ReuseScope, Sink,
    SinkCaps,
};
use futures_util::StreamExt as _;

use super::error::convert;
use super::host::Host;
use super::location::DockerLocation;
use super::presence::{self, Presence};
use super::uploads::Uploads;

/// How many blobs of one image are written at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(64).expect("64 is not 0");
/// Blobs up to this size, in bytes, are read before they are sent, so that a request that a
/// registry refuses can be sent in another way at once.
const SMALL: u64 = 64 * 1024;

/// A repository, opened for writing.
#[derive(Debug)]
pub(super) struct DockerSink {
    location: DockerLocation,
    pub(super) client: RepositoryClient,
    caps: SinkCaps,
    pub(super) presence: Presence,
    pub(super) uploads: Uploads,
    pub(super) host: Host,
    /// How many blobs will be sent at once.
    pub(super) at_once: AtomicUsize,
}

impl DockerSink {
    pub(super) fn new(location: DockerLocation, client: RepositoryClient) -> Self {
        let caps = SinkCaps {
            verifies: false,
            manifests: vec![
                ManifestKind::OciManifest,
                ManifestKind::Docker2Manifest,
                ManifestKind::OciIndex,
                ManifestKind::Docker2List,
                ManifestKind::Docker1Signed,
                ManifestKind::Docker1,
            ],
            layers: LayerForm::Compressed,
            concurrency: CONCURRENCY,
            strict: false,
            in_order: false,
            config_first: false,
            foreign_layers: true,
            sparse_index: true,
            scope: ReuseScope(format!("docker:{}", location.repository())),
        };
        let cache = location.endpoint.cache_home();
        Self {
            uploads: Uploads::new(cache.as_deref()),
            host: Host::new(cache.as_deref()),
            location,
            client,
            caps,
            presence: Presence::default(),
            at_once: AtomicUsize::new(0),
        }
    }

    pub(super) fn repository(&self) -> &Repository {
        self.location.repository()
    }

    /// Stores a manifest, and lists it for what it refers to where the registry does not.
    async fn store(&self, reference: &ManifestRef, manifest: &RawManifest) -> Result<()> {
        let stored = self.client.put_manifest(reference, manifest).await;
        if stored.map_err(convert)?.subject.is_some() {
            return Ok(());
        }
        self.client.list_referrer(manifest).await.map_err(convert)
    }
}

#[async_trait]
impl Sink for DockerSink {
    fn location(&self) -> &dyn Location {
        &self.location
    }

    fn caps(&self) -> &SinkCaps {
        &self.caps
    }

    fn is_near(&self) -> bool {
        self.client.is_near()
    }

    async fn present_root(&self) -> Result<Option<Digest>> {
        let Some(reference) = self.location.manifest() else {
            return Ok(None);
        };
        let head = self.client.head_manifest(&reference).await;
        Ok(head.map_err(convert)?.and_then(|head| head.digest))
    }

    async fn recall(&self) -> Result<()> {
        let Some(reference) = self.location.manifest() else {
            return Ok(());
        };
        let listed = presence::listed(&self.client, &reference).await;
        self.presence.learn(listed.map_err(convert)?);
        Ok(())
    }

    fn expect_blobs(&self, at_once: usize) {
        self.at_once.store(at_once, Ordering::Relaxed);
    }

    async fn reuse(&self, want: &BlobWant) -> Result<Option<Placed>> {
        let Some(digest) = want.digest else {
            return Ok(None);
        };
        let found = self.find(&digest, want).await?;
        let Some((size, how)) = found else {
            return Ok(None);
        };
        let size = match size.or(want.size) {
            Some(size) => Some(size),
            None => self.head(&digest).await?.and_then(|(size, _)| size),
        };
        Ok(size.map(|size| Placed { digest, size, how }))
    }

    async fn kept(&self, want: &BlobWant) -> Result<u64> {
        Ok(match want.digest {
            Some(digest) => self.uploads.kept(&digest),
            None => 0,
        })
    }

    async fn has(&self, want: &BlobWant) -> Result<bool> {
        if let Some(digest) = want.digest
            && self.head(&digest).await?.is_some()
        {
            return Ok(true);
        }
        let repository = self.location.repository();
        Ok(want
            .mount_from
            .iter()
            .any(|from| from.registry() == repository.registry()))
    }

    async fn put_blob(&self, want: &BlobWant, blob: Blob) -> Result<Placed> {
        let size = want.size.or(blob.size);
        if want.digest.is_none() && size.is_none() {
            return self.put_unnamed(want, blob).await;
        }
        let whole = blob.start == 0;
        let bytes = match blob.body {
            Body::Bytes(bytes) => Some(bytes),
            body if whole && size.is_some_and(|size| size <= SMALL) => {
                let mut stream = body.into_stream();
                let mut all = BytesMut::new();
                while let Some(piece) = stream.next().await {
                    all.extend_from_slice(&piece.map_err(Error::from_stream)?);
                    if all.len() as u64 > SMALL {
                        return Err(Error::new(
                            Kind::SizeMismatch,
                            "a blob has more bytes than its manifest says",
                        ));
                    }
                }
                Some(all.freeze())
            }
            body => {
                let content = Content {
                    start: blob.start,
                    bytes: body.into_stream(),
                    size,
                    digest: want.digest,
                };
                return self.send(want, content).await;
            }
        };
        let bytes = bytes.unwrap_or_default();
        if size.is_some_and(|size| size != bytes.len() as u64) {
            return Err(Error::new(
                Kind::SizeMismatch,
                format!("a blob has {} bytes, not as many as it should", bytes.len()),
            ));
        }
        let content = || Content::from_bytes(bytes.clone(), want.digest);
        self.send_twice(want, content).await
    }

    async fn put_manifest(&self, manifest: &RawManifest) -> Result<()> {
        let reference = ManifestRef::Digest(manifest.digest());
        self.store(&reference, manifest).await
    }

    async fn commit(&self, root: &RawManifest) -> Result<()> {
        let reference = self
            .location
            .manifest()
            .unwrap_or_else(|| ManifestRef::Digest(root.digest()));
        if let ManifestRef::Digest(digest) = &reference
            && *digest != root.digest()
        {
            return Err(Error::new(
                Kind::DigestMismatch,
                format!(
                    "`{}` cannot be stored under the digest `{digest}`",
                    root.digest()
                ),
            )
            .hint("name a tag as the destination, or nothing behind the repository"));
        }
        let (stored, ()) = tokio::join!(self.store(&reference, root), self.note_own_mounts());
        stored
    }
}
