//! One line of a description, and the checksum of a file.

use crc::{CRC_64_GO_ISO, Crc, Table};
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Line {
    #[serde(rename = "type")]
    pub(super) kind: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// A name that is not UTF-8, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name_raw: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) size: u64,
    pub(super) payload: Option<String>,
    pub(super) position: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it")]
const fn is_zero(size: &u64) -> bool {
    *size == 0
}

/// The number of a line for a file.
pub(super) const FILE: u8 = 1;

/// The number of a line for raw bytes.
pub(super) const SEGMENT: u8 = 2;

/// The checksum of a file, as it passes.
pub(super) type Sum<'a> = crc::Digest<'a, u64, Table<16>>;

/// Returns a checksum of nothing.
pub(crate) fn sum() -> Sum<'static> {
    static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_GO_ISO);
    CRC.digest()
}
