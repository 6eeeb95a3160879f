//! Reading squashfs 4.0 (Linux, *Documentation/filesystems/squashfs.rst*), written for files that
//! nobody vouches for: nothing is allocated because a number says so, nothing recurses, and only a few
//! blocks are in memory at a time.
//!
//! Extended attributes are not read, as skopeo has none of them either.

mod blocks;
mod content;
mod directory;
mod inode;
mod metadata;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

pub(super) use self::content::Content;
pub(super) use self::directory::{Entry, MOST_NAMES};
pub(super) use self::inode::{Inode, LONGEST_PATH, Node};

use self::blocks::Compressor;
use self::metadata::{Metadata, Position};
use super::container::invalid;
use crate::file_blob::Part;

/// A squashfs in a part of a file.
#[derive(Debug)]
pub(super) struct Squashfs<'a> {
    image: Image<'a>,
    superblock: Superblock,
    metadata: Metadata,
    /// The fragment that was read last, and where it is.
    fragment: Option<(u64, Vec<u8>)>,
}

/// The bytes of a squashfs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image<'a> {
    file: &'a File,
    part: Part,
}

#[derive(Clone, Debug)]
struct Superblock {
    block_size: u32,
    fragments: u32,
    ids: u16,
    compressor: Compressor,
    root: u64,
    id_table: u64,
    inode_table: u64,
    directory_table: u64,
    fragment_table: u64,
}

impl Image<'_> {
    /// Reads bytes at a place in the file system.
    pub(super) fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(to.len() as u64);
        if end.is_none_or(|end| end > self.part.size) {
            return Err(invalid("the squashfs refers to bytes behind its end"));
        }
        self.file.read_exact_at(to, self.part.offset + offset)
    }

    fn number(&self, offset: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(&mut bytes, offset)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl<'a> Squashfs<'a> {
    /// Reads the superblock.
    ///
    /// # Errors
    /// `InvalidData` with what is wrong with it.
    pub(super) fn open(file: &'a File, part: Part) -> io::Result<Self> {
        let image = Image { file, part };
        Ok(Self {
            superblock: Superblock::read(image)?,
            image,
            metadata: Metadata::default(),
            fragment: None,
        })
    }

    /// Returns the inode of the root directory.
    pub(super) fn root(&mut self) -> io::Result<Inode> {
        self.inode(self.superblock.root)
    }

    /// Returns the inode at a place in the table of inodes.
    pub(super) fn inode(&mut self, place: u64) -> io::Result<Inode> {
        let mut position = Position::new(self.superblock.inode_table, place)?;
        let block_size = self.superblock.block_size;
        let raw = inode::read(&mut self.reader(&mut position), block_size)?;
        let owner = self.id(raw.owner)?;
        let group = self.id(raw.group)?;
        Ok(raw.owned(place, owner, group, position))
    }

    fn id(&mut self, index: u16) -> io::Result<u32> {
        if index >= self.superblock.ids {
            return Err(invalid(
                "an inode of the squashfs has an owner that does not exist",
            ));
        }
        let index = u64::from(index);
        let block = self
            .image
            .number(table_entry(self.superblock.id_table, index / IDS)?)?;
        let mut position = Position::at(block, index % IDS * 4);
        self.reader(&mut position).number32()
    }

    fn reader<'b>(&'b mut self, position: &'b mut Position) -> metadata::Reader<'b> {
        metadata::Reader {
            image: self.image,
            compressor: self.superblock.compressor,
            metadata: &mut self.metadata,
            position,
        }
    }
}

/// Returns where the place of a block is noted.
fn table_entry(table: u64, index: u64) -> io::Result<u64> {
    let entry = index
        .checked_mul(8)
        .and_then(|offset| table.checked_add(offset));
    entry.ok_or_else(|| invalid("a table of the squashfs is behind its end"))
}

impl Superblock {
    fn read(image: Image<'_>) -> io::Result<Self> {
        let mut bytes = [0; 96];
        image.read(&mut bytes, 0)?;
        if !bytes.starts_with(b"hsqs") {
            return Err(invalid("the root file system is no squashfs"));
        }
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let number = |at: usize| u32::from(short(at)) | u32::from(short(at + 2)) << 16;
        let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
        if (short(28), short(30)) != (4, 0) {
            return Err(invalid(format!(
                "the squashfs has version {}.{}, and only 4.0 can be read",
                short(28),
                short(30)
            )));
        }
        let block_size = number(12);
        let sizes = SMALLEST_BLOCK..=LARGEST_BLOCK;
        if !block_size.is_power_of_two() || !sizes.contains(&block_size) {
            return Err(invalid(format!(
                "the squashfs has blocks of {block_size} bytes, which is no size of a block"
            )));
        }
        Ok(Self {
            block_size,
            fragments: number(16),
            compressor: Compressor::new(short(20))?,
            ids: short(26),
            root: long(32),
            id_table: long(48),
            inode_table: long(64),
            directory_table: long(72),
            fragment_table: long(80),
        })
    }
}

/// In bytes.
const SMALLEST_BLOCK: u32 = 4096;
const LARGEST_BLOCK: u32 = 1024 * 1024;
/// How many owners are in one block of their table.
const IDS: u64 = 2048;
