//! Byte pipelines: verification, detection of compression, and gzip compression.
//!
//! Streams of [`Bytes`](bytes::Bytes) in, streams out. Hashing of passing bytes happens in place;
//! compression runs on a thread of its own between two bounded channels.

mod detect;
mod facts;
mod gzip;
mod packing;
mod verify;

/// Bytes on their way.
pub use futures_core::stream::BoxStream;

pub use detect::detect;
pub use facts::Facts;
pub use gzip::{GzipFacts, gunzip, gzip};
pub use packing::{PackFacts, PackFormat, Packing, UnpackFacts};
pub use verify::{Expectation, VerifyError, verify};
