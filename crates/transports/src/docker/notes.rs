//! Uploads that outlive the process: for a large blob it is written down where the registry continues
//! its upload, so that a copy that was killed goes on there.
//!
//! One small file per upload, for its owner alone: the address of an upload can carry a secret.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dhow_model::{Digest, Repository};

/// The smallest blob, in bytes, whose upload is written down.
pub(super) const WORTH_IT: u64 = 16 * 1024 * 1024;
/// Registries forget uploads after some days.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(7 * 24);
/// The longest address that is believed, in bytes.
const LONGEST: u64 = 16 * 1024;

/// The uploads of one user.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    folder: Option<PathBuf>,
}

impl Journal {
    /// Returns the journal in a folder for what can be lost; without one nothing is written down.
    pub(super) fn new(cache: Option<&Path>) -> Self {
        Self {
            folder: cache.map(|cache| cache.join("dhow").join("uploads")),
        }
    }

    /// Returns where the upload of a blob continues. Blocks.
    pub(super) fn read(&self, place: &Repository, digest: &Digest) -> Option<String> {
        let path = self.path(place, digest)?;
        let file = dhow_layout::read_bounded(&path, LONGEST).ok()?;
        String::from_utf8(file).ok()
    }

    /// Writes down where the upload of a blob continues. Blocks. That it cannot be costs time when
    /// the process is killed, and nothing else.
    pub(super) fn write(&self, place: &Repository, digest: &Digest, location: &str) {
        let (Some(folder), Some(path)) = (&self.folder, self.path(place, digest)) else {
            return;
        };
        let write = || {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            remove_old(folder);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(location.as_bytes())
        };
        if let Err(error) = write() {
            tracing::debug!(path = %path.display(), %error, "an upload is not written down");
        }
    }

    /// Forgets the upload of a blob. Blocks.
    pub(super) fn forget(&self, place: &Repository, digest: &Digest) {
        if let Some(path) = self.path(place, digest) {
            drop(fs::remove_file(path));
        }
    }

    fn path(&self, place: &Repository, digest: &Digest) -> Option<PathBuf> {
        // Names of repositories have slashes, and are long.
        let name = Digest::sha256(format!("{place}@{digest}").as_bytes());
        Some(self.folder.as_ref()?.join(name.hex()))
    }
}

fn remove_old(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let old = modified.is_ok_and(|modified| {
            SystemTime::now()
                .duration_since(modified)
                .is_ok_and(|age| age > FORGOTTEN_AFTER)
        });
        if old {
            drop(fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_upload_is_known_until_it_is_forgotten() {
        let cache = tempfile::tempdir().unwrap();
        let journal = Journal::new(Some(cache.path()));
        let (one, other) = (
            Repository::parse("r.test/a/b").unwrap(),
            Repository::parse("r.test/a/c").unwrap(),
        );
        let digest = Digest::sha256(b"blob");
        assert_eq!(journal.read(&one, &digest), None);
        journal.write(&one, &digest, "https://r.test/up/1");
        assert_eq!(
            journal.read(&one, &digest).as_deref(),
            Some("https://r.test/up/1")
        );
        assert_eq!(journal.read(&other, &digest), None);
        let folder = cache.path().join("dhow/uploads");
        let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
        let modes = [folder, file.path()].map(|path| {
            let metadata = fs::metadata(path).unwrap();
            metadata.permissions().mode() & 0o777
        });
        assert_eq!(modes, [0o700, 0o600]);
        journal.forget(&one, &digest);
        assert_eq!(journal.read(&one, &digest), None);
    }

    #[test]
    fn without_a_folder_nothing_is_known() {
        let journal = Journal::new(None);
        let (place, digest) = (
            Repository::parse("r.test/a").unwrap(),
            Digest::sha256(b"blob"),
        );
        journal.write(&place, &digest, "https://r.test/up/1");
        assert_eq!(journal.read(&place, &digest), None);
    }
}
