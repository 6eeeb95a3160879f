//! Whose turn it is to be written at the end of an archive.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use dhow_model::Digest;
use dhow_transport::{ComingLayer, Result};

use super::gap::{Filled, Gap};
use super::spool::{broken, unwritten};
use super::tail::Tail;

/// A blob that was put.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Its size in bytes.
    pub(crate) size: u64,
    pub(crate) place: Place,
}

/// Where a blob is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In the archive.
    Archive,
    /// In a file of its own, until its turn comes.
    Aside(Arc<File>),
    /// Where the archive goes: it is named, and left out.
    Elsewhere,
}

/// What an archive has, and what is still to come.
pub(super) struct State {
    /// Whether the archive is a file, in which headers can be filled in afterwards.
    pub(super) in_file: bool,
    /// `None` while somebody writes there, and for ever once that broke.
    pub(super) tail: Option<Tail>,
    /// The layers that are still to come, in order.
    pub(super) order: VecDeque<ComingLayer>,
    /// Those that have come before their turn.
    pub(super) waiting: BTreeMap<usize, Digest>,
    pub(super) stored: HashMap<Digest, Stored>,
    /// The gaps of layers that broke, until they come again.
    pub(super) left: BTreeMap<usize, Gap>,
    /// How many gaps are being filled.
    pub(super) filling: usize,
    /// Where gaps are that nothing will fill.
    pub(super) empty: Vec<Range<u64>>,
    pub(super) broken: bool,
}

/// Where a blob is written.
pub(super) enum Spot {
    /// At the end of the archive, where nobody else writes meanwhile.
    End(Tail),
    /// In a gap that is left for it.
    Gap(Gap),
    /// In a file of its own.
    Aside,
}

/// When a blob can be written.
pub(super) enum Turn {
    Now(Spot),
    /// Another one is being written.
    Later,
    /// One before it has not come.
    Missing,
}

impl State {
    pub(super) fn new(tail: Tail) -> Self {
        Self {
            in_file: tail.is_file(),
            tail: Some(tail),
            order: VecDeque::new(),
            waiting: BTreeMap::new(),
            stored: HashMap::new(),
            left: BTreeMap::new(),
            filling: 0,
            empty: Vec::new(),
            broken: false,
        }
    }

    /// Returns the layer in this place if it is still to come.
    pub(super) fn comes(&self, index: usize) -> Option<ComingLayer> {
        self.order
            .iter()
            .find(|layer| layer.index == index)
            .copied()
    }

    /// Returns whether others wait for the end of this layer, as long as its size is not known.
    pub(super) fn holds_up(&self, index: usize) -> bool {
        let last = self.order.back();
        self.in_file && self.comes(index).is_some() && last.is_some_and(|last| last.index != index)
    }

    /// Says when a blob can be written: the layer in this place, or what is none. `size` is what it
    /// probably has.
    pub(super) fn turn(
        &mut self,
        layer: Option<usize>,
        known: bool,
        size: Option<u64>,
    ) -> Result<Turn> {
        if self.broken {
            return Err(broken());
        }
        if let Some(gap) = layer.and_then(|index| self.left.remove(&index)) {
            self.filling += 1;
            return Ok(Turn::Now(Spot::Gap(gap)));
        }
        let comes = layer.and_then(|index| self.comes(index));
        let Some(coming) = comes.filter(|_| known || self.in_file) else {
            return Ok(Turn::Now(Spot::Aside));
        };
        let its_turn = self.order.front() == Some(&coming);
        let is_small = coming.size.is_some_and(|size| size <= SMALL);
        if let (true, Some(tail), Some(size)) = (its_turn, &mut self.tail, size)
            && let Some(gap) = tail.leave(coming.index, size).map_err(unwritten)?
        {
            self.order.pop_front();
            self.filling += 1;
            return Ok(Turn::Now(Spot::Gap(gap)));
        }
        Ok(match self.tail.take_if(|_| its_turn) {
            Some(tail) => Turn::Now(Spot::End(tail)),
            // As soon as the one before it has come, there is a gap for it.
            None if size.is_some() && self.tail.is_some() => Turn::Missing,
            // What is known already is not unpacked, and waits for nothing but the disk.
            None if is_small && !known => Turn::Now(Spot::Aside),
            None if self.tail.is_some() => Turn::Missing,
            None => Turn::Later,
        })
    }

    /// Takes note of what became of a layer for which a gap was left: if it broke, the gap is there for its
    /// next try.
    pub(super) fn filled(
        &mut self,
        gap: Gap,
        filled: Result<(Digest, u64, Filled)>,
    ) -> Result<(Digest, u64)> {
        self.filling -= 1;
        let (digest, size, place) = match filled {
            Ok((digest, size, Filled::Exactly)) => (digest, size, Place::Archive),
            Ok((digest, size, Filled::Aside(file))) => {
                self.empty.push(gap.range());
                (digest, size, Place::Aside(Arc::new(file)))
            }
            Err(error) => {
                self.left.insert(gap.layer(), gap);
                return Err(error);
            }
        };
        let before = self.stored.get(&digest);
        if !before.is_some_and(|before| matches!(before.place, Place::Archive)) {
            self.stored.insert(digest, Stored { size, place });
        }
        Ok((digest, size))
    }

    /// Returns the end of the archive, when nobody writes any more, with the gaps closed that nothing has
    /// filled. Blocks.
    pub(super) fn close(&mut self) -> Result<Tail> {
        let tail = self.tail.take_if(|_| self.filling == 0);
        let mut tail = tail.ok_or_else(broken)?;
        let mut empty = std::mem::take(&mut self.empty);
        empty.extend(std::mem::take(&mut self.left).values().map(Gap::range));
        tail.close(empty).map_err(unwritten)?;
        Ok(tail)
    }
}

/// The size of a layer at its source, in bytes, up to which it does not wait while it is unpacked.
pub(super) const SMALL: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_does_not_end_while_a_gap_is_being_filled() {
        let file = tempfile::tempfile().unwrap();
        let mut state = State::new(Tail::File { file, offset: 0 });
        let layers = (0..2).map(|index| ComingLayer {
            index,
            digest: Digest::sha256(b"unknown"),
            size: None,
        });
        state.order = layers.collect();
        let turn = state.turn(Some(0), false, Some(1000)).unwrap();
        let Turn::Now(Spot::Gap(gap)) = turn else {
            unreachable!("its size is likely");
        };
        assert!(state.close().is_err());
        let broke = state.filled(gap, Err(broken()));
        assert!(broke.is_err());
        // The gap is empty now, and closed.
        let tail = state.close().unwrap();
        assert!(matches!(tail, Tail::File { offset: 0, .. }));
    }
}
