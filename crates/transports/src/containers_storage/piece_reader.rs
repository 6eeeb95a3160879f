//! A stream, read where it may block.

use std::io::{self, BufRead, Read};

use bytes::{Buf as _, Bytes};
use dhow_codec::Pull;

/// Reads pieces in the order in which they come. Nothing is copied on the way.
pub(super) struct PieceReader {
    pieces: Pull,
    piece: Bytes,
}

impl PieceReader {
    pub(super) const fn new(pieces: Pull) -> Self {
        Self {
            pieces,
            piece: Bytes::new(),
        }
    }
}

impl BufRead for PieceReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            match self.pieces.piece()? {
                Some(piece) => self.piece = piece,
                None => break,
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, amount: usize) {
        self.piece.advance(amount);
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
