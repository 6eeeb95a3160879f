//! Sync: many images from some places to one place.
//!
//! ```text
//! sources ─▶ origins ─▶ tags, while images move ─▶ mapping ─▶ standing? ─▶ copy ─▶ outcome
//!                                                   journal ┘        attached: referrers, digest tags
//! when all is settled: what the source no longer has is removed, if that was asked for
//! ```
//!
//! One [`Batch`](dhow_copy::Batch) is shared by all copies: a blob is sent once for each registry. What
//! stands at the destination is listed once for each repository, so that a new tag is not asked for
//! and an old one costs a question for its digest on each side.

mod attached;
mod delete;
mod destination;
mod driver;
mod image;
mod journal;
mod listing;
mod mapping;
mod origins;
mod outcome;
mod prepare;
mod records;
mod request;
mod run;

pub use outcome::{SyncEvent, SyncFailure, SyncOutcome, SyncProgress, SyncReport, SyncVerdict};
pub use request::{MaxDelete, SyncDestination, SyncOptions, SyncRequest, SyncSource, SyncTarget};
pub use run::sync;
