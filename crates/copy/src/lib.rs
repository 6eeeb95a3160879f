//! The copy engine: resolve → admit → plan → survey → transfer → assemble → publish, each a
//! function from the value before it.
//!
//! The engine knows no concrete transport; it sees `Source`, `Sink` and their capabilities. The
//! source is opened and its manifests are read before the destination is touched.

mod admit;
mod assemble;
mod batch;
mod blob_cache;
mod engine;
mod error;
mod events;
mod flow;
mod job;
mod make;
mod patience;
mod plan;
mod publish;
mod queue;
mod report;
mod resolve;
mod run;
mod survey;
mod tap;
mod transfer;
mod unchanged;

pub use batch::Batch;
pub use blob_cache::{BlobCache, Known};
pub use dhow_codec::{PackFormat, Packing, PackingError};
pub use engine::Engine;
pub use error::{Error, PlanError, Side};
pub use events::{Event, Progress};
pub use job::{Format, Job, LayerOptions, Options, Select, Standing};
pub use report::{PlanSummary, PlannedBlob, PlannedManifest, Report, Tally};
pub use survey::read_config;
