//! Writing blobs: into a temporary file beside their final place, verified, then named.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use dhow_model::{Algorithm, Digest, Hasher};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::Error;
use crate::flush::Flusher;
use crate::temporary::Temporary;

/// A blob on its way into the layout. Dropping it removes what was written.
#[derive(Debug)]
pub struct BlobWriter {
    file: Temporary,
    naming: Naming,
    hasher: Hasher,
    flusher: Flusher,
    expected_size: Option<u64>,
    written: u64,
}

impl BlobWriter {
    pub(crate) fn create(blobs: &Path, size: Option<u64>) -> Result<Self, Error> {
        let file = Temporary::create_in(blobs)
            .map_err(|error| Error::io("create a file in", blobs, error))?;
        if let Some(size) = size.filter(|size| *size > 0) {
            // Finds out that the disk is full before a long download, and keeps the file in one
            // piece. File systems without it go on without it.
            let reserved = fallocate(file.file(), FallocateFlags::KEEP_SIZE, 0, size);
            if let Err(error @ (Errno::NOSPC | Errno::DQUOT)) = reserved {
                return Err(Error::io("reserve space in", blobs, error.into()));
            }
        }
        Ok(Self {
            file,
            naming: Naming::Nested,
            hasher: Hasher::new(Algorithm::Sha256),
            flusher: Flusher::default(),
            expected_size: size,
            written: 0,
        })
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
        self.file
            .file()
            .write_all(data)
            .map_err(|error| Error::io("write a file in", self.file.directory(), error))?;
        self.flusher.written(self.file.file(), data.len());
        self.hasher.update(data);
        self.written += data.len() as u64;
        match self.expected_size {
            Some(expected) if self.written > expected => Err(Error::Size {
                expected,
                actual: self.written,
            }),
            _ => Ok(()),
        }
    }

    /// Returns how many bytes were written.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Returns the file, for reading back what was written.
    pub const fn as_file(&self) -> &File {
        self.file.file()
    }

    /// Makes the blob visible under `digest`. Its bytes are on the disk then; that it has its name
    /// is sure once [`Layout::update_index`](crate::Layout::update_index) has listed it.
    ///
    /// # Errors
    /// When what was written has another digest or size; then nothing is visible.
    pub fn finish(self, digest: &Digest) -> Result<(), Error> {
        self.check_size()?;
        let actual = self.hasher.clone().finish();
        if actual != *digest {
            return Err(Error::Digest {
                expected: *digest,
                actual,
            });
        }
        self.place(digest)
    }

    /// Makes the blob visible under the digest it turned out to have, and returns that and the
    /// size in bytes.
    pub fn finish_as_is(self) -> Result<(Digest, u64), Error> {
        self.check_size()?;
        let written = self.written;
        let digest = self.hasher.clone().finish();
        self.place(&digest)?;
        Ok((digest, written))
    }

    fn check_size(&self) -> Result<(), Error> {
        match self.expected_size {
            Some(expected) if expected != self.written => Err(Error::Size {
                expected,
                actual: self.written,
            }),
            _ => Ok(()),
        }
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
