//! Uploads that go over several requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhow_model::Digest;
use http::StatusCode;
use tokio::sync::OwnedMutexGuard;

use crate::answer::Refusal;
use crate::store::{Store, Upload};

/// All uploads that are under way.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Session>>);

impl Sessions {
    /// Starts an upload and returns its id.
    pub(crate) fn start(&self, repository: &str) -> Result<String, Refusal> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|error| Refusal::internal(&error))?;
        let id = format!("{:032x}", u128::from_be_bytes(bytes));
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.touched.elapsed() < KEPT);
        if sessions.len() >= MOST {
            // Somebody who starts uploads and never goes on must not keep others out.
            let idle = sessions
                .iter()
                .filter(|(_, session)| session.touched.elapsed() > IDLE)
                .max_by_key(|(_, session)| session.touched.elapsed())
                .map(|(id, _)| id.clone());
            match idle {
                Some(idle) => sessions.remove(&idle),
                None => {
                    return Err(Refusal::new(
                        StatusCode::TOO_MANY_REQUESTS,
                        "TOOMANYREQUESTS",
                        "too many uploads are under way",
                    )
                    .header(http::header::RETRY_AFTER, "10"));
                }
            };
        }
        sessions.insert(id.clone(), Session::new(repository));
        Ok(id)
    }

    /// Returns an upload of a repository.
    pub(crate) fn find(&self, repository: &str, id: &str) -> Result<Session, Refusal> {
        let mut sessions = self.lock();
        match sessions.get_mut(id) {
            Some(session) if *session.repository == *repository => {
                session.touched = Instant::now();
                Ok(session.clone())
            }
            _ => Err(unknown()),
        }
    }

    pub(crate) fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One upload.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    repository: Arc<str>,
    touched: Instant,
    slot: Arc<tokio::sync::Mutex<Slot>>,
}

#[derive(Debug, Default)]
enum Slot {
    /// Nothing came yet.
    #[default]
    Empty,
    Writing(Box<dyn Upload>),
    /// It ended, well or not.
    Gone,
}

impl Session {
    pub(crate) fn new(repository: &str) -> Self {
        Self {
            repository: repository.into(),
            touched: Instant::now(),
            slot: Arc::default(),
        }
    }

    /// Waits for the request that writes to it, if there is one: it may be one whose connection
    /// just broke.
    pub(crate) async fn open(self) -> Result<Open, Refusal> {
        let slot = tokio::time::timeout(PATIENCE, self.slot.lock_owned()).await;
        let slot = slot.map_err(|_| {
            Refusal::bad(
                "BLOB_UPLOAD_INVALID",
                "another request is writing to this upload",
            )
        })?;
        match *slot {
            Slot::Gone => Err(unknown()),
            _ => Ok(Open(slot)),
        }
    }
}

/// An upload that this request alone writes to.
#[derive(Debug)]
pub(crate) struct Open(OwnedMutexGuard<Slot>);

impl Open {
    pub(crate) fn written(&self) -> u64 {
        match &*self.0 {
            Slot::Writing(upload) => upload.written(),
            Slot::Empty | Slot::Gone => 0,
        }
    }

    /// Writes pieces. An upload that could not be written is gone.
    pub(crate) fn write(&mut self, store: &dyn Store, pieces: &[Bytes]) -> Result<(), Refusal> {
        let mut upload = match std::mem::replace(&mut *self.0, Slot::Gone) {
            Slot::Empty => store.upload()?,
            Slot::Writing(upload) => upload,
            Slot::Gone => return Err(unknown()),
        };
        for piece in pieces {
            upload.write(piece)?;
        }
        *self.0 = Slot::Writing(upload);
        Ok(())
    }

    /// Makes the blob visible if it has this digest; otherwise nothing is left of it.
    pub(crate) fn finish(&mut self, store: &dyn Store, digest: &Digest) -> Result<(), Refusal> {
        let upload = match std::mem::replace(&mut *self.0, Slot::Gone) {
            Slot::Empty => store.upload()?,
            Slot::Writing(upload) => upload,
            Slot::Gone => return Err(unknown()),
        };
        Ok(upload.finish(digest)?)
    }
}

fn unknown() -> Refusal {
    Refusal::not_found("BLOB_UPLOAD_UNKNOWN", "there is no such upload")
}

/// How many uploads may be under way: each may hold an open file.
const MOST: usize = 512;

/// How long an upload is kept that nobody goes on with.
const KEPT: Duration = Duration::from_hours(1);

/// After how long an upload may be dropped for a new one.
const IDLE: Duration = Duration::from_mins(2);

/// How long a request waits for another one that writes to the same upload.
const PATIENCE: Duration = Duration::from_secs(10);
