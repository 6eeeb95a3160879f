//! Writing blobs: into a temporary file beside their final place, verified, then named.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use dhow_model::{Algorithm, Digest, Hasher};

use crate::Error;
use crate::flush::Flusher;
use crate::space::{self, lies_in_memory};
use crate::temporary::Temporary;

/// A blob on its way into the layout. Dropping it removes what was written, unless a later one can
/// go on with it.
#[derive(Debug)]
pub struct BlobWriter {
    file: Temporary,
    naming: Naming,
    hasher: Hasher,
    /// How many bytes were hashed: fewer than are there, when an earlier process wrote them.
    hashed: u64,
    flusher: Flusher,
    expected_size: Option<u64>,
    has_space: bool,
    written: u64,
    read_back: Vec<u8>,
    is_in_memory: bool,
}

impl BlobWriter {
    pub(crate) fn create(blobs: &Path, size: Option<u64>) -> Result<Self, Error> {
        let file = Temporary::create_in(blobs)
            .map_err(|error| Error::io("create a file in", blobs, error))?;
        Ok(Self::new(file, size))
    }

    /// Starts a blob that is known beforehand, or goes on with it.
    pub(crate) fn resume(
        blobs: &Path,
        digest: &Digest,
        size: u64,
        start: u64,
    ) -> Result<Self, Error> {
        let may_be_kept = size >= SMALLEST_KEPT;
        let partial = may_be_kept.then(|| Temporary::partial(blobs, digest));
        let (file, kept) = match partial.flatten() {
            Some(file) => {
                let wrap = |error| Error::io("use a file in", blobs, error);
                if start == 0 {
                    file.file().set_len(0).map_err(wrap)?;
                }
                let kept = file.file().metadata().map_err(wrap)?.len();
                (Some(file), kept)
            }
            None => (None, 0),
        };
        if start != kept {
            return Err(Error::Start { start, kept });
        }
        let mut writer = match file {
            Some(file) => Self::new(file, Some(size)),
            None => Self::create(blobs, Some(size))?,
        };
        writer.written = kept;
        Ok(writer.hashed_with(digest.algorithm()))
    }

    fn new(file: Temporary, size: Option<u64>) -> Self {
        Self {
            is_in_memory: lies_in_memory(file.file()),
            file,
            naming: Naming::Nested,
            hasher: Hasher::new(Algorithm::Sha256),
            hashed: 0,
            flusher: Flusher::default(),
            expected_size: size,
            has_space: false,
            written: 0,
            read_back: Vec::new(),
        }
    }

    /// Starts a blob that will be `directory/<hex>`, as the `dir:` transport names it.
    pub fn create_flat(directory: &Path, size: Option<u64>) -> Result<Self, Error> {
        let mut writer = Self::create(directory, size)?;
        writer.naming = Naming::Flat;
        Ok(writer)
    }

    /// Says which algorithm the digest will have; to be called before the first byte.
    #[must_use]
    pub fn hashed_with(mut self, algorithm: Algorithm) -> Self {
        self.hasher = Hasher::new(algorithm);
        self
    }

    /// Adds the next bytes.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        self.reserve()?;
        let written = self.file.file().write_all_at(data, self.written);
        written.map_err(|error| self.unwritten(error))?;
        if self.hashed == self.written {
            self.hasher.update(data);
            self.hashed += data.len() as u64;
        }
        self.grow(data.len() as u64)
    }

    /// Reads back and hashes the next piece of what is there and was not hashed when it was
    /// written. Returns whether there is more; [`BlobWriter::finish`] does what is left.
    pub fn catch_up(&mut self) -> Result<bool, Error> {
        let behind = self.written - self.hashed;
        if behind == 0 {
            return Ok(false);
        }
        self.read_back.resize(READ_BACK, 0);
        let length = usize::try_from(behind).map_or(READ_BACK, |behind| behind.min(READ_BACK));
        let piece = &mut self.read_back[..length];
        self.file
            .file()
            .read_exact_at(piece, self.hashed)
            .map_err(|error| Error::io("read back a file in", self.file.directory(), error))?;
        self.hasher.update(piece);
        self.hashed += length as u64;
        Ok(self.hashed < self.written)
    }

    /// Finds out that the disk is full before a long download, and keeps a large file in one piece.
    pub(crate) fn reserve(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.has_space, true) {
            return Ok(());
        }
        let Some(size) = self.expected_size.filter(|size| *size >= SMALLEST_RESERVED) else {
            return Ok(());
        };
        let wrap = |error| Error::io("reserve space in", self.file.directory(), error);
        space::reserve(self.file.file(), self.written, size).map_err(wrap)
    }

    /// Notes that so many bytes more are in the file.
    pub(crate) fn grow(&mut self, length: u64) -> Result<(), Error> {
        self.flusher.written(self.file.file(), length);
        self.written += length;
        match self.expected_size {
            Some(expected) if self.written > expected => {
                self.file.discard();
                Err(Error::Size {
                    expected,
                    actual: self.written,
                })
            }
            _ => Ok(()),
        }
    }

    /// Nobody goes on with a blob for which there was no space: it would keep the disk full.
    fn unwritten(&mut self, error: io::Error) -> Error {
        if let io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded = error.kind() {
            self.file.discard();
        }
        Error::io("write a file in", self.file.directory(), error)
    }

    /// Returns how many bytes are there, with those of an earlier transfer.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Returns whether writing never waits for a disk.
    pub const fn is_in_memory(&self) -> bool {
        self.is_in_memory
    }

    /// Returns the file, for reading back what was written.
    pub const fn as_file(&self) -> &File {
        self.file.file()
    }

    /// Makes the blob visible under `digest`. Its bytes are on the disk then; that it has its name
    /// is sure once [`Layout::update_index`](crate::Layout::update_index) has listed it.
    ///
    /// # Errors
    /// When what was written has another digest or size; then nothing is visible. Nobody goes on
    /// with content that has another digest.
    pub fn finish(mut self, digest: &Digest) -> Result<(), Error> {
        let actual = self.digest()?;
        if actual != *digest {
            self.file.discard();
            return Err(Error::Digest {
                expected: *digest,
                actual,
            });
        }
        self.place(digest)
    }

    /// Makes the blob visible under the digest it turned out to have, and returns that and the
    /// size in bytes.
    pub fn finish_as_is(mut self) -> Result<(Digest, u64), Error> {
        let (digest, written) = (self.digest()?, self.written);
        self.place(&digest)?;
        Ok((digest, written))
    }

    /// Returns the digest of all that is there, once it has the right size.
    fn digest(&mut self) -> Result<Digest, Error> {
        match self.expected_size {
            Some(expected) if expected != self.written => {
                return Err(Error::Size {
                    expected,
                    actual: self.written,
                });
            }
            _ => {}
        }
        while self.catch_up()? {}
        Ok(self.hasher.clone().finish())
    }

    fn place(self, digest: &Digest) -> Result<(), Error> {
        let directory = match self.naming {
            Naming::Nested => self.file.directory().join(digest.algorithm().name()),
            Naming::Flat => self.file.directory().to_owned(),
        };
        let path = directory.join(digest.hex());
        let wrap = |error| Error::io("write", &path, error);
        if digest.algorithm() != Algorithm::Sha256 {
            fs::create_dir_all(&directory).map_err(wrap)?;
        }
        drop(self.flusher);
        self.file.persist(&path, 0o644).map_err(wrap)?;
        Ok(())
    }
}

/// Where a finished blob is put.
#[derive(Clone, Copy, Debug)]
enum Naming {
    /// `<algorithm>/<hex>`.
    Nested,
    /// `<hex>`.
    Flat,
}

/// Smaller blobs are sent again sooner than they are looked for.
const SMALLEST_KEPT: u64 = 1024 * 1024;

/// The smallest blob, in bytes, for which space is reserved. A smaller one meets a full disk soon
/// enough, file systems keep it in one piece by themselves, and reserving costs as much as writing.
const SMALLEST_RESERVED: u64 = 16 * 1024 * 1024;

/// How many bytes are read back at once.
const READ_BACK: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;

    #[test]
    fn a_blob_is_visible_when_it_is_whole_and_not_before() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(place.path().join("layout"));
        for digest in [
            Digest::sha256(b"content"),
            Digest::of(Algorithm::Sha512, b"content"),
        ] {
            let writer = layout.create_blob(Some(7)).unwrap();
            let mut writer = writer.hashed_with(digest.algorithm());
            writer.write(b"cont").unwrap();
            writer.write(b"ent").unwrap();
            assert_eq!(layout.blob_size(&digest, None), None);
            writer.finish(&digest).unwrap();
            assert_eq!(layout.blob_size(&digest, Some(7)), Some(7));
        }
    }

    #[test]
    fn wrong_content_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(place.path());
        let digest = Digest::sha256(b"content");
        let write = |data: &[u8], size| {
            let mut writer = layout.create_blob(size)?;
            writer.write(data)?;
            writer.finish(&digest)
        };
        assert!(matches!(write(b"contenT", None), Err(Error::Digest { .. })));
        assert!(matches!(write(b"cont", Some(7)), Err(Error::Size { .. })));
        assert!(matches!(
            write(b"content+", Some(7)),
            Err(Error::Size { .. })
        ));
        assert_eq!(layout.blob_size(&digest, None), None);
    }

    #[test]
    fn a_broken_copy_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(place.path());
        let digest = Digest::sha256(b"content");
        layout.put_blob(&digest, b"content").unwrap();
        for broken in [b"cut".as_slice(), b"CONTENT"] {
            fs::write(layout.blob_path(&digest), broken).unwrap();
            layout.put_blob(&digest, b"content").unwrap();
            let read = fs::read(layout.blob_path(&digest)).unwrap();
            assert_eq!(read, b"content");
        }
    }
}
