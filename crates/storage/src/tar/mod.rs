//! Tar archives as streams: every byte is seen once, and the headers are kept as they are.

mod header;
mod pax;
mod stream;

pub(crate) use header::{Entry, EntryKind, Sparse, Time};
pub(crate) use stream::TarStream;
