//! Partial blobs: what has arrived of a large blob stays when its transfer breaks or its process is
//! killed, so that a later one goes on.
//!
//! The file is `<blobs>/.dhow-partial-<algorithm>-<hex>`: in the file system of its final place, but
//! not in a folder of blobs, where other programs take every file for one. Who writes it holds an
//! `flock` on it, taken without waiting; whoever comes second does without. Its length is what has
//! arrived. Nobody vouches for the bytes: they are hashed again before the blob gets its name.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dhow_model::Digest;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::retry_on_intr;

/// Returns where the partial blob is, or would be.
pub(crate) fn path_of(blobs: &Path, digest: &Digest) -> PathBuf {
    let algorithm = digest.algorithm().name();
    blobs.join(format!("{PREFIX}{algorithm}-{}", digest.hex()))
}

/// Returns whether this is the name of a partial blob.
pub(crate) fn is_partial(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Opens a partial blob for this owner alone, and creates it where there is none. `None` when
/// somebody else has it, and where that cannot be told.
pub(crate) fn open(path: &Path) -> Option<File> {
    for _ in 0..ATTEMPTS {
        match taken(path, OFlags::RDWR | OFlags::CREATE, Wish::Alone) {
            Taken::File(file) => return Some(file),
            Taken::No => return None,
            // Who finishes it or tidies up was faster.
            Taken::Moved => {}
        }
    }
    None
}

/// Returns how many bytes are there, if nobody is writing them.
pub(crate) fn length(path: &Path) -> Option<u64> {
    match taken(path, OFlags::RDONLY, Wish::Shared) {
        Taken::File(file) => Some(file.metadata().ok()?.len()),
        Taken::Moved | Taken::No => None,
    }
}

/// Gives up a partial blob that was opened here: what has arrived stays, but not the space that was
/// reserved for the rest.
pub(crate) fn leave(file: &File, path: &Path) {
    match file.metadata().map(|metadata| metadata.len()) {
        Ok(0) => drop(fs::remove_file(path)),
        Ok(length) => drop(file.set_len(length)),
        Err(_) => {}
    }
}

/// Removes a partial blob that nobody writes and nobody has gone on with for long.
pub(crate) fn remove_if_stale(path: &Path) {
    let Taken::File(file) = taken(path, OFlags::RDONLY, Wish::Alone) else {
        return;
    };
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let age = modified.map(|modified| SystemTime::now().duration_since(modified));
    if age.is_ok_and(|age| age.is_ok_and(|age| age > STALE_AFTER)) {
        // Still locked: nobody can go on with it any more.
        drop(fs::remove_file(path));
    }
}

/// Opens and locks a file, if it is one that may be used.
fn taken(path: &Path, flags: OFlags, wish: Wish) -> Taken {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)) else {
        return Taken::No;
    };
    let file = File::from(file);
    let operation = match wish {
        Wish::Alone => FlockOperation::NonBlockingLockExclusive,
        Wish::Shared => FlockOperation::NonBlockingLockShared,
    };
    if retry_on_intr(|| flock(&file, operation)).is_err() {
        return Taken::No;
    }
    let (Ok(opened), named) = (file.metadata(), fs::symlink_metadata(path)) else {
        return Taken::No;
    };
    if !named.is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino())) {
        return Taken::Moved;
    }
    // A file with a second name may be a blob of somebody's copy of the layout.
    if opened.is_file() && opened.nlink() == 1 {
        Taken::File(file)
    } else {
        Taken::No
    }
}

/// How a file is locked.
#[derive(Clone, Copy, Debug)]
enum Wish {
    /// Nobody else may have it.
    Alone,
    /// Others may look, too.
    Shared,
}

/// What came of locking a file.
#[derive(Debug)]
enum Taken {
    /// It is locked until this is closed.
    File(File),
    /// It had lost its name when the lock was there.
    Moved,
    /// It cannot be had.
    No,
}

const PREFIX: &str = ".dhow-partial-";

/// Whoever wants the blob has come back by then, or never will.
const STALE_AFTER: Duration = Duration::from_hours(7 * 24);

/// How often a partial blob is opened that is taken away at once.
const ATTEMPTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let path = path_of(place.path(), &Digest::sha256(b"content"));
        (place, path)
    }

    #[test]
    fn one_has_it_and_the_others_see_nothing() {
        let (_place, path) = place();
        let file = open(&path).unwrap();
        file.set_len(5).unwrap();
        assert!(open(&path).is_none());
        assert_eq!(length(&path), None);
        drop(file);
        assert_eq!(length(&path), Some(5));
        assert!(open(&path).is_some());
    }

    #[test]
    fn an_empty_one_is_not_left() {
        let (_place, path) = place();
        for length in [0, 5] {
            let file = open(&path).unwrap();
            file.set_len(length).unwrap();
            leave(&file, &path);
            assert_eq!(path.exists(), length > 0);
        }
    }

    #[test]
    fn what_is_no_file_of_its_own_is_not_used() {
        let (place, path) = place();
        let other = place.path().join("other");
        fs::write(&other, "important").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(open(&path).is_none());
        fs::remove_file(&path).unwrap();
        fs::hard_link(&other, &path).unwrap();
        assert!(open(&path).is_none());
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(open(&path).is_none());
        assert_eq!(fs::read_to_string(&other).unwrap(), "important");
    }

    #[test]
    fn an_old_one_goes_unless_somebody_has_it() {
        let (_place, path) = place();
        let old = SystemTime::now() - STALE_AFTER - Duration::from_mins(1);
        let young = SystemTime::now() - STALE_AFTER + Duration::from_mins(1);
        let file = open(&path).unwrap();
        file.set_modified(old).unwrap();
        remove_if_stale(&path);
        assert!(path.exists());
        file.set_modified(young).unwrap();
        drop(file);
        remove_if_stale(&path);
        assert!(path.exists());
        File::open(&path).unwrap().set_modified(old).unwrap();
        remove_if_stale(&path);
        assert!(!path.exists());
    }
}
