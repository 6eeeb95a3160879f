//! What outlives the process: small files in the user's folder for what can be lost, one per thing
//! that is known, for their owner alone.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dhow_model::Digest;

/// The longest note that is believed, in bytes.
const LONGEST: u64 = 16 * 1024;

/// Notes of one kind.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    folder: Option<PathBuf>,
    /// How long they are believed.
    lasting: Duration,
}

impl Notes {
    /// Returns the notes of a kind in a folder for what can be lost; without one nothing is written
    /// down.
    pub(super) fn new(cache: Option<&Path>, kind: &str, lasting: Duration) -> Self {
        Self {
            folder: cache.map(|cache| cache.join("dhow").join(kind)),
            lasting,
        }
    }

    /// Returns whether something can be written down.
    pub(super) const fn are_kept(&self) -> bool {
        self.folder.is_some()
    }

    /// Returns the note on something. Blocks.
    pub(super) fn read(&self, about: &str) -> Option<String> {
        let path = self.path(about)?;
        if self.is_old(&path.metadata().ok()?) {
            return None;
        }
        let file = dhow_layout::read_bounded(&path, LONGEST).ok()?;
        String::from_utf8(file).ok()
    }

    /// Writes a note. Blocks. That it cannot be written costs time later, and nothing else.
    pub(super) fn write(&self, about: &str, text: &str) {
        let (Some(folder), Some(path)) = (&self.folder, self.path(about)) else {
            return;
        };
        let write = || {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            self.remove_old(folder);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(text.as_bytes())
        };
        if let Err(error) = write() {
            tracing::debug!(path = %path.display(), %error, "a note is not written");
        }
    }

    /// Removes the note on something. Blocks.
    pub(super) fn forget(&self, about: &str) {
        if let Some(path) = self.path(about) {
            drop(fs::remove_file(path));
        }
    }

    fn path(&self, about: &str) -> Option<PathBuf> {
        // Names of repositories have slashes, and are long.
        let name = Digest::sha256(about.as_bytes());
        Some(self.folder.as_ref()?.join(name.hex()))
    }

    fn remove_old(&self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry
                .metadata()
                .is_ok_and(|metadata| self.is_old(&metadata))
            {
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    fn is_old(&self, metadata: &fs::Metadata) -> bool {
        metadata.modified().is_ok_and(|modified| {
            SystemTime::now()
                .duration_since(modified)
                .is_ok_and(|age| age > self.lasting)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const WEEK: Duration = Duration::from_hours(7 * 24);

    #[test]
    fn a_note_is_known_until_it_is_forgotten() {
        let cache = tempfile::tempdir().unwrap();
        let notes = Notes::new(Some(cache.path()), "uploads", WEEK);
        assert_eq!(notes.read("r.test/a/b"), None);
        notes.write("r.test/a/b", "https://r.test/up/1");
        assert_eq!(
            notes.read("r.test/a/b").as_deref(),
            Some("https://r.test/up/1")
        );
        assert_eq!(notes.read("r.test/a/c"), None);
        let folder = cache.path().join("dhow/uploads");
        let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
        let modes = [folder, file.path()].map(|path| {
            let metadata = fs::metadata(path).unwrap();
            metadata.permissions().mode() & 0o777
        });
        assert_eq!(modes, [0o700, 0o600]);
        notes.forget("r.test/a/b");
        assert_eq!(notes.read("r.test/a/b"), None);
    }

    #[test]
    fn an_old_note_is_not_believed_and_goes_with_the_next_one() {
        let cache = tempfile::tempdir().unwrap();
        let notes = Notes::new(Some(cache.path()), "uploads", WEEK);
        notes.write("old", "1");
        let path = notes.path("old").unwrap();
        let long_ago = SystemTime::now() - 2 * WEEK;
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        assert_eq!(notes.read("old"), None);
        notes.write("new", "2");
        assert!(!path.exists());
        assert_eq!(notes.read("new").as_deref(), Some("2"));
    }

    #[test]
    fn without_a_folder_nothing_is_known() {
        let notes = Notes::new(None, "uploads", WEEK);
        assert!(!notes.are_kept());
        notes.write("r.test/a", "https://r.test/up/1");
        assert_eq!(notes.read("r.test/a"), None);
    }
}
