//! tar-split: what of an archive is not in the files that were unpacked, so that the very same
//! archive can be made again.
//!
//! The file is gzip, one JSON object per line: segments of raw bytes, and files by name, size and
//! checksum (github.com/vbatts/tar-split, *tar/storage*).

mod read;
mod write;

use crc::{CRC_64_GO_ISO, Crc, Table};
use serde::{Deserialize, Serialize};

pub(crate) use read::Merged;
pub(crate) use write::Writer;

/// One line.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// A name that is not UTF-8, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name_raw: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    size: u64,
    payload: Option<String>,
    position: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it")]
const fn is_zero(size: &u64) -> bool {
    *size == 0
}

/// The number of a line for a file.
const FILE: u8 = 1;

/// The number of a line for raw bytes.
const SEGMENT: u8 = 2;

/// The checksum of a file, as it passes.
pub(crate) type Sum<'a> = crc::Digest<'a, u64, Table<16>>;

/// Returns a checksum of nothing.
pub(crate) fn sum() -> Sum<'static> {
    static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_GO_ISO);
    CRC.digest()
}
