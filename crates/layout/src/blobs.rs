//! Writing blobs: into a temporary file beside their final place, verified, then renamed.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dhow_model::{Algorithm, Digest, Hasher};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::Error;
use crate::directory::sync_directory;

/// A blob on its way into the layout. Dropping it removes what was written.
#[derive(Debug)]
pub struct BlobWriter {
    file: NamedTempFile,
    directory: PathBuf,
    naming: Naming,
    hasher: Hasher,
    expected_size: Option<u64>,
    written: u64,
}

impl BlobWriter {
    pub(crate) fn create(blobs: &Path, size: Option<u64>) -> Result<Self, Error> {
        remove_stale(blobs);
        let file = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempfile_in(blobs)
            .map_err(|error| Error::io("create a file in", blobs, error))?;
        if let Some(size) = size.filter(|size| *size > 0) {
            // Finds out that the disk is full before a long download, and keeps the file in one
            // piece. File systems without it go on without it.
            let reserved = fallocate(&file, FallocateFlags::KEEP_SIZE, 0, size);
            if let Err(error @ (Errno::NOSPC | Errno::DQUOT)) = reserved {
                return Err(Error::io("reserve space in", blobs, error.into()));
            }
        }
        Ok(Self {
            file,
            directory: blobs.to_owned(),
            naming: Naming::Nested,
            hasher: Hasher::new(Algorithm::Sha256),
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
            .write_all(data)
            .map_err(|error| Error::io("write", self.file.path(), error))?;
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
    pub fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// Makes the blob visible under `digest`.
    ///
    /// # Errors
    /// When what was written has another digest or size; then nothing is visible.
    pub fn finish(self, digest: &Digest) -> Result<(), Error> {
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
        let written = self.written;
        let digest = self.hasher.clone().finish();
        self.place(&digest)?;
        Ok((digest, written))
    }

    fn place(self, digest: &Digest) -> Result<(), Error> {
        if let Some(expected) = self.expected_size.filter(|size| *size != self.written) {
            return Err(Error::Size {
                expected,
                actual: self.written,
            });
        }
        let directory = match self.naming {
            Naming::Nested => self.directory.join(digest.algorithm().name()),
            Naming::Flat => self.directory.clone(),
        };
        let path = directory.join(digest.hex());
        let wrap = |error| Error::io("write", &path, error);
        if digest.algorithm() != Algorithm::Sha256 {
            fs::create_dir_all(&directory).map_err(wrap)?;
        }
        self.file
            .as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))
            .map_err(wrap)?;
        self.file.as_file().sync_data().map_err(wrap)?;
        self.file
            .persist(&path)
            .map_err(|error| wrap(error.error))?;
        sync_directory(&directory);
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

/// Removes what killed processes left behind, once they cannot be writing any more.
fn remove_stale(blobs: &Path) {
    let Ok(entries) = fs::read_dir(blobs) else {
        return;
    };
    for entry in entries.flatten() {
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|modified| {
                SystemTime::now()
                    .duration_since(modified)
                    .is_ok_and(|age| age > STALE_AFTER)
            });
        if old
            && entry
                .file_name()
                .to_string_lossy()
                .starts_with(TEMPORARY_PREFIX)
        {
            drop(fs::remove_file(entry.path()));
        }
    }
}

const TEMPORARY_PREFIX: &str = ".dhow-blob-";

/// A file that nobody has written to for this long belongs to a process that is gone.
const STALE_AFTER: Duration = Duration::from_hours(24);
