//! What a host has shown of how it takes uploads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// How a host takes uploads, as far as it has shown.
#[derive(Debug, Default)]
pub struct UploadFacts {
    put_refused: AtomicBool,
    needs_chunks: AtomicBool,
    own_mounts: watch::Sender<OwnMounts>,
    has_answered: AtomicBool,
    probed: AtomicBool,
}

/// What a host makes of the question for a blob, which is to mount it from the very repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnMounts {
    /// Nobody knows: it has not said yes, and may have had no reason to.
    #[default]
    Unknown,
    /// It says yes to a blob that is there.
    Answers,
    /// It begins an upload for a blob that is there.
    Ignores,
    /// It refuses the question.
    Refuses,
}

impl UploadFacts {
    /// Returns whether the host refused a PUT that carried a whole blob.
    pub(crate) fn put_refused(&self) -> bool {
        self.put_refused.load(Ordering::Relaxed)
    }

    pub(crate) fn refuse_put(&self) {
        self.put_refused.store(true, Ordering::Relaxed);
    }

    /// Returns whether the host refused a request because it was too large.
    pub(crate) fn needs_chunks(&self) -> bool {
        self.needs_chunks.load(Ordering::Relaxed)
    }

    pub(crate) fn need_chunks(&self) {
        self.needs_chunks.store(true, Ordering::Relaxed);
    }

    /// Returns what the host makes of questions for blobs.
    pub fn own_mounts(&self) -> OwnMounts {
        *self.own_mounts.borrow()
    }

    /// Waits until that is known, if somebody finds it out in time.
    pub async fn own_mounts_within(&self, patience: Duration) -> OwnMounts {
        let mut news = self.own_mounts.subscribe();
        let known = news.wait_for(|known| *known != OwnMounts::Unknown);
        // That time is up, too, is told by what is known.
        drop(tokio::time::timeout(patience, known).await);
        self.own_mounts()
    }

    /// Returns whether somebody waits to know that.
    pub fn is_waited_for(&self) -> bool {
        self.own_mounts.receiver_count() > 0
    }

    /// Takes over what is known of the host.
    pub fn know_own_mounts(&self, known: OwnMounts) {
        self.own_mounts.send_replace(known);
    }

    /// Returns whether asking once more would bring nothing. That it says yes is only sure when it has
    /// said so to this process.
    pub fn is_sure_of_own_mounts(&self) -> bool {
        match self.own_mounts() {
            OwnMounts::Unknown => false,
            OwnMounts::Answers => self.has_answered.load(Ordering::Relaxed),
            OwnMounts::Ignores | OwnMounts::Refuses => true,
        }
    }

    pub(crate) fn answer(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
        self.know_own_mounts(OwnMounts::Answers);
    }

    /// Returns whether the caller is the first who wants to find it out.
    pub(crate) fn may_probe(&self) -> bool {
        !self.probed.swap(true, Ordering::Relaxed)
    }
}
