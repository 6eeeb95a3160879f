//! Uploads on their way: one that has begun waits for the bytes of its blob, and one that breaks
//! stays open for the next try of the same blob, which then sends only what the registry lacks.
//!
//! For a large blob it is written down where the registry continues its upload, so that a copy that
//! was killed goes on there. The address of an upload can carry a secret.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dhow_client::{Content, Upload, UploadMethod};
use dhow_model::Digest;
use dhow_transport::{BlobWant, How, Placed, Result};

use super::error::{convert, is_passing};
use super::notes::Notes;
use super::sink::DockerSink;
use crate::file_blob::blocking;

/// The smallest blob, in bytes, whose upload is written down.
const WORTH_IT: u64 = 16 * 1024 * 1024;
/// Registries forget uploads after some days.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(7 * 24);

/// The uploads that have begun.
#[derive(Debug)]
pub(super) struct Uploads {
    open: Mutex<HashMap<Digest, Open>>,
    notes: Notes,
}

/// An upload that waits for the bytes of its blob.
#[derive(Debug)]
struct Open {
    upload: Option<Upload>,
    /// How often sending the blob broke.
    broken: u32,
}

impl Uploads {
    /// Remembers uploads in a folder for what can be lost, too.
    pub(super) fn new(cache: Option<&Path>) -> Self {
        Self {
            open: Mutex::default(),
            notes: Notes::new(cache, "uploads", FORGOTTEN_AFTER),
        }
    }

    /// Remembers an upload that has begun.
    pub(super) fn keep(&self, digest: Digest, upload: Upload) {
        let open = Open {
            upload: Some(upload),
            broken: 0,
        };
        self.lock().insert(digest, open);
    }

    /// Returns whether an upload of this blob has begun or broke.
    pub(super) fn waits(&self, digest: &Digest) -> bool {
        self.lock().contains_key(digest)
    }

    /// Returns how many bytes the registry has of a blob whose upload broke.
    pub(super) fn kept(&self, digest: &Digest) -> u64 {
        let open = self.lock();
        let upload = open.get(digest).and_then(|open| open.upload.as_ref());
        upload.map_or(0, Upload::committed)
    }

    /// Gives an upload up that nobody needs; returns whether there was one.
    pub(super) async fn cancel(&self, digest: &Digest) -> bool {
        let open = self.lock().remove(digest);
        let known = open.is_some();
        if let Some(upload) = open.and_then(|open| open.upload) {
            upload.cancel().await;
        }
        known
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DockerSink {
    /// Returns the upload that waits for this blob, or a new one.
    async fn upload(&self, digest: Option<Digest>) -> Result<(Upload, u32)> {
        let open = digest.and_then(|digest| self.uploads.lock().remove(&digest));
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

    /// Returns the upload of a large blob that an earlier process has begun, if it goes on.
    pub(super) async fn earlier(&self, digest: &Digest, want: &BlobWant) -> Option<Upload> {
        if !is_worth_it(want) {
            return None;
        }
        let (notes, about) = self.note_on(digest);
        let location = blocking(move || notes.read(&about)).await.ok()??;
        match self.client.continue_upload(&location).await {
            Ok(upload) if upload.committed() > 0 => Some(upload),
            outcome => {
                // Its address is a secret, and not said.
                tracing::debug!(%digest, error = ?outcome.err(), "an earlier upload is over");
                self.forget(digest).await;
                None
            }
        }
    }

    /// Gives an upload up that nobody needs.
    pub(super) async fn give_up(&self, digest: &Digest) {
        if self.uploads.cancel(digest).await {
            self.forget(digest).await;
        }
    }

    async fn forget(&self, digest: &Digest) {
        let (notes, about) = self.note_on(digest);
        drop(blocking(move || notes.forget(&about)).await);
    }

    async fn write_down(&self, digest: &Digest, upload: &Upload) {
        let (notes, about) = self.note_on(digest);
        let location = upload.location().to_string();
        drop(blocking(move || notes.write(&about, &location)).await);
    }

    fn note_on(&self, digest: &Digest) -> (Notes, String) {
        let about = format!("{}@{digest}", self.repository());
        (self.uploads.notes.clone(), about)
    }

    /// Sends a blob that is in memory: it can be sent again at once, in another way or to a new session.
    pub(super) async fn send_twice(
        &self,
        want: &BlobWant,
        content: impl Fn() -> Content,
    ) -> Result<Placed> {
        match self.send(want, content()).await {
            Err(error) if is_passing(&error) => self.send(want, content()).await,
            outcome => outcome,
        }
    }

    /// Sends the blob; after a passing failure the upload stays open where the registry kept a
    /// part.
    pub(super) async fn send(&self, want: &BlobWant, content: Content) -> Result<Placed> {
        let (mut upload, broken) = self.upload(want.digest).await?;
        let noted = want.digest.filter(|_| is_worth_it(want));
        if let Some(digest) = &noted {
            self.write_down(digest, &upload).await;
        }
        let sending = self.host.sending();
        let sent = upload.send(content).await;
        drop(sending);
        let error = match sent {
            Ok(done) => {
                if let Some(digest) = &noted {
                    self.forget(digest).await;
                }
                self.learn_own_mounts(&done.digest, done.size).await;
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
        if let Some(digest) = want.digest.filter(|_| is_passing(&error)) {
            let open = if kept {
                // What works is not tried in another way.
                Open {
                    upload: Some(upload),
                    broken: broken.max(1),
                }
            } else {
                upload.cancel().await;
                Open {
                    upload: None,
                    broken: broken + 1,
                }
            };
            self.uploads.lock().insert(digest, open);
        } else {
            upload.cancel().await;
            if let Some(digest) = &noted {
                self.forget(digest).await;
            }
        }
        Err(error)
    }
}

/// Returns whether the upload of a blob outlives the process.
fn is_worth_it(want: &BlobWant) -> bool {
    want.size.is_some_and(|size| size >= WORTH_IT)
}
