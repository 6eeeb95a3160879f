//! Parts of a blob that arrive one after another, read by their positions in the blob.

use std::io::{self, BufRead};
use std::ops::Range;

/// The parts that are left.
pub(super) struct Fetched<R> {
    bytes: R,
    parts: std::vec::IntoIter<Range<u64>>,
    /// The part of which bytes come now, and how much of it is left.
    now: Range<u64>,
}

impl<R: BufRead> Fetched<R> {
    /// Returns a reader for these parts, whose bytes come one after another.
    pub(super) fn new(bytes: R, parts: Vec<Range<u64>>) -> Self {
        Self {
            bytes,
            parts: parts.into_iter(),
            now: 0..0,
        }
    }

    /// Goes on to a position (bytes of the blob) in this part or a later one.
    pub(super) fn go_to(&mut self, position: u64) -> io::Result<()> {
        loop {
            if self.now.contains(&position) {
                return self.skip(position - self.now.start);
            }
            self.skip(self.now.end - self.now.start)?;
            // Whoever reads asks for what is in the parts, in their order.
            self.now = self.parts.next().ok_or(io::ErrorKind::UnexpectedEof)?;
        }
    }

    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let ahead = self.ahead(count)?.len();
            self.consume(ahead);
            count -= ahead as u64;
        }
        Ok(())
    }

    /// Returns bytes that come next, at least one and not more than `most`.
    pub(super) fn ahead(&mut self, most: u64) -> io::Result<&[u8]> {
        let most = most.min(self.now.end - self.now.start);
        let ahead = self.bytes.fill_buf()?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let ahead = &ahead[..ahead.len().min(most)];
        if ahead.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(ahead)
    }

    /// Takes so many of them.
    pub(super) fn consume(&mut self, count: usize) {
        self.bytes.consume(count);
        self.now.start += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_found_in_their_parts_and_nowhere_else() {
        let mut fetched = Fetched::new(&b"abcdefghij"[..], vec![10..14, 20..21, 30..35]);
        let mut at = |position: u64| -> io::Result<Vec<u8>> {
            fetched.go_to(position)?;
            fetched.ahead(2).map(<[u8]>::to_vec)
        };
        for (position, expected) in [(10, "ab"), (12, "cd"), (20, "e"), (33, "ij")] {
            assert_eq!(at(position).expect("it is there"), expected.as_bytes());
        }
        assert!(at(32).is_err(), "what has passed does not come again");
    }

    #[test]
    fn what_ends_early_is_an_error() {
        let mut fetched = Fetched::new(&b"ab"[..], vec![10..14, 20..24]);
        assert!(fetched.go_to(13).is_err());
    }
}
