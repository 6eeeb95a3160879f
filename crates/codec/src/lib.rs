//! Byte pipelines: verification, detection of compression, decompression, and compression on all
//! cores.
//!
//! Streams of [`Bytes`](bytes::Bytes) in, streams out. Hashing of passing bytes happens in place;
//! compression and decompression run on threads of their own between bounded queues.

mod buffers;
mod chunked;
mod detect;
mod facts;
mod gzip;
mod likely;
mod pack;
mod packing;
mod pipe;
mod pull;
mod reader;
#[cfg(test)]
mod sample;
mod stage;
mod unpack;
mod verify;

/// Bytes on their way.
pub use futures_core::stream::BoxStream;

pub use buffers::Buffers;
pub use chunked::{ChunkedContents, ChunkedError, ChunkedFile, ChunkedPlaces, Here, Rebuilt};
pub use detect::{MAGIC, detect};
pub use facts::Facts;
pub use likely::{ISIZE, likely_size};
pub use pack::pack;
pub use packing::{PackFacts, PackFormat, Packing, PackingError, UnpackFacts};
pub use pull::{Pull, Wanted, ahead, pull};
pub use reader::reader;
pub use unpack::{learn, unpack, unpack_unhashed};
pub use verify::{Checkpoints, Expectation, VerifyError, verify, verify_from};
