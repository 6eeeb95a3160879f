//! Memory that is read into again and again.

use std::collections::VecDeque;
use std::io;

use bytes::{Bytes, BytesMut};

/// Buffers that are used again once nobody reads what is in them any more.
#[derive(Debug)]
pub struct Buffers {
    size: usize,
    most: usize,
    /// The oldest first.
    lent: VecDeque<Bytes>,
}

impl Buffers {
    /// Returns buffers of `size` bytes, of which `most` are remembered. None is made yet.
    pub const fn new(size: usize, most: usize) -> Self {
        Self {
            size,
            most,
            lent: VecDeque::new(),
        }
    }

    /// Returns what `read` has put at the start of a buffer.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Bytes> {
        let mut buffer = self.free();
        let length = read(&mut buffer)?;
        Ok(self.lend(buffer, length))
    }

    /// Lends the first `length` bytes of a buffer that was free.
    pub(crate) fn lend(&mut self, buffer: BytesMut, length: usize) -> Bytes {
        let whole = buffer.freeze();
        let piece = whole.slice(..length);
        self.lent.push_back(whole);
        piece
    }

    /// Returns a buffer that nobody reads.
    pub(crate) fn free(&mut self) -> BytesMut {
        let is_free = self.lent.front().is_some_and(Bytes::is_unique);
        if (is_free || self.lent.len() == self.most)
            && let Some(oldest) = self.lent.pop_front()
            && let Ok(buffer) = oldest.try_into_mut()
        {
            return buffer;
        }
        BytesMut::zeroed(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_nobody_reads_it() {
        let mut buffers = Buffers::new(1000, 2);
        let fill = |buffers: &mut Buffers, byte: u8| {
            let piece = buffers.fill(|buffer| {
                assert_eq!(buffer.len(), 1000);
                buffer[..10].fill(byte);
                Ok(10)
            });
            piece.unwrap()
        };
        let first = fill(&mut buffers, 1);
        let place = first.as_ptr();
        drop(first);
        let second = fill(&mut buffers, 2);
        assert_eq!(second.as_ptr(), place);
        // What is still read is left alone, however many there are.
        let others: Vec<Bytes> = (3..9).map(|byte| fill(&mut buffers, byte)).collect();
        assert_eq!(second, [2; 10].as_slice());
        for (byte, piece) in (3..9).zip(&others) {
            assert_eq!(*piece, [byte; 10].as_slice());
        }
        assert_eq!(buffers.lent.len(), 2);
    }
}
