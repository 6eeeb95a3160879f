//! gzip on all cores: blocks of the content become members of the file, each compressed by itself.
//!
//! ```text
//! input ─▶ blocks ─▶ cores, at most one more block than there are ─▶ members in order ─▶ output
//! ```
//!
//! A block's member depends on the block alone, so that the file does not depend on the number of
//! cores. Header fields that tell time or place are empty.

use std::cell::RefCell;
use std::io::{self, Write as _};

use dhow_model::Annotations;
use libdeflater::{CompressionLvl, Compressor};

use super::{Queue, Tally, fill};
use crate::stage::Input;

/// A block on its way through a core: what was taken in, and what came out.
struct Block {
    content: Vec<u8>,
    member: Vec<u8>,
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
        output.write_all(&block.member[..block.length])?;
        spare.push(block);
    }
}

impl Block {
    fn empty() -> Self {
        Self {
            content: Vec::with_capacity(BLOCK),
            member: Vec::new(),
            length: 0,
        }
    }

    fn compress(&mut self, level: i32) -> io::Result<()> {
        COMPRESSOR.with_borrow_mut(|kept| {
            if kept.as_ref().is_none_or(|(of, _)| *of != level) {
                let of = CompressionLvl::new(level)
                    .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                *kept = Some((level, Compressor::new(of)));
            }
            let Some((_, compressor)) = kept else {
                return Ok(());
            };
            let bound = compressor.gzip_compress_bound(BLOCK);
            self.member.resize(bound, 0);
            self.length = compressor
                .gzip_compress(&self.content, &mut self.member)
                .map_err(|error| io::Error::other(error.to_string()))?;
            Ok(())
        })
    }
}

thread_local! {
    /// What a core compresses with, and at which level.
    static COMPRESSOR: RefCell<Option<(i32, Compressor)>> = const { RefCell::new(None) };
}

/// How much content a member has, in bytes. Smaller blocks compress worse, larger ones need more
/// memory: a core has one, and one waits.
const BLOCK: usize = 128 * 1024;
