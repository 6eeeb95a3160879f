//! The lines of the tar-split of a zstd:chunked layer, one by one.

use std::io::{self, BufRead as _, BufReader, Cursor, Read};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use zstd::stream::read::Decoder;

/// The lines that are left.
pub(super) struct Lines {
    unpacked: BufReader<io::Take<Decoder<'static, Cursor<Bytes>>>>,
    line: Vec<u8>,
}

/// What comes next in the archive.
pub(super) enum Part {
    /// Bytes that are not the content of a file.
    Raw(Vec<u8>),
    /// The content of a file, of so many bytes.
    File(u64),
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    payload: Option<String>,
}

impl Lines {
    /// Begins with what `packed` holds, of at most so many bytes.
    pub(super) fn new(packed: Bytes, most: u64) -> io::Result<Self> {
        let unpacked = decompress(Cursor::new(packed))?.take(most);
        Ok(Self {
            unpacked: BufReader::with_capacity(BUFFER, unpacked),
            line: Vec::new(),
        })
    }

    /// Returns what comes next; `None` at the end. Files without content are passed.
    pub(super) fn next(&mut self) -> io::Result<Option<Part>> {
        loop {
            self.line.clear();
            let mut bounded = (&mut self.unpacked).take(MAX_LINE);
            if bounded.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            let line: Line = serde_json::from_slice(&self.line)?;
            match line.kind {
                SEGMENT_LINE => {
                    let payload = line.payload.unwrap_or_default();
                    let raw = BASE64_STANDARD.decode(payload);
                    return raw
                        .map(|raw| Some(Part::Raw(raw)))
                        .map_err(io::Error::other);
                }
                FILE_LINE if line.size > 0 => return Ok(Some(Part::File(line.size))),
                FILE_LINE => {}
                other => {
                    let why = format!("a line of the unknown type {other}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
            }
        }
    }
}

/// Returns what compressed bytes hold.
pub(super) fn decompress<R: io::BufRead>(packed: R) -> io::Result<Decoder<'static, R>> {
    let mut decoder = Decoder::with_buffer(packed)?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(decoder)
}

/// The number of a line for a file.
pub(super) const FILE_LINE: u8 = 1;

/// The number of a line for raw bytes.
pub(super) const SEGMENT_LINE: u8 = 2;

/// The longest line, in bytes.
const MAX_LINE: u64 = 16 << 20;

/// How much is decompressed at a time, in bytes.
const BUFFER: usize = 64 * 1024;

/// The largest window of a frame as a power of two: 32 MiB, the most that Podman's compressor takes.
pub(super) const MAX_WINDOW_LOG: u32 = 25;
