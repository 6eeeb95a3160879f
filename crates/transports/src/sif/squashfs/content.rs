//! The content of a file, block by block.

use std::io;

use super::inode::Blocks;
use super::metadata::Position;
use super::{Squashfs, invalid, table_entry};

/// What is left of a file's content.
#[derive(Debug)]
pub(in crate::sif) struct Content {
    blocks: Blocks,
    /// Where the next block is.
    at: u64,
    left: u64,
}

impl Content {
    pub(in crate::sif) const fn new(blocks: Blocks) -> Self {
        Self {
            blocks,
            at: blocks.start,
            left: blocks.size,
        }
    }
}

impl Squashfs<'_> {
    /// Returns the next piece of a file, of one block at most; `None` at its end.
    ///
    /// # Errors
    /// When the file system is broken there.
    pub(in crate::sif) fn next(&mut self, content: &mut Content) -> io::Result<Option<Vec<u8>>> {
        if content.left == 0 {
            return Ok(None);
        }
        let block_size = u64::from(self.superblock.block_size);
        let size = content.left.min(block_size);
        let piece = match content.blocks.fragment {
            Some(fragment) if content.left < block_size => self.end(fragment, size)?,
            _ => self.block(content, size)?,
        };
        content.left -= size;
        Ok(Some(piece))
    }

    fn block(&mut self, content: &mut Content, size: u64) -> io::Result<Vec<u8>> {
        let stored = self.reader(&mut content.blocks.sizes).number32()?;
        let wanted = usize::try_from(size).unwrap_or(usize::MAX);
        if stored == 0 {
            return Ok(vec![0; wanted]);
        }
        let piece = self.stored(content.at, stored)?;
        content.at += u64::from(stored & SIZE);
        if piece.len() != wanted {
            return Err(invalid(
                "a block of the squashfs has another size than the file says",
            ));
        }
        Ok(piece)
    }

    /// Reads a block of the size and kind that `stored` tells.
    fn stored(&self, at: u64, stored: u32) -> io::Result<Vec<u8>> {
        let length = stored & SIZE;
        if length > self.superblock.block_size {
            return Err(invalid(
                "a block of the squashfs is larger than its blocks are",
            ));
        }
        let mut bytes = vec![0; length as usize];
        self.image.read(&mut bytes, at)?;
        if stored & UNCOMPRESSED != 0 {
            return Ok(bytes);
        }
        let most = self.superblock.block_size as usize;
        self.superblock.compressor.decompress(&bytes, most)
    }

    /// Returns the end of a file, which is in a block with the ends of others.
    fn end(&mut self, (number, offset): (u32, u32), size: u64) -> io::Result<Vec<u8>> {
        if number >= self.superblock.fragments {
            return Err(invalid(
                "the squashfs refers to a fragment that does not exist",
            ));
        }
        let number = u64::from(number);
        let entry = table_entry(self.superblock.fragment_table, number / FRAGMENTS)?;
        let table = self.image.number(entry)?;
        let mut position = Position::at(table, number % FRAGMENTS * 16);
        let mut reader = self.reader(&mut position);
        let (at, stored) = (reader.number64()?, reader.number32()?);
        let kept = self.fragment.take().filter(|(known, _)| *known == at);
        let fragment = match kept {
            Some((_, fragment)) => fragment,
            None => self.stored(at, stored)?,
        };
        let start = offset as usize;
        let range = start..start.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
        let piece = fragment.get(range).map(ToOwned::to_owned);
        self.fragment = Some((at, fragment));
        piece.ok_or_else(|| invalid("the end of a file is behind its fragment in the squashfs"))
    }
}

/// The bits of a stored size that are a size.
const SIZE: u32 = 0x00ff_ffff;
/// The bit that tells that a block is stored as it is.
const UNCOMPRESSED: u32 = 0x0100_0000;
/// How many fragments are in one block of their table.
const FRAGMENTS: u64 = 512;
