//! Putting an archive together again.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::GzDecoder;

use super::line::{FILE, Line, SEGMENT, Sum, sum};

/// Opens a file of a layer by its name in the archive.
pub(crate) type OpenFile = Box<dyn FnMut(&[u8]) -> io::Result<File> + Send>;

/// The archive, read from a description and the files. A file whose content is not what it was is an
/// error.
pub(crate) struct Merged {
    lines: BufReader<GzDecoder<BufReader<File>>>,
    open: OpenFile,
    now: Now,
    line: Vec<u8>,
}

/// What is being read.
enum Now {
    Nothing,
    Raw(Vec<u8>, usize),
    File(Content),
    Ended,
}

struct Content {
    name: Vec<u8>,
    file: File,
    left: u64,
    sum: Sum<'static>,
    wanted: u64,
}

impl Merged {
    /// Returns the archive that a description tells of.
    pub(crate) fn new(description: File, open: OpenFile) -> Self {
        let unpacked = GzDecoder::new(BufReader::new(description));
        Self {
            lines: BufReader::with_capacity(BUFFER, unpacked),
            open,
            now: Now::Nothing,
            line: Vec::new(),
        }
    }

    /// Goes to the next line.
    fn advance(&mut self) -> io::Result<Now> {
        self.line.clear();
        let mut bounded = (&mut self.lines).take(MAX_LINE);
        if bounded.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(Now::Ended);
        }
        let line: Line = serde_json::from_slice(&self.line)?;
        let payload = line.payload.as_deref().unwrap_or_default();
        let payload = STANDARD.decode(payload).map_err(invalid)?;
        match line.kind {
            SEGMENT => Ok(Now::Raw(payload, 0)),
            FILE if line.size == 0 => Ok(Now::Nothing),
            FILE => {
                let name = match (line.name, line.name_raw) {
                    (_, Some(raw)) if !raw.is_empty() => STANDARD.decode(raw).map_err(invalid)?,
                    (name, _) => name.unwrap_or_default().into_bytes(),
                };
                let sum_of = payload.first_chunk().filter(|_| payload.len() == 8);
                let wanted = sum_of.map(|bytes| u64::from_be_bytes(*bytes));
                Ok(Now::File(Content {
                    file: (self.open)(&name)?,
                    left: line.size,
                    sum: sum(),
                    wanted: wanted.ok_or_else(|| invalid("a file without a checksum"))?,
                    name,
                }))
            }
            other => Err(invalid(format!("a line of the unknown type {other}"))),
        }
    }
}

impl Read for Merged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.now {
                Now::Ended => return Ok(0),
                Now::Raw(bytes, at) if *at < bytes.len() => {
                    let read = (&bytes[*at..]).read(buffer)?;
                    *at += read;
                    return Ok(read);
                }
                Now::File(content) if content.left > 0 => return content.read(buffer),
                Now::File(content) => content.check()?,
                Now::Raw(..) | Now::Nothing => {}
            }
            self.now = self.advance()?;
        }
    }
}

impl Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = buffer.len().min(most);
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(self.changed());
        }
        self.sum.update(&buffer[..read]);
        self.left -= read as u64;
        Ok(read)
    }

    fn check(&self) -> io::Result<()> {
        if self.sum.clone().finalize() == self.wanted {
            return Ok(());
        }
        Err(self.changed())
    }

    fn changed(&self) -> io::Error {
        let name = String::from_utf8_lossy(&self.name);
        invalid(format!(
            "file `{}` of the layer is not what it was when it was unpacked",
            name.escape_debug()
        ))
    }
}

impl std::fmt::Debug for Merged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Merged")
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// How much of the description is unpacked at a time, in bytes.
const BUFFER: usize = 64 << 10;

/// The longest line, in bytes: a segment has up to a MiB, Podman's up to a header of that size with
/// what surrounds it.
const MAX_LINE: u64 = 16 << 20;
