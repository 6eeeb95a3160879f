//! Copying a folder with all that is in it, so that it cannot be told from the first.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, lgetxattr,
    llistxattr, lsetxattr,
};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Copies `from` to `to`, which is not there: owners, modes, times, extended attributes, hard links,
/// devices. Blocks.
pub(crate) fn clone_tree(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Copy::default();
    copy.folder(from, to)
}

#[derive(Default)]
struct Copy {
    /// Where files with several names were put first.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Copy {
    fn folder(&mut self, from: &Path, to: &Path) -> Result<()> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.mode(0o700).create(to);
        made.map_err(Error::file("create", to))?;
        let entries = fs::read_dir(from).map_err(Error::file("read", from))?;
        for entry in entries {
            let name: OsString = entry.map_err(Error::file("read", from))?.file_name();
            self.entry(&from.join(&name), &to.join(&name))?;
        }
        attributes(from, to)
    }

    fn entry(&mut self, from: &Path, to: &Path) -> Result<()> {
        let about = fs::symlink_metadata(from).map_err(Error::file("read", from))?;
        if about.is_dir() {
            return self.folder(from, to);
        }
        let several = about.nlink() > 1;
        let file = (about.dev(), about.ino());
        if several && let Some(first) = self.linked.get(&file) {
            return fs::hard_link(first, to).map_err(Error::file("create", to));
        }
        if about.is_file() {
            content(from, to)?;
        } else if about.is_symlink() {
            let target = fs::read_link(from).map_err(Error::file("read", from))?;
            std::os::unix::fs::symlink(target, to).map_err(Error::file("create", to))?;
        } else {
            let kind = FileType::from_raw_mode(about.mode());
            rustix::fs::mknodat(CWD, to, kind, Mode::from_raw_mode(0o600), about.rdev())
                .map_err(Error::call("create", to))?;
        }
        attributes(from, to)?;
        if several {
            self.linked.insert(file, to.to_owned());
        }
        Ok(())
    }
}

/// Copies the content of a file: shared where the file system can, else by the kernel.
fn content(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(Error::file("read", from))?;
    let target = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to);
    let mut target = target.map_err(Error::file("create", to))?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    std::io::copy(&mut source, &mut target)
        .map(drop)
        .map_err(Error::file("write", to))
}

/// Gives `to` the attributes of `from`.
fn attributes(from: &Path, to: &Path) -> Result<()> {
    let about = fs::symlink_metadata(from).map_err(Error::file("read", from))?;
    let (uid, gid) = (Uid::from_raw(about.uid()), Gid::from_raw(about.gid()));
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(CWD, to, Some(uid), Some(gid), nofollow)
        .map_err(Error::call("set the owner of", to))?;
    if !about.is_symlink() {
        let mode = Mode::from_raw_mode(about.mode() & 0o7777);
        rustix::fs::chmodat(CWD, to, mode, AtFlags::empty())
            .map_err(Error::call("set the mode of", to))?;
    }
    xattrs(from, to).map_err(Error::call("copy the attributes to", to))?;
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(about.atime(), about.atime_nsec()),
        last_modification: time(about.mtime(), about.mtime_nsec()),
    };
    rustix::fs::utimensat(CWD, to, &times, nofollow).map_err(Error::call("set the times of", to))
}

fn xattrs(from: &Path, to: &Path) -> Result<(), Errno> {
    let mut names = vec![0; 64 << 10];
    let length = match llistxattr(from, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    };
    let names = names.get(..length).unwrap_or_default();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = OsStr::from_bytes(name);
        let mut value = vec![0; 64 << 10];
        let length = lgetxattr(from, name, value.as_mut_slice())?;
        value.truncate(length);
        match lsetxattr(to, name, &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_what_the_first_has() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(from.join("inner")).unwrap();
        fs::write(from.join("inner/file"), "hello").unwrap();
        fs::hard_link(from.join("inner/file"), from.join("other")).unwrap();
        std::os::unix::fs::symlink("inner/file", from.join("symlink")).unwrap();
        let inner = Path::new("inner");
        let past = Timestamps {
            last_access: Timespec {
                tv_sec: 5,
                tv_nsec: 7,
            },
            last_modification: Timespec {
                tv_sec: 6,
                tv_nsec: 8,
            },
        };
        rustix::fs::utimensat(CWD, from.join(inner), &past, AtFlags::empty()).unwrap();
        clone_tree(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("other")).unwrap(), b"hello");
        let id = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!(id("other"), id("inner/file"));
        let symlink = fs::read_link(to.join("symlink")).unwrap();
        assert_eq!(symlink, Path::new("inner/file"));
        let about = fs::metadata(to.join(inner)).unwrap();
        assert_eq!((about.mtime(), about.mtime_nsec()), (6, 8));
    }
}
