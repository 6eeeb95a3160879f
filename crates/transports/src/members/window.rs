//! Reading here and there in a large file with few calls: headers that lie close together come with
//! one.

use std::fs::File;
use std::io;

/// What can be read at any place.
pub(crate) trait ReadAt {
    /// Reads at an offset; returns how many bytes there were.
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, to, offset)
    }
}

/// A view of a file that keeps what it has read last.
pub(super) struct Window<'a, R> {
    from: &'a R,
    start: u64,
    held: Vec<u8>,
}

impl<'a, R: ReadAt> Window<'a, R> {
    pub(super) const fn new(from: &'a R) -> Self {
        Self {
            from,
            start: 0,
            held: Vec::new(),
        }
    }

    /// Returns so many bytes from an offset.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before.
    pub(super) fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let inside = offset.checked_sub(self.start).and_then(|from| {
            let from = usize::try_from(from).ok()?;
            (from.checked_add(length)? <= self.held.len()).then_some(from)
        });
        let from = if let Some(from) = inside {
            from
        } else {
            self.fill(offset, length)?;
            0
        };
        self.held
            .get(from..from + length)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn fill(&mut self, offset: u64, length: usize) -> io::Result<()> {
        self.start = offset;
        self.held.resize(length.max(AHEAD), 0);
        let mut known = 0;
        while known < length {
            match self
                .from
                .read_at(&mut self.held[known..], offset + known as u64)
            {
                Ok(0) => break,
                Ok(more) => known += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.held.truncate(known);
        Ok(())
    }
}

/// How much is read at once at least, in bytes: a few headers and small files.
const AHEAD: usize = 8 * 1024;
