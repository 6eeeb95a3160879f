//! Owner, mode, times and extended attributes of what was unpacked.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::root::Place;
use crate::error::{Error, Result};
use crate::tar::{Entry, Time};

/// What the namespace and the settings allow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Means {
    /// The process is root in a user namespace, and cannot make devices.
    pub(crate) in_user_namespace: bool,
    /// Owners that cannot be set are left away.
    pub(crate) ignore_chown_errors: bool,
}

/// Gives a file that is open its attributes.
pub(super) fn set_open(file: &impl AsFd, place: &Place, entry: &Entry, means: Means) -> Result<()> {
    let name = &entry.name;
    let (uid, gid) = owner(entry)?;
    forgive(rustix::fs::fchown(file, uid, gid), means)
        .map_err(|errno| no_owner(entry, means, errno))?;
    let mode = Mode::from_raw_mode(entry.mode);
    rustix::fs::fchmod(file, mode).map_err(|errno| wrong(name, "set the mode", errno))?;
    set_xattrs(place, entry, means)?;
    rustix::fs::futimens(file, &times(entry, true))
        .map_err(|errno| wrong(name, "set the times", errno))
}

/// Gives what stands in a place its attributes. Times of folders are set when nothing more comes
/// into them.
pub(super) fn set(place: &Place, entry: &Entry, is: FileType, means: Means) -> Result<()> {
    let name = &entry.name;
    let (uid, gid) = owner(entry)?;
    let (folder, base, nofollow) = (&*place.folder, &*place.base, AtFlags::SYMLINK_NOFOLLOW);
    forgive(rustix::fs::chownat(folder, base, uid, gid, nofollow), means)
        .map_err(|errno| no_owner(entry, means, errno))?;
    if is != FileType::Symlink {
        let mode = Mode::from_raw_mode(entry.mode);
        rustix::fs::chmodat(folder, base, mode, AtFlags::empty())
            .map_err(|errno| wrong(name, "set the mode", errno))?;
    }
    set_xattrs(place, entry, means)?;
    if is != FileType::Directory {
        set_times(place, entry, is)?;
    }
    Ok(())
}

/// Sets the times of what stands in a place.
pub(super) fn set_times(place: &Place, entry: &Entry, is: FileType) -> Result<()> {
    let times = times(entry, is != FileType::Symlink);
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(&*place.folder, &*place.base, &times, nofollow)
        .map_err(|errno| wrong(&entry.name, "set the times", errno))
}

fn set_xattrs(place: &Place, entry: &Entry, means: Means) -> Result<()> {
    for (key, value) in &entry.xattrs {
        let set = rustix::fs::lsetxattr(place.path(), key.as_slice(), value, XattrFlags::empty());
        match set {
            Ok(()) => {}
            // COMPAT(podman): what the file system does not have is left away.
            Err(Errno::OPNOTSUPP) => skipped(entry, key),
            Err(Errno::PERM) if means.in_user_namespace => skipped(entry, key),
            Err(errno) => {
                let what = format!("set the attribute `{}`", key.escape_ascii());
                return Err(wrong(&entry.name, &what, errno));
            }
        }
    }
    Ok(())
}

fn skipped(entry: &Entry, key: &[u8]) {
    tracing::debug!(
        entry = %entry.name.escape_ascii(),
        attribute = %key.escape_ascii(),
        "attribute left away: the file system does not take it"
    );
}

fn owner(entry: &Entry) -> Result<(Option<Uid>, Option<Gid>)> {
    let id = |id| id_of(&entry.name, id);
    let (uid, gid) = (id(entry.uid)?, id(entry.gid)?);
    Ok((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
}

fn id_of(name: &[u8], value: u64) -> Result<u32> {
    id(value).map_err(|_| Error::entry(name, format!("there is no user or group id {value}")))
}

/// Returns an id as the system has them.
pub(super) fn id(value: u64) -> Result<u32, Errno> {
    match u32::try_from(value) {
        Ok(value) if value != u32::MAX => Ok(value),
        _ => Err(Errno::INVAL),
    }
}

/// Says which owner could not be set, and why that may be.
fn no_owner(entry: &Entry, means: Means, errno: Errno) -> Error {
    let what = format!("set the owner {}:{}", entry.uid, entry.gid);
    if means.in_user_namespace && errno == Errno::INVAL {
        // COMPAT(podman): it names the same files.
        let reason = "the user namespace has no such id; give the user a larger range in \
                      /etc/subuid and /etc/subgid";
        return Error::entry(&entry.name, format!("cannot {what}: {reason}"));
    }
    wrong(&entry.name, &what, errno)
}

fn forgive(done: Result<(), Errno>, means: Means) -> Result<(), Errno> {
    match done {
        Err(_) if means.ignore_chown_errors => Ok(()),
        other => other,
    }
}

/// Returns the times of an entry. Nothing was read before it was changed.
fn times(entry: &Entry, bounded: bool) -> Timestamps {
    let last_access = entry.atime.unwrap_or_default().max(entry.mtime);
    Timestamps {
        last_access: timespec(last_access, bounded),
        last_modification: timespec(entry.mtime, bounded),
    }
}

fn timespec(time: Time, bounded: bool) -> Timespec {
    // COMPAT(podman): what is before 1970 becomes 1970.
    let time = if bounded && time.seconds < 0 {
        Time::default()
    } else {
        time
    };
    Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanos.into(),
    }
}

/// Makes an error of what a system call said about an entry.
pub(super) fn wrong(name: &[u8], what: &str, errno: Errno) -> Error {
    let reason = std::io::Error::from(errno);
    Error::entry(name, format!("cannot {what}: {reason}"))
}
