//! Writing the description of an archive while it passes.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::line::{FILE, Line, SEGMENT};

/// A description that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    output: GzEncoder<BufWriter<File>>,
    position: u64,
    line: Vec<u8>,
}

impl Writer {
    /// Begins a description in an empty file.
    pub(crate) fn new(file: File) -> Self {
        Self {
            output: GzEncoder::new(BufWriter::new(file), Compression::fast()),
            position: 0,
            line: Vec::new(),
        }
    }

    /// Notes bytes that are not content of a file.
    pub(crate) fn segment(&mut self, raw: &[u8]) -> std::io::Result<()> {
        for piece in raw.chunks(PIECE) {
            self.write(&Line {
                kind: SEGMENT,
                name: None,
                name_raw: None,
                size: 0,
                payload: Some(STANDARD.encode(piece)),
                position: self.position,
            })?;
        }
        Ok(())
    }

    /// Notes an entry, and the content that the file has which it became.
    pub(crate) fn file(&mut self, name: &[u8], size: u64, sum: u64) -> std::io::Result<()> {
        let text = std::str::from_utf8(name).ok().map(str::to_owned);
        self.write(&Line {
            kind: FILE,
            name_raw: text.is_none().then(|| STANDARD.encode(name)),
            name: text,
            size,
            payload: (size > 0).then(|| STANDARD.encode(sum.to_be_bytes())),
            position: self.position,
        })
    }

    fn write(&mut self, line: &Line) -> std::io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.position += 1;
        self.output.write_all(&self.line)
    }

    /// Ends the description.
    pub(crate) fn finish(self) -> std::io::Result<()> {
        self.output.finish()?.flush()
    }
}

/// The most raw bytes that stand in one line.
const PIECE: usize = 1 << 20;
