//! The copy engine: resolve → admit → survey → plan → transfer → assemble → publish, each a
//! function from the value before it.
//!
//! The engine knows no concrete transport; it sees `Source`, `Sink` and their capabilities.

mod events;
mod job;
mod report;

pub use events::{Event, Progress};
pub use job::{Format, Job, Options, Select};
pub use report::{PlanSummary, PlannedBlob, PlannedManifest, Report, Tally};
