//! tar-split: what of an archive is not in the files that were unpacked, so that the very same
//! archive can be made again.
//!
//! The file is gzip, one JSON object per line: segments of raw bytes, and files by name, size and
//! checksum (github.com/vbatts/tar-split, *tar/storage*).

mod line;
mod read;
mod write;

pub(crate) use line::sum;
pub(crate) use read::Merged;
pub(crate) use write::Writer;
