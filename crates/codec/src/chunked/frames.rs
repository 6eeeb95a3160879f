//! Frames, compressed on all cores and written in order.

use std::io::{self, Write as _};

use dhow_model::Digest;

use crate::pack::{Queue, Tally};

/// Where a frame lies, and what it holds.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Where it begins, in bytes from the start of the stream.
    pub(super) offset: u64,
    /// Where it ends.
    pub(super) end: u64,
    /// The size of its content in bytes.
    pub(super) size: u64,
    /// The digest of its content.
    pub(super) digest: Digest,
}

/// A frame that was compressed.
struct Frame {
    bytes: Vec<u8>,
    size: u64,
    /// The digest of the content; `None` for what is no content of a file.
    digest: Option<Digest>,
}

/// The frames of a stream. Those that hold content of files are counted.
pub(super) struct Frames<'a, 'b> {
    output: &'a mut Tally<'b>,
    level: i32,
    queue: Queue<Frame>,
    places: Vec<Place>,
    started: usize,
}

impl<'a, 'b> Frames<'a, 'b> {
    pub(super) fn new(output: &'a mut Tally<'b>, level: i32) -> Self {
        Self {
            output,
            level,
            queue: Queue::new(),
            places: Vec::new(),
            started: 0,
        }
    }

    /// Returns how many frames with content of files there are so far.
    pub(super) const fn count(&self) -> usize {
        self.started
    }

    /// Takes a chunk of a file.
    pub(super) fn chunk(&mut self, content: Vec<u8>) -> io::Result<()> {
        self.started += 1;
        self.start(content, true)
    }

    /// Takes what lies between files.
    pub(super) fn gap(&mut self, content: Vec<u8>) -> io::Result<()> {
        self.start(content, false)
    }

    fn start(&mut self, content: Vec<u8>, counts: bool) -> io::Result<()> {
        while self.queue.is_full() {
            self.write()?;
        }
        self.output.took(&content);
        let level = self.level;
        self.queue.start(move || compress(&content, level, counts));
        Ok(())
    }

    /// Writes the first frame that waits; returns whether there was one.
    fn write(&mut self) -> io::Result<bool> {
        let Some(frame) = self.queue.next()? else {
            return Ok(false);
        };
        let offset = self.output.written();
        self.output.write_all(&frame.bytes)?;
        if let Some(digest) = frame.digest {
            self.places.push(Place {
                offset,
                end: self.output.written(),
                size: frame.size,
                digest,
            });
        }
        Ok(true)
    }

    /// Writes what is left, and returns where all frames with content are.
    pub(super) fn finish(mut self) -> io::Result<(&'a mut Tally<'b>, Vec<Place>)> {
        while self.write()? {}
        if self.output.written() == 0 {
            // An empty file has one frame, too.
            self.start(Vec::new(), false)?;
            self.write()?;
        }
        Ok((self.output, self.places))
    }
}

fn compress(content: &[u8], level: i32, counts: bool) -> io::Result<Frame> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.include_checksum(true)?;
    Ok(Frame {
        bytes: compressor.compress(content)?,
        size: content.len() as u64,
        digest: counts.then(|| Digest::sha256(content)),
    })
}
