//! What a host has shown of how it takes uploads.

use std::sync::atomic::{AtomicBool, Ordering};

/// How a host takes uploads, as far as it has shown.
#[derive(Debug, Default)]
pub struct UploadFacts {
    put_refused: AtomicBool,
    needs_chunks: AtomicBool,
    answers_own_mounts: AtomicBool,
    refuses_own_mounts: AtomicBool,
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

    /// Returns whether the host has said of a blob that it is there when it was asked to mount it
    /// from the same repository.
    pub fn answers_own_mounts(&self) -> bool {
        self.answers_own_mounts.load(Ordering::Relaxed)
    }

    pub(crate) fn answer_own_mounts(&self) {
        self.answers_own_mounts.store(true, Ordering::Relaxed);
    }

    /// Returns whether the host has refused such a question.
    pub fn refuses_own_mounts(&self) -> bool {
        self.refuses_own_mounts.load(Ordering::Relaxed)
    }

    pub(crate) fn refuse_own_mounts(&self) {
        self.refuses_own_mounts.store(true, Ordering::Relaxed);
    }
}
