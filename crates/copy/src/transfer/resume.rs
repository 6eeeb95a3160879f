//! Where the next try of a blob begins: with what the destination has of it from the last.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dhow_codec::Checkpoints;
use dhow_transport::BlobWant;

use super::Context;
use crate::plan::{BlobPlan, Step};

/// What the tries of one blob share.
#[derive(Debug, Default)]
pub(super) struct Resume {
    pub(super) checkpoints: Checkpoints,
    /// Where the last try began.
    start: AtomicU64,
    /// The furthest position that any try has come to.
    furthest: AtomicU64,
    /// The destination has bytes from an earlier process, which this one has not verified.
    unseen: AtomicBool,
    /// That was why a try failed; it is not relied on again.
    failed: AtomicBool,
}

impl Resume {
    /// Returns how many bytes the last try, which has come to `position`, has brought that none before
    /// it had: content that is wrong in its middle breaks there each time.
    pub(super) fn progress(&self, position: u64) -> u64 {
        let before = self.furthest.fetch_max(position, Ordering::Relaxed);
        position.saturating_sub(before.max(self.start.load(Ordering::Relaxed)))
    }

    /// Returns whether a failure may come from what an earlier process left; once.
    pub(super) fn is_worth_a_new_start(&self) -> bool {
        self.unseen.swap(false, Ordering::Relaxed) && !self.failed.swap(true, Ordering::Relaxed)
    }
}

/// Where a try begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ResumePoint {
    /// The first byte (0-based) that the destination lacks.
    pub(super) start: u64,
    /// The first byte that is read at the source: somewhat earlier, where the verification goes on.
    pub(super) read_from: u64,
    /// Nobody here has verified what is there already: whoever gets the rest verifies the whole.
    pub(super) unseen: bool,
}

impl Context {
    /// Returns where a try begins.
    pub(super) async fn resume_point(
        &self,
        planned: &BlobPlan,
        want: &BlobWant,
        (resume, attempt): (&Resume, u32),
    ) -> ResumePoint {
        let point = self.find_point(planned, want, (resume, attempt)).await;
        resume.start.store(point.start, Ordering::Relaxed);
        point
    }

    async fn find_point(
        &self,
        planned: &BlobPlan,
        want: &BlobWant,
        (resume, attempt): (&Resume, u32),
    ) -> ResumePoint {
        let goes_on = planned.step == Step::Keep && self.source.caps().ranges;
        if !goes_on || planned.blob.size == 0 {
            return ResumePoint::default();
        }
        // Who cannot say what is there gets everything.
        let start = self.sink.kept(want).await.unwrap_or_default();
        if start == 0 || start >= planned.blob.size {
            return ResumePoint::default();
        }
        if attempt == 1 {
            resume.unseen.store(true, Ordering::Relaxed);
        }
        let unseen = resume.unseen.load(Ordering::Relaxed);
        tracing::debug!(digest = %planned.blob.digest, start, unseen, "going on with a blob");
        let read_from = if unseen || self.sink.caps().verifies {
            start
        } else {
            resume.checkpoints.before(start)
        };
        ResumePoint {
            start,
            read_from,
            unseen,
        }
    }
}
