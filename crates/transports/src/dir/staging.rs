//! Where a `dir:` destination is made before it takes its place.
//!
//! Normally that is a directory beside the destination, exchanged with it in one step. Where the
//! destination is a mount point, or nothing may be made beside it, it is a directory inside:
//! then files are moved one by one, the manifest last, and what it does not use is removed after
//! it. The directory is locked while its process lives, so that the next one can tell what a
//! killed process left behind, and removes it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use dhow_transport::{Error, Kind, Result};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use tempfile::TempDir;

use super::MANIFEST;

/// A directory that is to take the place of another. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Staging {
    directory: TempDir,
    destination: PathBuf,
    inside: bool,
    _lock: File,
}

impl Staging {
    /// Makes an empty directory for `destination`, which is absolute and free of symbolic links.
    pub(super) fn of(destination: &Path) -> Result<Self> {
        let parent = destination.parent().unwrap_or_else(|| Path::new("/"));
        let place_in = |place: &Path| {
            locked_directory(place)
                .map_err(|error| Error::file("create a directory in", place, error))
        };
        let staging = |(directory, lock), inside| Self {
            directory,
            destination: destination.to_owned(),
            inside,
            _lock: lock,
        };
        if is_mount_point(destination, parent) {
            return Ok(staging(place_in(destination)?, true));
        }
        fs::create_dir_all(parent).map_err(|error| Error::file("create", parent, error))?;
        match locked_directory(parent) {
            Ok(made) => Ok(staging(made, false)),
            Err(error) if is_refusal(&error) && destination.is_dir() => {
                Ok(staging(place_in(destination)?, true))
            }
            Err(error) => Err(Error::file("create a directory in", parent, error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts the directory in the place of its destination, and removes what was there.
    pub(super) fn take_place(self) -> Result<()> {
        let destination = self.destination.clone();
        let wrap = |error| Error::file("replace", &destination, error);
        let mode = fs::metadata(&destination).map_or(0o755, |old| old.permissions().mode());
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).map_err(wrap)?;
        sync_directory(self.path());
        if self.inside {
            self.move_files().map_err(wrap)?;
            sync_directory(&destination);
        } else {
            self.exchange().map_err(wrap)?;
            sync_directory(destination.parent().unwrap_or_else(|| Path::new("/")));
        }
        Ok(())
    }

    fn exchange(self) -> io::Result<()> {
        let Self {
            directory,
            destination,
            ..
        } = self;
        let rename = |flags| renameat_with(CWD, directory.path(), CWD, &destination, flags);
        match rename(RenameFlags::NOREPLACE) {
            Ok(()) => {
                let _moved_away = directory.keep();
                return Ok(());
            }
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        match rename(RenameFlags::EXCHANGE) {
            // The guard now holds what was there, and removes it.
            Ok(()) => return Ok(()),
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // Two steps, on file systems that cannot do it in one. What is set aside has another
        // prefix, so that nobody takes it for rubbish should this process die between them.
        let aside = tempfile::Builder::new()
            .prefix(ASIDE_PREFIX)
            .tempdir_in(destination.parent().unwrap_or_else(|| Path::new("/")))?;
        let old = aside.path().join("old");
        let was_there = match fs::rename(&destination, &old) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if let Err(error) = fs::rename(directory.path(), &destination) {
            if was_there && fs::rename(&old, &destination).is_err() {
                let _kept_for_the_user = aside.keep();
            }
            return Err(error);
        }
        let _moved_away = directory.keep();
        Ok(())
    }

    fn move_files(&self) -> io::Result<()> {
        let mut new = BTreeSet::new();
        for entry in fs::read_dir(self.path())? {
            new.insert(entry?.file_name());
        }
        let step =
            |name: &OsString| fs::rename(self.path().join(name), self.destination.join(name));
        let manifest = OsString::from(MANIFEST);
        for name in new.iter().filter(|name| **name != manifest) {
            step(name)?;
        }
        sync_directory(&self.destination);
        step(&manifest)?;
        for entry in fs::read_dir(&self.destination)? {
            let entry = entry?;
            if !new.contains(&entry.file_name()) && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Returns whether this is the name of a directory that is made here.
pub(super) fn is_staging(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// Makes a directory and locks it.
fn locked_directory(parent: &Path) -> io::Result<(TempDir, File)> {
    remove_abandoned(parent);
    for _ in 0..ATTEMPTS {
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(parent)?;
        let Ok(lock) = File::open(directory.path()) else {
            continue;
        };
        // Somebody who tidies up may have been faster.
        let taken = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        let same = fs::metadata(directory.path())
            .and_then(|there| Ok(there.ino() == lock.metadata()?.ino()))
            .unwrap_or(false);
        if taken != Err(Errno::WOULDBLOCK) && same {
            return Ok((directory, lock));
        }
    }
    Err(io::Error::from(io::ErrorKind::ResourceBusy))
}

/// Removes the directories of processes that are gone.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if !is_staging(&entry.file_name()) || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(handle) = File::open(entry.path()) else {
            continue;
        };
        if flock(&handle, FlockOperation::NonBlockingLockExclusive).is_ok() {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

fn is_mount_point(path: &Path, parent: &Path) -> bool {
    match (fs::metadata(path), fs::metadata(parent)) {
        (Ok(path), Ok(parent)) => path.dev() != parent.dev() || path.ino() == parent.ino(),
        _ => false,
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Makes renames in a directory durable. Some file systems refuse to; the data itself is safe.
fn sync_directory(path: &Path) {
    if let Ok(handle) = File::open(path) {
        drop(handle.sync_all());
    }
}

/// Returns the error for a sink that is used after its commit.
pub(super) fn nothing_staged() -> Error {
    Error::new(Kind::Bug, "there is nothing to commit")
}

const PREFIX: &str = ".dhow-dir-";
const ASIDE_PREFIX: &str = ".dhow-old-";

/// How often a directory is made anew when somebody removes it at once.
const ATTEMPTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .expect("the directory is there")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn filled(staging: &Staging) {
        for name in ["version", MANIFEST, "new"] {
            fs::write(staging.path().join(name), "new").expect("the directory is there");
        }
    }

    #[test]
    fn a_new_directory_takes_the_place_of_none_an_empty_one_and_an_old_one() {
        for old in [None, Some(""), Some("old")] {
            let place = tempfile::tempdir().unwrap();
            let destination = place.path().canonicalize().unwrap().join("image");
            if let Some(name) = old {
                fs::create_dir(&destination).unwrap();
                fs::set_permissions(&destination, fs::Permissions::from_mode(0o750)).unwrap();
                if !name.is_empty() {
                    fs::write(destination.join(name), "old").unwrap();
                }
            }
            let staging = Staging::of(&destination).unwrap();
            filled(&staging);
            staging.take_place().unwrap();
            assert_eq!(names(&destination), [MANIFEST, "new", "version"]);
            assert_eq!(names(place.path()), ["image"]);
            let mode = fs::metadata(&destination).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, if old.is_some() { 0o750 } else { 0o755 });
        }
    }

    #[test]
    fn files_are_moved_when_the_directory_must_stay() {
        let place = tempfile::tempdir().unwrap();
        let destination = place.path().canonicalize().unwrap();
        fs::write(destination.join("old"), "old").unwrap();
        let (directory, lock) = locked_directory(&destination).unwrap();
        let staging = Staging {
            directory,
            destination: destination.clone(),
            inside: true,
            _lock: lock,
        };
        filled(&staging);
        staging.take_place().unwrap();
        assert_eq!(names(&destination), [MANIFEST, "new", "version"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let place = tempfile::tempdir().unwrap();
        let destination = place.path().canonicalize().unwrap().join("image");
        let used = Staging::of(&destination).unwrap();
        let left = place.path().join(format!("{PREFIX}left"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("blob"), "x").unwrap();
        let next = Staging::of(&destination).unwrap();
        assert!(!left.exists());
        assert!(used.path().exists() && next.path().exists());
        drop((used, next));
        assert!(names(place.path()).is_empty());
    }
}
