//! Where a `dir:` destination is made before it takes its place.
//!
//! A destination that does not exist is made beside its place and renamed. One that exists stays
//! the same directory, since it may be a mount point or somebody's working directory: the new files
//! are made in a directory inside and moved out of it, the manifest last, and what the new image
//! does not use is removed after that. The old image is whole until the one rename that makes the
//! new one whole.
//!
//! A staging directory is locked while its process lives, so that the next one can tell what a
//! killed process left behind, and removes it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use dhow_transport::{Error, Kind, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};
use tempfile::TempDir;

use super::{MANIFEST, VERSION_FILE};

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
        let inside = destination.is_dir();
        let place = if inside {
            destination
        } else {
            parent_of(destination)
        };
        let made = fs::create_dir_all(place).and_then(|()| locked_directory(place));
        let (directory, lock) =
            made.map_err(|error| Error::file("create a directory in", place, error))?;
        Ok(Self {
            directory,
            destination: destination.to_owned(),
            inside,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts the directory in the place of its destination, and removes what was there. `check` is
    /// asked about the destination when nobody else can change it any more.
    pub(super) fn take_place(self, check: impl FnOnce() -> Result<()>) -> Result<()> {
        let destination = self.destination.clone();
        let wrap = |error| Error::file("replace", &destination, error);
        sync_directory(self.path());
        if !self.inside {
            // It replaces an empty directory at most.
            match fs::rename(self.path(), &destination) {
                Ok(()) => {
                    let _moved_away = self.directory.keep();
                    sync_directory(parent_of(&destination));
                    return Ok(());
                }
                // Somebody was faster.
                Err(_) if destination.is_dir() => {}
                Err(error) => return Err(wrap(error)),
            }
        }
        let lock = File::open(&destination).map_err(wrap)?;
        if let Err(error) = retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive)) {
            // As on some network file systems: one process at a time has to do.
            tracing::warn!(%error, "the file system has no locks");
        }
        check()?;
        let new = self.move_files().map_err(wrap)?;
        sync_directory(&destination);
        // The new image is there, whatever happens now.
        if let Err(error) = remove_others(&destination, &new) {
            tracing::warn!(%error, "files of the old image are left");
        }
        Ok(())
    }

    /// Moves all files to the destination and returns their names.
    fn move_files(&self) -> io::Result<BTreeSet<OsString>> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(self.path())? {
            names.insert(entry?.file_name());
        }
        let step = |name: &OsStr| fs::rename(self.path().join(name), self.destination.join(name));
        // First what says that this is an image directory, last what makes it this image.
        let (first, last) = (OsStr::new(VERSION_FILE), OsStr::new(MANIFEST));
        step(first)?;
        for name in &names {
            if name != first && name != last {
                step(name)?;
            }
        }
        sync_directory(&self.destination);
        step(last)?;
        Ok(names)
    }
}

/// Removes the files that are not among the new ones.
fn remove_others(directory: &Path, new: &BTreeSet<OsString>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !new.contains(&entry.file_name()) && !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("/"))
}

/// Returns whether this is the name of a directory that is made here.
pub(super) fn is_staging(name: &OsStr) -> bool {
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
        for name in [VERSION_FILE, MANIFEST, "new"] {
            fs::write(staging.path().join(name), "new").expect("the directory is there");
        }
    }

    #[test]
    fn a_new_directory_takes_the_place_of_none_an_empty_one_and_an_old_one() {
        for old in [None, Some(""), Some("old")] {
            let place = tempfile::tempdir().unwrap();
            let destination = place.path().canonicalize().unwrap().join("image");
            let mut before = None;
            if let Some(name) = old {
                fs::create_dir(&destination).unwrap();
                fs::set_permissions(&destination, fs::Permissions::from_mode(0o750)).unwrap();
                before = Some(fs::metadata(&destination).unwrap());
                if !name.is_empty() {
                    fs::write(destination.join(name), "old").unwrap();
                }
            }
            let staging = Staging::of(&destination).unwrap();
            filled(&staging);
            staging.take_place(|| Ok(())).unwrap();
            assert_eq!(names(&destination), [MANIFEST, "new", VERSION_FILE]);
            assert_eq!(names(place.path()), ["image"]);
            if let Some(before) = before {
                let after = fs::metadata(&destination).unwrap();
                assert_eq!(before.ino(), after.ino());
                assert_eq!(before.mode(), after.mode());
            }
        }
    }

    #[test]
    fn who_comes_second_replaces_whole_what_came_first() {
        let place = tempfile::tempdir().unwrap();
        let destination = place.path().canonicalize().unwrap().join("image");
        let (first, second) = (Staging::of(&destination), Staging::of(&destination));
        let (first, second) = (first.unwrap(), second.unwrap());
        filled(&first);
        fs::write(first.path().join("of-the-first"), "").unwrap();
        filled(&second);
        first.take_place(|| Ok(())).unwrap();
        second.take_place(|| Ok(())).unwrap();
        assert_eq!(names(&destination), [MANIFEST, "new", VERSION_FILE]);
        assert_eq!(names(place.path()), ["image"]);
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
