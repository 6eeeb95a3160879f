//! gzip on all cores: blocks of the content become members of the file, each compressed by itself.
//! What cannot become smaller is a member of its own, kept as it is.
//!
//! ```text
//! input ─▶ blocks ─▶ cores, at most one more block than there are ─▶ members in order ─▶ output
//! ```
//!
//! A block's members depend on the block alone, so that the file does not depend on the number of
//! cores. Header fields that tell time or place are empty.

use std::cell::RefCell;
use std::io::{self, Write as _};

use dhow_model::Annotations;
use libdeflater::{CompressionLvl, Compressor};

use super::{Queue, Tally, fill, noise};
use crate::stage::Input;

/// A block on its way through a core: what was taken in, and what came out.
struct Block {
    content: Vec<u8>,
    /// Never made shorter, so that it is not zeroed for each block.
    members: Vec<u8>,
    /// How much of `members` is meant.
    length: usize,
}

/// Compresses the input.
pub(super) fn pack(
    input: &mut Input,
    output: &mut Tally<'_>,
    level: i32,
) -> io::Result<Annotations> {
    let mut spare: Vec<Block> = Vec::new();
    let mut queue = Queue::new();
    let (mut goes_on, mut any) = (true, false);
    loop {
        while goes_on && !queue.is_full() {
            let mut block = spare.pop().unwrap_or_else(Block::empty);
            block.content.clear();
            goes_on = fill(input, &mut block.content, BLOCK)?;
            // An empty file has one member, too.
            if block.content.is_empty() && any {
                break;
            }
            any = true;
            output.took(&block.content);
            queue.start(move || block.compress(level).map(|()| block));
        }
        let Some(block) = queue.next()? else {
            return Ok(Annotations::new());
        };
        output.write_all(&block.members[..block.length])?;
        spare.push(block);
    }
}

impl Block {
    fn empty() -> Self {
        Self {
            content: Vec::with_capacity(BLOCK),
            members: Vec::new(),
            length: 0,
        }
    }

    fn compress(&mut self, level: i32) -> io::Result<()> {
        self.length = 0;
        let content = std::mem::take(&mut self.content);
        // Who asks for a higher level has the time to have everything compressed.
        if level != FASTEST || content.is_empty() {
            self.add_member(&content, level)?;
        } else {
            for (run, is_noise) in noise::runs(&content) {
                self.add_member(run, if is_noise { STORED } else { FASTEST })?;
            }
        }
        self.content = content;
        Ok(())
    }

    fn add_member(&mut self, content: &[u8], level: i32) -> io::Result<()> {
        COMPRESSORS.with_borrow_mut(|kept| {
            let compressor = compressor(kept, level)?;
            let most = self.length + compressor.gzip_compress_bound(content.len());
            if self.members.len() < most {
                self.members.resize(most, 0);
            }
            self.length += compressor
                .gzip_compress(content, &mut self.members[self.length..])
                .map_err(|error| io::Error::other(error.to_string()))?;
            Ok(())
        })
    }
}

/// What a core compresses with, by level.
type Compressors = Vec<(i32, Compressor)>;

/// Returns the compressor of a level, and makes it when it is needed for the first time.
fn compressor(kept: &mut Compressors, level: i32) -> io::Result<&mut Compressor> {
    let known = kept.iter().position(|(of, _)| *of == level);
    let place = if let Some(place) = known {
        place
    } else {
        let of =
            CompressionLvl::new(level).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        kept.push((level, Compressor::new(of)));
        kept.len() - 1
    };
    Ok(&mut kept[place].1)
}

thread_local! {
    static COMPRESSORS: RefCell<Compressors> = const { RefCell::new(Vec::new()) };
}

/// The level of libdeflate at which content is kept as it is.
const STORED: i32 = 0;

/// The fastest level of libdeflate that makes content smaller.
const FASTEST: i32 = 1;

/// How much content a member has, in bytes. Smaller blocks compress worse, larger ones need more
/// memory: the queue says how many of them there are.
const BLOCK: usize = 256 * 1024;
