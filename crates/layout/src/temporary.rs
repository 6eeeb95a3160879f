//! Files without a name: a process that is killed leaves nothing of them behind.
//!
//! `O_TMPFILE` where the file system has it, else a file with a name that is removed when it is
//! stale. Partial blobs, which are to be found again, have a name from the start.

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dhow_model::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::TempPath;

use crate::partial;

/// A file on its way to its name. Dropping it removes it, unless it is a partial blob.
#[derive(Debug)]
pub(crate) struct Temporary {
    file: File,
    name: Name,
    directory: PathBuf,
}

/// The name that a file has meanwhile.
#[derive(Debug)]
enum Name {
    None,
    /// One that nobody knows, where there must be one.
    Passing(TempPath),
    /// That of a partial blob, which this process has alone.
    Partial(PathBuf),
}

impl Temporary {
    /// Creates a file that will get a name in the file system of `directory`.
    pub(crate) fn create_in(directory: &Path) -> io::Result<Self> {
        if let Some(file) = unnamed(directory) {
            return Ok(Self {
                file,
                name: Name::None,
                directory: directory.to_owned(),
            });
        }
        remove_stale(directory);
        let (file, name) = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempfile_in(directory)?
            .into_parts();
        Ok(Self {
            file,
            name: Name::Passing(name),
            directory: directory.to_owned(),
        })
    }

    /// Opens the partial blob of a digest, or creates it. `None` when somebody else has it, and
    /// where there cannot be one.
    pub(crate) fn partial(directory: &Path, digest: &Digest) -> Option<Self> {
        let path = partial::path_of(directory, digest);
        let file = partial::open(&path)?;
        // That one is locked now, and goes on however old it is.
        remove_stale(directory);
        Some(Self {
            file,
            name: Name::Partial(path),
            directory: directory.to_owned(),
        })
    }

    /// Sees to it that nothing is left of the file when it is dropped.
    pub(crate) fn discard(&mut self) {
        if let Name::Partial(path) = std::mem::replace(&mut self.name, Name::None) {
            drop(fs::remove_file(path));
        }
    }

    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Returns the directory that holds it.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives the file its name and `mode`, in the place of what had the name before, once its
    /// bytes are on the disk.
    pub(crate) fn persist(mut self, path: &Path, mode: u32) -> io::Result<()> {
        self.file
            .set_permissions(fs::Permissions::from_mode(mode))?;
        self.file.sync_data()?;
        match std::mem::replace(&mut self.name, Name::None) {
            Name::Passing(name) => name.persist(path).map_err(|error| error.error),
            Name::Partial(name) => fs::rename(name, path),
            Name::None => match link(&self.file, path) {
                Ok(()) => Ok(()),
                // A link replaces nothing, a rename does.
                Err(_) => named_copy(&self.file, &self.directory, mode)?
                    .persist(path)
                    .map_err(|error| error.error),
            },
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Name::Partial(path) = &self.name {
            partial::leave(&self.file, path);
        }
    }
}

/// Gives a file without a name a temporary one: by a link, or by a copy on file systems that have
/// unnamed files and cannot link them.
fn named_copy(file: &File, directory: &Path, mode: u32) -> io::Result<TempPath> {
    remove_stale(directory);
    let temporary = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        builder
    };
    if let Ok(linked) = temporary().make_in(directory, |name| link(file, name)) {
        return Ok(linked.into_temp_path());
    }
    let (mut copy, name) = temporary().tempfile_in(directory)?.into_parts();
    let mut file = file;
    file.rewind()?;
    io::copy(&mut file, &mut copy)?;
    copy.set_permissions(fs::Permissions::from_mode(mode))?;
    copy.sync_data()?;
    Ok(name)
}

/// Opens a file without a name, if it could be given one later.
fn unnamed(directory: &Path) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(directory, flags, Mode::from_raw_mode(0o600)).ok()?);
    descriptor_path(&file).exists().then_some(file)
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_FOLLOW;
    rustix::fs::linkat(CWD, descriptor_path(file), CWD, path, flags).map_err(io::Error::from)
}

/// Returns the way to an open file by which it can be linked without privileges (open(2)).
fn descriptor_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Removes what killed processes left behind, once they cannot be writing any more.
pub(crate) fn remove_stale(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if partial::is_partial(&name) {
            partial::remove_if_stale(&entry.path());
            continue;
        }
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|modified| {
                SystemTime::now()
                    .duration_since(modified)
                    .is_ok_and(|age| age > STALE_AFTER)
            });
        if old && name.starts_with(PREFIX) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

const PREFIX: &str = ".dhow-";

/// A file that nobody has written to for this long belongs to a process that is gone.
const STALE_AFTER: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    fn named(directory: &Path) -> Temporary {
        let (file, name) = tempfile::NamedTempFile::with_prefix_in(PREFIX, directory)
            .unwrap()
            .into_parts();
        Temporary {
            file,
            name: Name::Passing(name),
            directory: directory.to_owned(),
        }
    }

    #[test]
    fn a_file_takes_its_name_and_that_of_another() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("name");
        for (text, make) in [
            ("one", Temporary::create_in(place.path()).unwrap()),
            ("two", Temporary::create_in(place.path()).unwrap()),
            ("three", named(place.path())),
        ] {
            make.file().write_all(text.as_bytes()).unwrap();
            make.persist(&path, 0o640).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o640);
        }
        assert_eq!(names(place.path()), ["name"]);
    }

    #[test]
    fn a_partial_blob_stays_until_it_is_complete_or_discarded() {
        let place = tempfile::tempdir().unwrap();
        let digest = Digest::sha256(b"content");
        let open = || Temporary::partial(place.path(), &digest);
        open().unwrap().file().write_all(b"cont").unwrap();
        assert_eq!(names(place.path()).len(), 1);
        let partial = open().unwrap();
        assert!(open().is_none());
        partial.persist(&place.path().join("name"), 0o640).unwrap();
        assert_eq!(names(place.path()), ["name"]);
        let mut wrong = open().unwrap();
        wrong.file().write_all(b"wrong").unwrap();
        wrong.discard();
        drop(wrong);
        assert_eq!(names(place.path()), ["name"]);
    }

    #[test]
    fn a_dropped_file_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let unnamed = |directory: &Path| Temporary::create_in(directory).unwrap();
        for make in [unnamed, named] {
            let temporary = make(place.path());
            temporary.file().write_all(b"x").unwrap();
            drop(temporary);
            assert!(names(place.path()).is_empty());
        }
    }

    #[test]
    fn only_what_is_old_and_ours_is_stale() {
        let place = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - STALE_AFTER - Duration::from_mins(1);
        for (name, time) in [
            (".dhow-old", Some(old)),
            (".dhow-new", None),
            (".dhow-partial-x", Some(old)), // Has more time.
            ("other", Some(old)),
        ] {
            let file = File::create(place.path().join(name)).unwrap();
            if let Some(time) = time {
                file.set_modified(time).unwrap();
            }
        }
        remove_stale(place.path());
        let mut left = names(place.path());
        left.sort();
        assert_eq!(left, [".dhow-new", ".dhow-partial-x", "other"]);
    }
}
