//! Writing images to registries.
//!
//! A blob that is new costs at most three requests: mount or HEAD first, then POST and PUT. A
//! mount that works costs one. An upload that breaks stays open for the next try of the same blob,
//! which then sends only what the registry does not have.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::BytesMut;
use dhow_client::{
    Content, ErrorKind, ManifestRef, RepositoryClient, Upload, UploadMethod, UploadStart,
};
use dhow_model::{Digest, ManifestKind, RawManifest};
use dhow_transport::{
    Blob, BlobWant, Body, Error, How, Kind, LayerForm, Location, Placed, Result, ReuseScope, Sink,
    SinkCaps,
};
use futures_util::StreamExt as _;

use super::error::{convert, is_passing};
use super::location::DockerLocation;

/// How many blobs of one image are written at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(6).expect("6 is not 0");
/// Blobs up to this size, in bytes, are read before they are sent, so that a request that a
/// registry refuses can be sent in another way at once.
const SMALL: u64 = 64 * 1024;

/// A repository, opened for writing.
#[derive(Debug)]
pub(super) struct DockerSink {
    location: DockerLocation,
    client: RepositoryClient,
    caps: SinkCaps,
    uploads: Mutex<HashMap<Digest, Open>>,
}

/// An upload that waits for the bytes of its blob.
#[derive(Debug)]
struct Open {
    upload: Option<Upload>,
    /// How often sending the blob broke.
    broken: u32,
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
        Self {
            location,
            client,
            caps,
            uploads: Mutex::default(),
        }
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<Digest, Open>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the registry to take the blob from a repository that has it. Only the first is asked:
    /// more would cost more than they bring.
    async fn mounted(&self, digest: &Digest, want: &BlobWant) -> Result<bool> {
        let repository = self.location.repository();
        let Some(from) = want
            .mount_from
            .iter()
            .find(|from| from.registry() == repository.registry() && *from != repository)
        else {
            return Ok(false);
        };
        match self.client.mount(digest, from).await {
            Ok(UploadStart::Mounted) => Ok(true),
            Ok(UploadStart::Session(upload)) => {
                let open = Open {
                    upload: Some(upload),
                    broken: 0,
                };
                self.uploads().insert(*digest, open);
                Ok(false)
            }
            Err(error) => match error.kind() {
                // A mount is only a short cut: who may not read there may still write here.
                ErrorKind::Unauthorized
                | ErrorKind::Denied
                | ErrorKind::NotFound
                | ErrorKind::Rejected
                | ErrorKind::Unsupported => {
                    tracing::debug!(%digest, %from, %error, "no mount");
                    Ok(false)
                }
                _ => Err(convert(error)),
            },
        }
    }

    async fn present(&self, want: &BlobWant) -> Result<Option<Placed>> {
        let Some(digest) = want.digest else {
            return Ok(None);
        };
        let head = self.client.head_blob(&digest).await.map_err(convert)?;
        Ok(head.and_then(|head| {
            let size = head.size.or(want.size)?;
            Some(Placed {
                digest,
                size,
                how: How::Present,
            })
        }))
    }

    /// Returns the upload that waits for this blob, or a new one.
    async fn upload(&self, digest: Option<Digest>) -> Result<(Upload, u32)> {
        let open = digest.and_then(|digest| self.uploads().remove(&digest));
        let (waiting, broken) = match open {
            Some(open) => (open.upload, open.broken),
            None => (None, 0),
        };
        let method = match broken {
            0 => UploadMethod::Put,
            // Some registries reset a PUT that is large, and others a PATCH that is.
            1 => UploadMethod::Patch,
            _ => UploadMethod::Chunks,
        };
        let upload = match waiting {
            Some(upload) => upload,
            None => self.client.start_upload().await.map_err(convert)?,
        };
        Ok((upload.with_method(method), broken))
    }

    /// Sends the blob; after a passing failure the upload stays open where the registry kept a
    /// part.
    async fn send(&self, want: &BlobWant, content: Content) -> Result<Placed> {
        let (mut upload, broken) = self.upload(want.digest).await?;
        let error = match upload.send(content).await {
            Ok(done) => {
                return Ok(Placed {
                    digest: done.digest,
                    size: done.size,
                    how: How::Sent,
                });
            }
            Err(error) => error,
        };
        let kept = error.resume_offset().is_some_and(|offset| offset > 0);
        let error = convert(error);
        match want.digest {
            Some(digest) if is_passing(&error) => {
                let waiting = if kept {
                    Some(upload)
                } else {
                    upload.cancel().await;
                    None
                };
                let open = Open {
                    upload: waiting,
                    broken: broken + 1,
                };
                self.uploads().insert(digest, open);
            }
            _ => upload.cancel().await,
        }
        Err(error)
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

    async fn present_root(&self) -> Result<Option<Digest>> {
        let Some(reference) = self.location.manifest() else {
            return Ok(None);
        };
        let head = self.client.head_manifest(&reference).await;
        Ok(head.map_err(convert)?.and_then(|head| head.digest))
    }

    async fn reuse(&self, want: &BlobWant) -> Result<Option<Placed>> {
        let Some(digest) = want.digest else {
            return Ok(None);
        };
        if self.mounted(&digest, want).await? {
            let size = match want.size {
                Some(size) => Some(size),
                None => self.present(want).await?.map(|placed| placed.size),
            };
            return Ok(size.map(|size| Placed {
                digest,
                size,
                how: How::Mounted,
            }));
        }
        let present = self.present(want).await?;
        if present.is_some() {
            // A mount that was refused has left an upload that nobody needs.
            let open = self.uploads().remove(&digest);
            if let Some(upload) = open.and_then(|open| open.upload) {
                upload.cancel().await;
            }
        }
        Ok(present)
    }

    async fn has(&self, want: &BlobWant) -> Result<bool> {
        if self.present(want).await?.is_some() {
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
        let bytes = match blob.body {
            Body::Bytes(bytes) => Some(bytes),
            body if size.is_some_and(|size| size <= SMALL) => {
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
        match self.send(want, content()).await {
            // What is in memory can be sent again at once, in another way or to a new session.
            Err(error) if is_passing(&error) => self.send(want, content()).await,
            outcome => outcome,
        }
    }

    async fn put_manifest(&self, manifest: &RawManifest) -> Result<()> {
        let reference = ManifestRef::Digest(manifest.digest());
        let stored = self.client.put_manifest(&reference, manifest).await;
        stored.map(drop).map_err(convert)
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
        let stored = self.client.put_manifest(&reference, root).await;
        stored.map(drop).map_err(convert)
    }
}
