//! The file that an archive is written to: what may be there already, where the new one is made, and
//! how it takes the old one's place.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dhow_layout::Lock;
use dhow_transport::{Error, Kind, Result};
use tempfile::NamedTempFile;

use crate::archive_file::ArchiveFile;
use crate::file_blob::layout_error;
use crate::path_scopes;

/// Where an archive goes.
pub(crate) struct ArchiveTarget {
    path: PathBuf,
    /// The folder in which the file is.
    pub(crate) folder: PathBuf,
}

impl ArchiveTarget {
    /// Returns the target at a path.
    pub(crate) fn of(path: &Path) -> Self {
        let path = path_scopes::resolve(path);
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        Self { path, folder }
    }

    /// Opens what is there when it is no file, and so takes the archive as a stream. Blocks.
    pub(crate) fn pipe(&self) -> Result<Option<File>> {
        if !self.path.metadata().is_ok_and(|found| !found.is_file()) {
            return Ok(None);
        }
        let pipe = OpenOptions::new().write(true).open(&self.path);
        pipe.map(Some).map_err(|error| self.unwritten(error))
    }

    /// Returns a new file beside, which is gone when it is dropped. Blocks.
    pub(crate) fn made(&self, prefix: &str) -> Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(prefix)
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(&self.folder)
            .map_err(|error| Error::file("write into", &self.folder, error))
    }

    /// Keeps others from changing what is in the folder until the lock is dropped. Blocks.
    pub(crate) fn lock(&self) -> Result<Lock> {
        Lock::exclusive(&self.folder).map_err(layout_error)
    }

    /// Puts the new file in the old one's place. Blocks.
    pub(crate) fn publish(&self, made: NamedTempFile) -> Result<()> {
        let published = || {
            made.as_file().sync_all()?;
            made.persist(&self.path).map_err(|error| error.error)?;
            File::open(&self.folder)?.sync_all()
        };
        published().map_err(|error| self.unwritten(error))
    }

    /// Returns the error of a target that cannot be written.
    pub(crate) fn unwritten(&self, error: io::Error) -> Error {
        Error::file("write", &self.path, error)
    }
}

/// Opens the archive that is there, if there is one that can be added to. `what` says what it should
/// be. Blocks.
pub(crate) fn present<T>(
    path: &Path,
    what: &str,
    open: impl FnOnce() -> Result<T>,
    archive: impl FnOnce(&T) -> &ArchiveFile,
) -> Result<Option<(T, Metadata)>> {
    let shown = path.display();
    let found = match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let message = format!("`{shown}` is a directory");
            return Err(Error::new(Kind::Exists, message).hint("name a file"));
        }
        Ok(found) if found.is_file() && found.len() > 0 => found,
        // An empty file is one that somebody has reserved; a pipe holds nothing.
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("open", path, error)),
    };
    let opened = open().map_err(|error| match error.kind() {
        Kind::Invalid => {
            let message = format!("`{shown}` is there and is no {what}: {error}");
            Error::new(Kind::Exists, message).hint("name another file, or remove this one")
        }
        _ => error,
    })?;
    if archive(&opened).compressed {
        let message = format!("`{shown}` is compressed, so that nothing can be added to it");
        return Err(Error::unsupported(message).hint("decompress it first"));
    }
    Ok(Some((opened, found)))
}
