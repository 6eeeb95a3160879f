//! The folder that is unpacked into. Every name is resolved inside it.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path as FilePath, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::path::join;
use crate::error::{Error, Result};

/// The folder.
#[derive(Debug)]
pub(super) struct Root {
    folder: Rc<OwnedFd>,
    /// The folder that was asked for last: entries of one folder follow each other.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

/// A place in a folder, which need not exist.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) folder: Rc<OwnedFd>,
    pub(super) base: Vec<u8>,
}

impl Root {
    pub(super) fn open(path: &FilePath) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty());
        Ok(Self {
            folder: Rc::new(folder.map_err(Error::call("open", path))?),
            last: None,
        })
    }

    /// Opens a folder by its cleaned name.
    pub(super) fn folder(&mut self, name: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        if name.is_empty() {
            return Ok(Rc::clone(&self.folder));
        }
        if let Some((last, folder)) = &self.last
            && last == name
        {
            return Ok(Rc::clone(folder));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let opened = loop {
            match rustix::fs::openat2(&*self.folder, name, flags, Mode::empty(), resolve) {
                // The kernel could not be sure that nobody moved a folder meanwhile.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => break other?,
            }
        };
        let opened = Rc::new(opened);
        self.last = Some((name.to_vec(), Rc::clone(&opened)));
        Ok(opened)
    }

    /// Opens a folder, and makes it and those above it where they are missing.
    pub(super) fn make_folder(&mut self, name: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        match self.folder(name) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let cut = name.iter().rposition(|byte| *byte == b'/');
        let (parent, base) = match cut {
            Some(cut) => (&name[..cut], &name[cut + 1..]),
            None => (&[][..], name),
        };
        let folder = self.make_folder(parent)?;
        match rustix::fs::mkdirat(&*folder, base, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let mode = Mode::from_raw_mode(0o755);
                rustix::fs::chmodat(&*folder, base, mode, AtFlags::empty())?;
            }
            // A symlink that leads nowhere stands there.
            Err(Errno::EXIST) => return Err(Errno::NOENT),
            Err(other) => return Err(other),
        }
        self.folder(name)
    }

    /// Returns the place of a cleaned name, whose folder is there.
    pub(super) fn place(&mut self, parent: &[u8], base: &[u8]) -> Result<Place, Errno> {
        Ok(Place {
            folder: self.folder(parent)?,
            base: base.to_vec(),
        })
    }

    /// Forgets what was resolved: a folder may be gone, or something else now.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Returns the root as a place.
    pub(super) fn itself(&self) -> Place {
        Place {
            folder: Rc::clone(&self.folder),
            base: b".".to_vec(),
        }
    }
}

impl Place {
    /// Returns what is there; `None`: nothing.
    pub(super) fn look(&self) -> Result<Option<FileType>, Errno> {
        let found = rustix::fs::statat(&*self.folder, &*self.base, AtFlags::SYMLINK_NOFOLLOW);
        match found {
            Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Removes what is there, with all that is in it.
    pub(super) fn remove(&self) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&*self.folder, &*self.base, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(Errno::NOENT) => return Ok(()),
            other => return other,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&*self.folder, &*self.base, flags, Mode::empty())?;
        for name in names(&opened)? {
            let inner = Self {
                folder: Rc::new(rustix::io::dup(&opened)?),
                base: name,
            };
            inner.remove()?;
        }
        rustix::fs::unlinkat(&*self.folder, &*self.base, AtFlags::REMOVEDIR)
    }

    /// Removes what is in the folder that is there, except what `keep` wants; `name` is its cleaned
    /// name. Returns whether something was kept.
    pub(super) fn clear(&self, name: &[u8], keep: &dyn Fn(&[u8]) -> bool) -> Result<bool, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = Rc::new(rustix::fs::openat(
            &*self.folder,
            &*self.base,
            flags,
            Mode::empty(),
        )?);
        let mut kept_any = false;
        for base in names(&opened)? {
            let inner_name = join(name, &base);
            let inner = Self {
                folder: Rc::clone(&opened),
                base,
            };
            let is_folder = inner.look()? == Some(FileType::Directory);
            let kept = (is_folder && inner.clear(&inner_name, keep)?) || keep(&inner_name);
            if !kept {
                inner.remove()?;
            }
            kept_any |= kept;
        }
        Ok(kept_any)
    }

    /// Returns a path that leads there in any system call.
    pub(super) fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = format!("/proc/self/fd/{}", self.folder.as_raw_fd());
        PathBuf::from(folder).join(std::ffi::OsStr::from_bytes(&self.base))
    }
}

/// Returns the names in an open folder.
fn names(folder: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for found in rustix::fs::Dir::read_from(folder)? {
        let name = found?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}
