//! What the engine tells while it works.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use dhow_model::Digest;
use dhow_transport::{How, Slot};

use crate::report::PlanSummary;

/// Takes events. Implementations return quickly: they are called from the data path.
pub trait Progress: fmt::Debug + Send + Sync {
    /// Takes one event.
    fn event(&self, event: &Event);
}

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The plan is made; moving begins.
    Planned(Arc<PlanSummary>),
    /// The copy of one image of an index begins.
    ImageStarted {
        /// The digest of its manifest at the source.
        digest: Digest,
        /// Its place among the images copied (1-based).
        number: usize,
        /// How many images are copied.
        of: usize,
    },
    /// A blob begins to move, or is looked for at the destination.
    BlobStarted {
        /// Its digest at the source.
        digest: Digest,
        /// What it is.
        slot: Slot,
        /// Its size in bytes, if known.
        size: Option<u64>,
        /// Bytes read so far. The renderer samples it; the data path only adds.
        counter: Arc<AtomicU64>,
    },
    /// A blob is at the destination.
    BlobDone {
        /// Its digest at the source.
        digest: Digest,
        /// How it got there.
        how: How,
        /// Its size at the destination in bytes.
        size: u64,
    },
    /// Something is tried again.
    Retrying {
        /// What, in words.
        what: String,
        /// Why, on one line.
        why: String,
        /// How long until then.
        wait: std::time::Duration,
        /// Which attempt follows (2 is the first retry).
        attempt: u32,
        /// How many attempts there can be.
        of: u32,
    },
    /// A manifest is being written to the destination.
    ManifestWriting {
        /// Its digest there.
        digest: Digest,
        /// It is an index.
        index: bool,
    },
    /// Something the user may want to know.
    Notice(String),
}
