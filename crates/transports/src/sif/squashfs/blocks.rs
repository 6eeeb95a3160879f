//! Compressed blocks: one to a few bytes becomes at most one block of a known size.

use std::io::{self, Read};

use dhow_model::Compression;
use flate2::bufread::ZlibDecoder;

use super::invalid;

/// How all blocks of a file system are compressed that are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compressor {
    Zlib,
    Xz,
    Lz4,
    Zstd,
}

impl Compressor {
    pub(super) fn new(number: u16) -> io::Result<Self> {
        let name = match number {
            1 => return Ok(Self::Zlib),
            4 => return Ok(Self::Xz),
            5 => return Ok(Self::Lz4),
            6 => return Ok(Self::Zstd),
            2 => "lzma",
            3 => "lzo",
            _ => "an unknown method",
        };
        Err(invalid(format!(
            "the squashfs is compressed with {name}; gzip, xz, lz4 and zstd can be read"
        )))
    }

    /// Decompresses a block of at most `most` bytes.
    pub(super) fn decompress(self, block: &[u8], most: usize) -> io::Result<Vec<u8>> {
        let content = match self {
            Self::Zlib => whole(ZlibDecoder::new(block), most),
            Self::Xz => {
                dhow_codec::reader(block, Compression::Xz).and_then(|from| whole(from, most))
            }
            Self::Zstd => {
                dhow_codec::reader(block, Compression::Zstd).and_then(|from| whole(from, most))
            }
            Self::Lz4 => lz4(block, most),
        };
        content.map_err(|error| invalid(format!("a block of the squashfs is broken: {error}")))
    }
}

fn whole(from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    from.take(most as u64 + 1).read_to_end(&mut content)?;
    if content.len() > most {
        return Err(invalid(format!("it has more than {most} bytes")));
    }
    Ok(content)
}

fn lz4(block: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let mut content = vec![0; most];
    let length = lz4_flex::block::decompress_into(block, &mut content)
        .map_err(|error| invalid(error.to_string()))?;
    content.truncate(length);
    Ok(content)
}
