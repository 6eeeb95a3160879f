//! Which compression is wanted, and what packing and unpacking tell.

use std::fmt;

use dhow_model::{Annotations, Compression, Digest};

/// A format that layers are compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackFormat {
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
    /// Zstandard with one frame per file and a table of contents, so that files can be fetched one
    /// by one (`zstd:chunked`).
    ZstdChunked,
}

impl PackFormat {
    /// Returns the name that users know.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::ZstdChunked => "zstd:chunked",
        }
    }

    /// Returns how a layer of this format is compressed.
    pub const fn compression(self) -> Compression {
        match self {
            Self::Gzip => Compression::Gzip,
            Self::Zstd | Self::ZstdChunked => Compression::Zstd,
        }
    }
}

impl fmt::Display for PackFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packing {
    /// The format.
    pub format: PackFormat,
    /// The level in the format's own scale; `None`: its default.
    pub level: Option<i32>,
}

impl Packing {
    /// gzip at its default level.
    pub const GZIP: Self = Self {
        format: PackFormat::Gzip,
        level: None,
    };
}

/// What is known of a stream that was compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackFacts {
    /// The digest of the content before compression.
    pub diff_id: Digest,
    /// The size of the content before compression in bytes.
    pub unpacked_size: u64,
    /// The digest of the compressed stream.
    pub digest: Digest,
    /// The size of the compressed stream in bytes.
    pub size: u64,
    /// What the descriptor of the layer has to say: the places of the table of contents.
    pub annotations: Annotations,
}

/// What is known of a stream that was decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackFacts {
    /// How it was compressed; `None`: not at all.
    pub compression: Option<Compression>,
    /// The digest of the content.
    pub diff_id: Digest,
    /// The size of the content in bytes.
    pub unpacked_size: u64,
}
