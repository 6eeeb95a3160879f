//! The layout directory: where things are, and the two small files.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dhow_model::{Algorithm, Digest, RawManifest};
use rustix::fs::{Mode, OFlags};

use crate::partial;
use crate::temporary::Temporary;
use crate::{BlobWriter, Error, LayoutIndex, Lock};

/// A layout directory, which need not exist before the first write.
#[derive(Clone, Debug)]
pub struct Layout {
    path: PathBuf,
    blobs: PathBuf,
}

impl Layout {
    /// The largest `index.json` that is read, in bytes. A hundred thousand tags fit.
    pub const MAX_INDEX_SIZE: u64 = 64 * 1024 * 1024;

    /// Names a layout. Nothing is touched.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let blobs = path.join("blobs");
        Self { path, blobs }
    }

    /// Names a layout whose blobs are in another directory, shared with other layouts.
    pub fn with_shared_blobs(path: impl Into<PathBuf>, blobs: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            blobs: blobs.into(),
        }
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory that holds `sha256/` and `sha512/`.
    pub fn blobs_path(&self) -> &Path {
        &self.blobs
    }

    /// Returns where a blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs
            .join(digest.algorithm().name())
            .join(digest.hex())
    }

    /// Returns the size in bytes of a blob that is there. With `expected`, a blob of another size
    /// counts as absent: somebody else's broken copy must not be taken for the real one.
    pub fn blob_size(&self, digest: &Digest, expected: Option<u64>) -> Option<u64> {
        let metadata = fs::metadata(self.blob_path(digest)).ok()?;
        let size = metadata.len();
        (metadata.is_file() && expected.is_none_or(|expected| expected == size)).then_some(size)
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.blob_path(digest);
        open_file(&path).map_err(|error| Error::io("open", &path, error))
    }

    /// Reads a manifest, whose bytes the caller still has to verify.
    pub fn read_manifest(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.blob_path(digest);
        read_bounded(&path, RawManifest::MAX_SIZE as u64)
            .map_err(|error| Error::io("read", &path, error))
    }

    /// Starts a blob. Nothing is visible before [`BlobWriter::finish`].
    pub fn create_blob(&self, size: Option<u64>) -> Result<BlobWriter, Error> {
        self.create_directories()?;
        BlobWriter::create(&self.blobs, size)
    }

    /// Starts a blob whose digest and size (in bytes) are known, at 0 or where [`Layout::kept`] says
    /// that it goes on. When it is large and not finished, what was written stays for later.
    ///
    /// # Errors
    /// [`Error::Start`] when other bytes than that are here, or somebody else has them now.
    pub fn resume_blob(&self, digest: &Digest, size: u64, start: u64) -> Result<BlobWriter, Error> {
        self.create_directories()?;
        BlobWriter::resume(&self.blobs, digest, size, start)
    }

    /// Returns how many bytes of a blob are here from a transfer that broke, in this process or an
    /// earlier one; 0 when somebody is writing them at present. Not verified: that is done with the
    /// rest.
    pub fn kept(&self, digest: &Digest, size: u64) -> u64 {
        let length = partial::length(&partial::path_of(&self.blobs, digest));
        length.filter(|length| *length < size).unwrap_or_default()
    }

    /// Stores a small blob, also in the place of one that is broken.
    pub fn put_blob(&self, digest: &Digest, data: &[u8]) -> Result<(), Error> {
        let path = self.blob_path(digest);
        if read_bounded(&path, data.len() as u64).is_ok_and(|present| present == data) {
            return Ok(());
        }
        let mut writer = self.create_blob(Some(data.len() as u64))?;
        writer.write(data)?;
        writer.finish(digest)
    }

    /// Reads `index.json`.
    pub fn read_index(&self) -> Result<LayoutIndex, Error> {
        let path = self.index_path();
        let bytes = read_bounded(&path, Self::MAX_INDEX_SIZE)
            .map_err(|error| Error::io("open", &path, error))?;
        LayoutIndex::parse(&bytes).map_err(|why| Error::Index { path, why })
    }

    /// Changes `index.json` while nobody else does: reads it (or starts an empty one), applies
    /// `change`, and puts the new file in the old one's place in one step.
    pub fn update_index<T>(
        &self,
        change: impl FnOnce(&mut LayoutIndex) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.create_directories()?;
        let _lock = self.lock_index()?;
        let mut index = match self.read_index() {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                LayoutIndex::empty()
            }
            other => other?,
        };
        let result = change(&mut index)?;
        // Once for all blobs that were placed: a list must not outlive what it lists.
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            sync_directory(&self.blobs.join(algorithm.name()));
        }
        let marker = self.path.join("oci-layout");
        if !marker.exists() {
            replace_file(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        replace_file(&self.index_path(), &index.to_bytes())?;
        Ok(result)
    }

    /// Keeps garbage collection away while blobs are placed that no index lists yet.
    pub fn lock_for_writing(&self) -> Result<Lock, Error> {
        self.create_directories()?;
        Lock::shared(&self.path)
    }

    /// Serializes changes of `index.json`. Not the handle of [`Layout::lock_for_writing`]: a
    /// writer that holds that one must be able to commit.
    fn lock_index(&self) -> Result<Lock, Error> {
        Lock::exclusive(&self.path.join("blobs"))
    }

    fn index_path(&self) -> PathBuf {
        self.path.join("index.json")
    }

    fn create_directories(&self) -> Result<(), Error> {
        for directory in [&self.path.join("blobs"), &self.blobs.join("sha256")] {
            fs::create_dir_all(directory).map_err(|error| Error::io("create", directory, error))?;
        }
        Ok(())
    }
}

/// Puts `data` in the place of `path`, complete and durable, or leaves what was there.
fn replace_file(path: &Path, data: &[u8]) -> Result<(), Error> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let wrap = |error| Error::io("write", path, error);
    let mode = fs::metadata(path).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
    let file = Temporary::create_in(directory).map_err(wrap)?;
    file.file().write_all(data).map_err(wrap)?;
    file.persist(path, mode).map_err(wrap)?;
    sync_directory(directory);
    Ok(())
}

/// Makes a rename in `directory` durable. Some file systems refuse to; the data itself is safe.
fn sync_directory(directory: &Path) {
    if let Ok(handle) = File::open(directory) {
        drop(handle.sync_all());
    }
}

/// Opens a file for reading, and nothing that is no file: opening a pipe would wait for ever.
pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not a regular file",
        ))
    }
}

/// Reads a file that may have `limit` bytes at most.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open_file(path)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is larger than {limit} bytes"),
        ));
    }
    Ok(bytes)
}
