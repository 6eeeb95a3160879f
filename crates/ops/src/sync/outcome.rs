//! What became of the images, as it is told while it happens and at the end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dhow_copy::Progress;
use dhow_model::{Digest, MediaType};
use dhow_transport::Kind;
use serde::Serialize;

use crate::Error;

/// Takes what happens. Implementations return quickly.
pub trait SyncProgress: fmt::Debug + Send + Sync {
    /// Takes one event.
    fn event(&self, event: &SyncEvent<'_>);

    /// Returns who hears of the blobs of all images.
    fn blobs(&self) -> Arc<dyn Progress>;
}

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum SyncEvent<'a> {
    /// The tags of a repository are known, or the images in a folder.
    Listed {
        /// Its name.
        origin: &'a str,
        /// How many images of it there are to be synced here.
        images: u64,
    },
    /// An image is settled: copied, found unchanged, failed.
    Settled(&'a SyncOutcome),
}

/// What became of one image.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncOutcome {
    /// Its name at the source; empty for what is removed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Its name at the destination.
    pub destination: String,
    /// What was done, or would be done.
    pub verdict: SyncVerdict,
    /// The digest at the destination, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The bytes of blobs that were sent, or would be.
    pub bytes: u64,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<SyncFailure>,
    #[serde(skip)]
    pub(super) media_type: Option<MediaType>,
}

/// What was done with an image, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncVerdict {
    /// It was not there.
    Added,
    /// Another image stood under its name.
    Changed,
    /// The same image is there.
    Unchanged,
    /// Its tag never changes, and it is there.
    Immutable,
    /// An earlier run that was cut off had settled it.
    Settled,
    /// It was removed at the destination, because the source no longer has it.
    Removed,
    /// It could not be done.
    Failed,
}

/// Why something could not be done.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncFailure {
    /// The kind of cause: `not-found`, `denied`, `digest-mismatch`.
    pub kind: String,
    /// What went wrong, and then its causes.
    pub causes: Vec<String>,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl SyncFailure {
    pub(super) fn of(error: &Error) -> Self {
        let mut causes = vec![error.to_string()];
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if !causes.last().is_some_and(|last| last.ends_with(&text)) {
                causes.push(text);
            }
            cause = error.source();
        }
        Self {
            kind: kind_name(error.kind()).to_owned(),
            causes,
            hints: error.hints(),
        }
    }

    pub(super) fn words(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind: kind_name(kind).to_owned(),
            causes: vec![message.into()],
            hints: Vec::new(),
        }
    }
}

/// What came of a sync.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncReport {
    /// Whether nothing was done, and only looked at.
    pub dry_run: bool,
    /// How many repositories, folders or layouts were looked at.
    pub sources: u64,
    /// How many images were not there.
    pub added: u64,
    /// How many images replaced another.
    pub changed: u64,
    /// How many images were there.
    pub unchanged: u64,
    /// How many tags were removed.
    pub removed: u64,
    /// How many images or sources could not be synced.
    pub failed: u64,
    /// The bytes of blobs that were sent, or would be.
    pub bytes: u64,
    /// The first failures; the file of failures has all.
    pub failures: Vec<SyncOutcome>,
    /// How long it took.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// How many failures are kept for the last lines.
const KEPT_FAILURES: usize = 1000;

impl SyncReport {
    pub(super) fn add(&mut self, outcome: &SyncOutcome) {
        self.bytes += outcome.bytes;
        match outcome.verdict {
            SyncVerdict::Added => self.added += 1,
            SyncVerdict::Changed => self.changed += 1,
            SyncVerdict::Unchanged | SyncVerdict::Immutable | SyncVerdict::Settled => {
                self.unchanged += 1;
            }
            SyncVerdict::Removed => self.removed += 1,
            SyncVerdict::Failed => {
                self.failed += 1;
                if self.failures.len() < KEPT_FAILURES {
                    self.failures.push(outcome.clone());
                }
            }
        }
    }

    /// Returns how many images are at the destination as they are to be, or would be.
    pub const fn settled(&self) -> u64 {
        self.added + self.changed + self.unchanged
    }
}

/// Returns the name of a kind for programs.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound => "not-found",
        Kind::Denied => "denied",
        Kind::Unauthorized => "unauthorized",
        Kind::RateLimited => "rate-limited",
        Kind::Unreachable => "unreachable",
        Kind::Timeout => "timeout",
        Kind::Untrusted => "untrusted",
        Kind::DigestMismatch => "digest-mismatch",
        Kind::SizeMismatch => "size-mismatch",
        Kind::Rejected => "rejected",
        Kind::ManifestRejected => "manifest-rejected",
        Kind::Invalid => "invalid",
        Kind::Unsupported => "unsupported",
        Kind::Io => "io",
        Kind::Exists => "exists",
        Kind::Cancelled => "cancelled",
        _ => "other",
    }
}
