//! Copying a part of a file into a blob, by the kernel as far as it can.
//!
//! ```text
//! clone the file ──or──▶ copy_file_range, 1 MiB ──or──▶ read and write, 256 KiB
//!                                   └──▶ read back from the blob, hash
//! ```
//!
//! What the kernel copied is hashed as it is in the blob's own file, so that what is verified is
//! what is stored. When the kernel says no to a copy, whatever the reason, reading and writing
//! either works or tells on which side the fault is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::io::retry_on_intr;

use crate::{BlobWriter, Error};

/// A part of a file on its way into a blob.
#[derive(Debug)]
pub struct FileCopy<'a> {
    from: &'a File,
    offset: u64,
    left: u64,
    length: u64,
    way: Way,
    was_cloned: bool,
    buffer: Vec<u8>,
    kernel: Kernel,
}

impl<'a> FileCopy<'a> {
    /// Returns the copy of `length` bytes of a file, from `offset` (bytes, 0-based) on. Nothing is
    /// copied yet.
    pub const fn new(from: &'a File, offset: u64, length: u64) -> Self {
        Self {
            from,
            offset,
            left: length,
            length,
            way: Way::Clone,
            was_cloned: false,
            buffer: Vec::new(),
            kernel: Kernel {
                clone: clone_file,
                copy: copy_range,
            },
        }
    }

    /// Copies or hashes the next piece. Returns whether there is more to do.
    ///
    /// # Errors
    /// [`Error::Size`] when the file is shorter than its part.
    pub fn step(&mut self, to: &mut BlobWriter) -> Result<bool, Error> {
        // First what is behind: it is still in the cache.
        if to.catch_up()? {
            return Ok(true);
        }
        if self.left == 0 {
            return Ok(false);
        }
        match self.way {
            Way::Clone => self.clone_whole(to)?,
            Way::Kernel => self.copy_piece(to)?,
            Way::Plain => self.write_piece(to)?,
        }
        Ok(true)
    }

    /// Returns whether the file system shares the bytes of both files.
    pub const fn was_cloned(&self) -> bool {
        self.was_cloned
    }

    fn clone_whole(&mut self, to: &mut BlobWriter) -> Result<(), Error> {
        self.way = Way::Kernel;
        let is_all = self.offset == 0
            && to.written() == 0
            && (self.from.metadata()).is_ok_and(|metadata| metadata.len() == self.length);
        if !is_all || (self.kernel.clone)(self.from, to.as_file()).is_err() {
            return Ok(());
        }
        let cloned = to.as_file().metadata().map_or(0, |metadata| metadata.len());
        if cloned != self.length {
            return Err(self.has_other_size(cloned));
        }
        self.was_cloned = true;
        self.left = 0;
        to.grow(cloned)
    }

    fn copy_piece(&mut self, to: &mut BlobWriter) -> Result<(), Error> {
        to.reserve()?;
        let room = at_most(COPIED, self.left);
        match (self.kernel.copy)(self.from, self.offset, to.as_file(), to.written(), room) {
            Ok(length) if length > 0 => {
                self.advance(length);
                to.grow(length as u64)
            }
            Ok(_) | Err(_) => {
                self.way = Way::Plain;
                Ok(())
            }
        }
    }

    fn write_piece(&mut self, to: &mut BlobWriter) -> Result<(), Error> {
        self.buffer.resize(READ, 0);
        let piece = &mut self.buffer[..at_most(READ, self.left)];
        match self.from.read_at(piece, self.offset) {
            Ok(0) => Err(self.has_other_size(self.length - self.left)),
            Ok(length) => {
                to.write(&self.buffer[..length])?;
                self.advance(length);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(source) => Err(Error::Read { source }),
        }
    }

    const fn advance(&mut self, length: usize) {
        self.offset += length as u64;
        self.left -= length as u64;
    }

    const fn has_other_size(&self, actual: u64) -> Error {
        Error::Size {
            expected: self.length,
            actual,
        }
    }
}

/// How the next piece is copied.
#[derive(Clone, Copy, Debug)]
enum Way {
    Clone,
    Kernel,
    Plain,
}

/// What the kernel offers.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    /// Makes the second file share the bytes of the first.
    clone: fn(&File, &File) -> io::Result<()>,
    /// Copies at most so many bytes, from and to a position.
    copy: fn(&File, u64, &File, u64, usize) -> io::Result<usize>,
}

fn clone_file(from: &File, to: &File) -> io::Result<()> {
    Ok(retry_on_intr(|| rustix::fs::ioctl_ficlone(to, from))?)
}

fn copy_range(
    from: &File,
    mut offset: u64,
    to: &File,
    mut at: u64,
    length: usize,
) -> io::Result<usize> {
    let copied = retry_on_intr(|| {
        rustix::fs::copy_file_range(from, Some(&mut offset), to, Some(&mut at), length)
    });
    Ok(copied?)
}

fn at_most(limit: usize, left: u64) -> usize {
    usize::try_from(left).map_or(limit, |left| left.min(limit))
}

/// How many bytes the kernel copies before it is seen whether somebody still wants them.
const COPIED: usize = 1024 * 1024;

/// How many bytes are read at once where the kernel does not copy.
const READ: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use dhow_model::Digest;
    use dhow_testkit::image::noise;

    use super::*;
    use crate::Layout;

    const SIZE: usize = 3_000_000;

    fn content() -> Vec<u8> {
        noise(1, SIZE)
    }

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn no_clone(_: &File, _: &File) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn no_copy(_: &File, _: u64, _: &File, _: u64, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::CrossesDevices.into())
    }

    fn short(from: &File, offset: u64, to: &File, at: u64, length: usize) -> io::Result<usize> {
        copy_range(from, offset, to, at, length.min(70_001))
    }

    fn first_only(from: &File, offset: u64, to: &File, at: u64, n: usize) -> io::Result<usize> {
        match at {
            0 => copy_range(from, offset, to, at, n),
            _ => no_copy(from, offset, to, at, n),
        }
    }

    fn by_hand(from: &File, to: &File) -> io::Result<()> {
        let mut content = vec![0; usize::try_from(from.metadata()?.len()).unwrap()];
        from.read_exact_at(&mut content, 0)?;
        to.write_all_at(&content, 0)
    }

    fn cut(from: &File, to: &File) -> io::Result<()> {
        by_hand(from, to)?;
        to.set_len(1000)
    }

    /// Copies a part with a kernel that can do so much, and returns whether it was cloned.
    fn copy(from: &File, part: (u64, u64), digest: &Digest, kernel: Kernel) -> Result<bool, Error> {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(place.path());
        let mut writer = layout.resume_blob(digest, part.1, 0)?;
        let mut copy = FileCopy::new(from, part.0, part.1);
        copy.kernel = kernel;
        while copy.step(&mut writer)? {}
        let was_cloned = copy.was_cloned();
        writer.finish(digest)?;
        let stored = std::fs::read(layout.blob_path(digest)).unwrap();
        assert!(digest.matches(&stored));
        Ok(was_cloned)
    }

    #[test]
    fn bytes_are_right_whatever_the_kernel_can_do() {
        let content = content();
        let (from, size) = (file(&content), SIZE as u64);
        let kernel = |clone, copy| Kernel { clone, copy };
        for (kernel, clones) in [
            (kernel(clone_file, copy_range), None), // As the file system likes.
            (kernel(by_hand, no_copy), Some(true)),
            (kernel(no_clone, copy_range), Some(false)),
            (kernel(no_clone, no_copy), Some(false)),
            (kernel(no_clone, |_, _, _, _, _| Ok(0)), Some(false)),
            (kernel(no_clone, short), Some(false)),
            (kernel(no_clone, first_only), Some(false)),
        ] {
            let digest = Digest::sha256(&content);
            let was_cloned = copy(&from, (0, size), &digest, kernel).unwrap();
            assert!(clones.is_none_or(|clones| clones == was_cloned));
            // A part is never cloned.
            let digest = Digest::sha256(&content[777..]);
            assert!(!copy(&from, (777, size - 777), &digest, kernel).unwrap());
            let digest = Digest::sha256(&content[..SIZE - 1]);
            assert!(!copy(&from, (0, size - 1), &digest, kernel).unwrap());
            let wrong = Digest::sha256(b"");
            let refused = copy(&from, (0, size), &wrong, kernel);
            assert!(matches!(refused, Err(Error::Digest { .. })));
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_its_part_is_refused() {
        let content = content();
        let digest = Digest::sha256(&content);
        let (whole, half) = (file(&content), file(&content[..SIZE / 2]));
        let kernel = |clone, copy| Kernel { clone, copy };
        for (from, kernel) in [
            (&half, kernel(no_clone, copy_range)),
            (&half, kernel(no_clone, no_copy)),
            (&whole, kernel(cut, no_copy)), // It becomes shorter in the middle.
        ] {
            let refused = copy(from, (0, SIZE as u64), &digest, kernel);
            assert!(matches!(refused, Err(Error::Size { .. })));
        }
    }
}
