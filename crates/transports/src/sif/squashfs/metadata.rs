//! Tables of a squashfs: streams of small blocks, read from any place on.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::blocks::Compressor;
use super::{Image, invalid};

/// Where something is in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Where the block is in the file system.
    block: u64,
    /// Where it is in the content of the block.
    offset: usize,
}

impl Position {
    /// Returns the position that a reference names: 48 bits of where the block is in the table, and
    /// 16 of where something is in it.
    pub(super) fn new(table: u64, reference: u64) -> io::Result<Self> {
        let block = table.checked_add(reference >> 16);
        let block = block.ok_or_else(|| invalid("a reference of the squashfs leads nowhere"))?;
        Ok(Self::at(block, reference & 0xffff))
    }

    pub(super) fn at(block: u64, offset: u64) -> Self {
        Self {
            block,
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
        }
    }
}

/// The blocks that were read last.
#[derive(Debug, Default)]
pub(super) struct Metadata(VecDeque<Rc<Block>>);

#[derive(Debug)]
struct Block {
    at: u64,
    next: u64,
    content: Vec<u8>,
}

/// Reads from a position on, and moves it.
pub(super) struct Reader<'a> {
    pub(super) image: Image<'a>,
    pub(super) compressor: Compressor,
    pub(super) metadata: &'a mut Metadata,
    pub(super) position: &'a mut Position,
}

impl Reader<'_> {
    /// Fills `to`.
    pub(super) fn read(&mut self, to: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < to.len() {
            let block = self.block(self.position.block)?;
            let Some(rest) = block.content.get(self.position.offset..) else {
                return Err(invalid("a reference of the squashfs leads behind a block"));
            };
            if rest.is_empty() {
                if block.content.is_empty() {
                    return Err(invalid("a block of the squashfs is empty"));
                }
                *self.position = Position::at(block.next, 0);
                continue;
            }
            let length = rest.len().min(to.len() - filled);
            to[filled..filled + length].copy_from_slice(&rest[..length]);
            filled += length;
            self.position.offset += length;
        }
        Ok(())
    }

    pub(super) fn number16(&mut self) -> io::Result<u16> {
        let mut bytes = [0; 2];
        self.read(&mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    pub(super) fn number32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn number64(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn block(&mut self, at: u64) -> io::Result<Rc<Block>> {
        let known = self.metadata.0.iter().position(|block| block.at == at);
        if let Some(block) = known.and_then(|index| self.metadata.0.remove(index)) {
            self.metadata.0.push_back(Rc::clone(&block));
            return Ok(block);
        }
        let mut header = [0; 2];
        self.image.read(&mut header, at)?;
        let header = u16::from_le_bytes(header);
        let length = usize::from(header & !UNCOMPRESSED);
        if length > LARGEST {
            return Err(invalid("a block of a squashfs table is too large"));
        }
        let mut bytes = vec![0; length];
        self.image.read(&mut bytes, at + 2)?;
        let content = if header & UNCOMPRESSED == 0 {
            self.compressor.decompress(&bytes, LARGEST)?
        } else {
            bytes
        };
        let block = Rc::new(Block {
            at,
            next: at + 2 + length as u64,
            content,
        });
        if self.metadata.0.len() == KEPT {
            self.metadata.0.pop_front();
        }
        self.metadata.0.push_back(Rc::clone(&block));
        Ok(block)
    }
}

/// The bit that tells that a block is stored as it is.
const UNCOMPRESSED: u16 = 0x8000;
/// The largest block of a table, in bytes.
const LARGEST: usize = 8192;
/// How many blocks are kept: what one directory needs is close together.
const KEPT: usize = 64;
