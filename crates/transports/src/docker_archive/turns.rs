//! Whose turn it is to be written at the end of an archive.

use std::collections::{BTreeMap, HashMap, VecDeque};

use dhow_model::Digest;
use dhow_transport::{ComingLayer, Result};

use super::assembly::{Stored, broken};
use super::tail::Tail;

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
    pub(super) broken: bool,
}

/// When a layer can be written.
pub(super) enum Turn {
    Now(Tail),
    /// Another one is being written.
    Later,
    /// One before it has not come.
    Missing,
    Never,
}

impl State {
    /// Returns the layer in this place if it is still to come.
    pub(super) fn comes(&self, index: usize) -> Option<ComingLayer> {
        self.order
            .iter()
            .find(|layer| layer.index == index)
            .copied()
    }

    /// Says when a blob can be written: the layer in this place, or what is none.
    pub(super) fn turn(&mut self, layer: Option<usize>, known: bool) -> Result<Turn> {
        if self.broken {
            return Err(broken());
        }
        let comes = layer.and_then(|index| self.comes(index));
        let Some(coming) = comes.filter(|_| known || self.in_file) else {
            return Ok(Turn::Never);
        };
        let its_turn = self.order.front() == Some(&coming);
        let is_small = coming.size.is_some_and(|size| size <= SMALL);
        Ok(match self.tail.take_if(|_| its_turn) {
            Some(tail) => Turn::Now(tail),
            // What is known already is not unpacked, and waits for nothing but the disk.
            None if is_small && !known => Turn::Never,
            None if self.tail.is_some() => Turn::Missing,
            None => Turn::Later,
        })
    }
}

/// The size of a layer at its source, in bytes, up to which it does not wait while it is unpacked.
pub(super) const SMALL: u64 = 64 * 1024 * 1024;
