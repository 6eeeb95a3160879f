//! zstd:chunked: a tar file compressed so that single files can be fetched from it
//! (containers/storage, `docs/containers-storage-zstd-chunked.md`).
//!
//! ```text
//! tar ─▶ headers ─────────────────▶ frame ┐
//!      └▶ content ─▶ content-cut chunks ─▶ frames ┴▶ cores ─▶ output ─▶ table of contents ─▶ footer
//! ```
//!
//! Whoever knows nothing of the table decompresses the whole and gets the tar file, byte for byte.
//! Input that is no tar file, or one with members that the table cannot name, is compressed in the
//! same way and has no table.
//!
//! Reading: [`ChunkedPlaces`] says where the table is, [`ChunkedContents`] what is in it, and
//! [`Rebuilt`] puts the tar file together again from parts of the blob and what is here already.

mod contents;
mod cut;
mod end;
mod entry;
mod error;
mod fetched;
mod frames;
mod header;
mod lines;
mod places;
mod rebuilt;
mod rows;
mod split;

use std::io::{self, BufRead as _};

use dhow_model::{Algorithm, Annotations, Hasher};

pub use self::contents::{ChunkedContents, ChunkedFile};
use self::cut::Cut;
use self::entry::{Entries, Entry};
pub use self::error::ChunkedError;
use self::frames::Frames;
use self::header::{Header, Heading};
pub use self::places::ChunkedPlaces;
pub use self::rebuilt::{Here, Rebuilt};
use self::split::TarSplit;
use crate::pack::{Tally, fill};
use crate::stage::Input;

/// Compresses the input; returns what the layer's descriptor has to say.
pub(crate) fn pack(
    input: &mut Input,
    output: &mut Tally<'_>,
    level: i32,
) -> io::Result<Annotations> {
    let mut packer = Packer {
        frames: Frames::new(output, level),
        gap: Vec::new(),
        split: Some(TarSplit::new(level)?),
        entries: Entries::default(),
    };
    packer.members(input)?;
    packer.rest(input)?;
    let Packer {
        frames,
        split,
        entries,
        ..
    } = packer;
    let (output, places) = frames.finish()?;
    match split {
        Some(split) => end::write(output, entries, &places, split, level),
        None => Ok(Annotations::new()),
    }
}

struct Packer<'a, 'b> {
    frames: Frames<'a, 'b>,
    /// What lies between the contents of files: headers and padding.
    gap: Vec<u8>,
    /// What is needed to put the tar file together again; `None` once there can be no table.
    split: Option<TarSplit>,
    entries: Entries,
}

impl Packer<'_, '_> {
    /// Takes members for as long as there are some that are understood.
    fn members(&mut self, input: &mut Input) -> io::Result<()> {
        let mut heading = Heading::default();
        while self.split.is_some() {
            let mut block = Vec::with_capacity(BLOCK);
            fill(input, &mut block, BLOCK)?;
            let Ok(header) = <&[u8; BLOCK]>::try_from(block.as_slice()) else {
                if !block.is_empty() {
                    self.give_up();
                }
                return self.between(&block);
            };
            if block.iter().all(|byte| *byte == 0) {
                return self.between(&block);
            }
            self.between(&block)?;
            match heading.take(header) {
                Header::Extension(size) => {
                    let mut content = Vec::new();
                    let whole = fill(input, &mut content, padded(size))?;
                    self.between(&content)?;
                    if !whole || !heading.extend(&content[..size]) {
                        self.give_up();
                    }
                }
                Header::Member(entry) => self.member(input, *entry)?,
                Header::Unknown => self.give_up(),
            }
        }
        Ok(())
    }

    /// Takes a member's content, and the padding behind it.
    fn member(&mut self, input: &mut Input, mut entry: Entry) -> io::Result<()> {
        let size = entry.size;
        self.segment();
        if size > 0 {
            self.close_gap()?;
            let first = self.frames.count();
            let mut content = Content::new(size);
            while content.left > 0 {
                let chunk = content.chunk(input)?;
                let ended = chunk.is_empty() || content.broken;
                if !chunk.is_empty() {
                    self.frames.chunk(chunk)?;
                }
                if ended {
                    // The tar file ends in the middle.
                    self.give_up();
                    return Ok(());
                }
            }
            entry.digest = Some(content.hasher.finish());
            entry.frames = first..self.frames.count();
            if let Some(split) = &mut self.split {
                split.file(&entry.name, size, content.crc)?;
            }
            let mut padding = Vec::new();
            let size = usize::try_from(size % BLOCK as u64).unwrap_or_default();
            fill(input, &mut padding, padded(size) - size)?;
            self.between(&padding)?;
        } else if let Some(split) = &mut self.split {
            split.nothing(&entry.name)?;
        }
        if !self.entries.add(entry) {
            self.give_up();
        }
        Ok(())
    }

    /// Takes everything that is left.
    fn rest(&mut self, input: &mut Input) -> io::Result<()> {
        loop {
            let ahead = input.fill_buf()?;
            if ahead.is_empty() {
                break;
            }
            let piece = ahead.to_vec();
            input.consume(piece.len());
            self.between(&piece)?;
        }
        self.segment();
        self.close_gap()
    }

    /// Takes bytes that are not the content of a file.
    fn between(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(split) = &mut self.split {
            split.between(bytes)?;
        }
        self.gap.extend_from_slice(bytes);
        if self.gap.len() >= GAP {
            self.close_gap()?;
        }
        Ok(())
    }

    fn segment(&mut self) {
        if let Some(split) = &mut self.split
            && split.segment().is_err()
        {
            self.split = None;
        }
    }

    fn close_gap(&mut self) -> io::Result<()> {
        if self.gap.is_empty() {
            return Ok(());
        }
        let gap = std::mem::take(&mut self.gap);
        self.frames.gap(gap)
    }

    fn give_up(&mut self) {
        self.split = None;
        self.entries = Entries::default();
    }
}

/// The content of a file as it passes.
struct Content {
    left: u64,
    hasher: Hasher,
    crc: split::Crc,
    cut: Cut,
    /// The input has ended before the content.
    broken: bool,
}

impl Content {
    fn new(size: u64) -> Self {
        Self {
            left: size,
            hasher: Hasher::new(Algorithm::Sha256),
            crc: split::Crc::default(),
            cut: Cut::default(),
            broken: false,
        }
    }

    /// Returns the next chunk.
    fn chunk(&mut self, input: &mut Input) -> io::Result<Vec<u8>> {
        let mut chunk = Vec::new();
        loop {
            let ahead = input.fill_buf()?;
            let most = usize::try_from(self.left).unwrap_or(usize::MAX);
            let ahead = &ahead[..ahead.len().min(most)];
            if ahead.is_empty() {
                break;
            }
            let (length, ends) = self.cut.at(ahead);
            chunk.extend_from_slice(&ahead[..length]);
            input.consume(length);
            self.left -= length as u64;
            if ends || self.left == 0 {
                self.hasher.update(&chunk);
                self.crc.update(&chunk);
                return Ok(chunk);
            }
        }
        self.broken = true;
        Ok(chunk)
    }
}

/// Returns a size, rounded up to whole blocks.
const fn padded(size: usize) -> usize {
    size.next_multiple_of(BLOCK)
}

/// The size of the blocks of a tar file, in bytes.
const BLOCK: usize = 512;

/// How many headers and padding go into one frame at most, in bytes.
const GAP: usize = 128 * 1024;
