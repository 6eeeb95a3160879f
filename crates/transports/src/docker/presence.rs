//! What a registry has already, found out with as few requests as may be.
//!
//! ```text
//! the manifest under the tag lists it   no request
//! another repository has it             POST ?mount=…&from=other
//! else                                  POST ?mount=…&from=itself: it is there (201), or the
//!                                       upload has begun (202)
//! ```
//!
//! Not every registry looks for a blob where it is asked to mount it from. For a blob that is worth
//! a request it is asked with HEAD, too, until it has shown that it does: to this process, or to an
//! earlier one (see `host.rs`). That is at the same time, or, where it is near, after a moment in
//! which it may show that.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use dhow_client::{
    Error as ClientError, ErrorKind, ManifestRef, OwnMounts, RepositoryClient, UploadStart,
};
use dhow_model::{Admitted, Digest, ImageManifest, Index, RawManifest, Repository};
use dhow_transport::{BlobWant, How, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::error::convert;
use super::sink::DockerSink;

/// Sending a blob up to this size, in bytes, costs no more than to ask whether it is there.
const NOT_WORTH_A_QUESTION: u64 = 256 * 1024;
/// How many images of an index are read for what they list.
const MOST_IMAGES: usize = 16;

/// The blobs that are known to be there.
#[derive(Debug, Default)]
pub(super) struct Presence(Mutex<HashSet<Digest>>);

impl Presence {
    pub(super) fn knows(&self, digest: &Digest) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(digest)
    }

    pub(super) fn learn(&self, blobs: impl IntoIterator<Item = Digest>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(blobs);
    }
}

/// A blob that is there: its size, where that was told, and how it got there.
pub(super) type Found = Option<(Option<u64>, How)>;

impl DockerSink {
    /// Finds a blob. Where it is not there an upload for it may have begun.
    pub(super) async fn find(&self, digest: &Digest, want: &BlobWant) -> Result<Found> {
        let present = Some((want.size, How::Present));
        if self.presence.knows(digest) {
            return Ok(present);
        }
        if self.uploads.waits(digest) {
            // What broke may have arrived all the same.
            return self.asked(digest).await;
        }
        if let Some(upload) = self.earlier(digest, want).await {
            self.uploads.keep(*digest, upload);
            return self.asked(digest).await;
        }
        if let Some(from) = self.mountable(want) {
            if self.mounted(digest, from).await? {
                return Ok(Some((want.size, How::Mounted)));
            }
            if want.comes {
                if is_small(want) {
                    return Ok(None);
                }
                return self.asked(digest).await;
            }
            self.uploads.cancel(digest).await;
        }
        let known = self.own_mounts().await;
        if known == OwnMounts::Refuses || !want.comes {
            return self.asked(digest).await;
        }
        if known == OwnMounts::Answers || is_small(want) {
            let there = self.begun(digest).await?;
            return Ok(present.filter(|_| there));
        }
        if known == OwnMounts::Unknown && self.client.is_near() {
            if self.begun(digest).await? {
                return Ok(present);
            }
            return match self.own_mounts_soon().await {
                OwnMounts::Answers => Ok(None),
                _ => self.asked(digest).await,
            };
        }
        self.want_to_know();
        let (head, begun) = tokio::join!(self.head(digest), self.begun(digest));
        if begun? {
            return Ok(present);
        }
        self.judged(digest, head?).await
    }

    /// Asks for a blob.
    async fn asked(&self, digest: &Digest) -> Result<Found> {
        let found = self.head(digest).await?;
        self.judged(digest, found).await
    }

    /// Gives up the upload that has begun for a blob, where it turns out to be there.
    async fn judged(&self, digest: &Digest, found: Found) -> Result<Found> {
        if found.is_some() {
            self.give_up(digest).await;
        }
        Ok(found)
    }

    /// Asks whether a blob is there.
    pub(super) async fn head(&self, digest: &Digest) -> Result<Found> {
        let head = self.client.head_blob(digest).await.map_err(convert)?;
        Ok(head.map(|head| (head.size, How::Present)))
    }

    /// Begins an upload, unless the repository has the blob; returns whether it has.
    pub(super) async fn begun(&self, digest: &Digest) -> Result<bool> {
        // If it is not there, the connection for its bytes is, by the time that this is known.
        self.client
            .connect_ahead(self.at_once.load(Ordering::Relaxed));
        let start = self.client.start_upload_of(digest).await;
        Ok(self.is_mounted(digest, start.map_err(convert)?))
    }

    /// Returns whether the registry has the blob now; an upload that it began instead is kept.
    fn is_mounted(&self, digest: &Digest, start: UploadStart) -> bool {
        match start {
            UploadStart::Mounted => true,
            UploadStart::Session(upload) => {
                self.uploads.keep(*digest, upload);
                false
            }
        }
    }

    /// Returns the repository to mount a blob from. Only the first is asked: more would cost more
    /// than they bring.
    fn mountable<'a>(&self, want: &'a BlobWant) -> Option<&'a Repository> {
        let here = self.repository();
        want.mount_from
            .iter()
            .find(|from| from.registry() == here.registry() && *from != here)
    }

    async fn mounted(&self, digest: &Digest, from: &Repository) -> Result<bool> {
        match self.client.mount(digest, from).await {
            Ok(start) => Ok(self.is_mounted(digest, start)),
            // A mount is only a short cut: who may not read there may still write here.
            Err(error) if is_refused(&error) => {
                tracing::debug!(%digest, %from, %error, "no mount");
                Ok(false)
            }
            Err(error) => Err(convert(error)),
        }
    }
}

fn is_refused(error: &ClientError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unauthorized
            | ErrorKind::Denied
            | ErrorKind::NotFound
            | ErrorKind::Rejected
            | ErrorKind::Unsupported
    )
}

fn is_small(want: &BlobWant) -> bool {
    want.size.is_some_and(|size| size <= NOT_WORTH_A_QUESTION)
}

/// Returns the blobs that the image or the index under a name lists.
pub(super) async fn listed(
    client: &RepositoryClient,
    name: &ManifestRef,
) -> Result<Vec<Digest>, ClientError> {
    let root = client.manifest(name).await?;
    if !root.kind().is_index() {
        return Ok(blobs(root));
    }
    let entries = Index::parse(&root).map_or_else(|_| Vec::new(), |index| index.entries);
    let images: Vec<RawManifest> = stream::iter(entries.into_iter().take(MOST_IMAGES))
        .map(|entry| async move { client.manifest(&ManifestRef::Digest(entry.digest)).await })
        .buffer_unordered(MOST_IMAGES)
        .try_collect()
        .await?;
    Ok(images.into_iter().flat_map(blobs).collect())
}

/// Returns the blobs of an image that lie beside it; none of what is no image.
fn blobs(raw: RawManifest) -> Vec<Digest> {
    match ImageManifest::parse(&Admitted::by_policy(raw)) {
        Ok(image) => image
            .blobs()
            .filter(|blob| blob.urls.is_empty())
            .map(|blob| blob.digest)
            .collect(),
        Err(_) => Vec::new(),
    }
}
