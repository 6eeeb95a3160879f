//! Entries that say what of the layers below is gone (OCI image-spec, *Whiteouts*).

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::attributes;
use super::path::{Path, Seen, join};
use super::root::{Place, Root};
use crate::error::{Error, Result};
use crate::tar::Entry;

/// What becomes of a whiteout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whiteouts {
    /// What overlay file systems understand: a device 0/0, and an attribute of this name for a
    /// folder that hides what is below it (kernel documentation, *Overlay Filesystem*).
    Kept {
        /// `trusted.overlay.opaque`, or `user.overlay.opaque` in a user namespace.
        opaque: &'static str,
    },
    /// The folder holds the layers below already: what is gone is removed from it.
    Applied,
}

impl Whiteouts {
    /// Does what a whiteout says; returns whether `path` was one.
    pub(super) fn take(
        self,
        root: &mut Root,
        path: &Path,
        entry: &Entry,
        seen: &Seen,
    ) -> Result<bool> {
        if !path.base.starts_with(PREFIX) {
            return Ok(false);
        }
        let name = entry.name.as_slice();
        let wrong = |errno: Errno| attributes::wrong(name, "apply the whiteout", errno);
        match self {
            Self::Kept { opaque } => keep(root, path, entry, opaque).map_err(wrong)?,
            Self::Applied => apply(root, path, name, seen)?,
        }
        Ok(true)
    }
}

/// Leaves for the kernel what it understands.
fn keep(root: &mut Root, path: &Path, entry: &Entry, opaque: &str) -> Result<(), Errno> {
    let folder = root.folder(&path.parent);
    if path.base == OPAQUE {
        let folder = Place {
            folder: folder?,
            base: b".".to_vec(),
        };
        return rustix::fs::setxattr(folder.path(), opaque, b"y", rustix::fs::XattrFlags::empty());
    }
    // Some tools say that a folder is gone, and that something in it is gone, too.
    let folder = match folder {
        Err(Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let hidden = &path.base[PREFIX.len()..];
    if hidden.is_empty() {
        return Err(Errno::EXIST);
    }
    let mode = Mode::empty();
    rustix::fs::mknodat(&*folder, hidden, FileType::CharacterDevice, mode, 0)?;
    let (uid, gid) = (attributes::id(entry.uid)?, attributes::id(entry.gid)?);
    rustix::fs::chownat(
        &*folder,
        hidden,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

/// Removes what is gone.
fn apply(root: &mut Root, path: &Path, name: &[u8], seen: &Seen) -> Result<()> {
    let wrong = |errno: Errno| attributes::wrong(name, "apply the whiteout", errno);
    let place = match root.place(&path.parent, &path.base[PREFIX.len()..]) {
        Err(Errno::NOTDIR | Errno::NOENT) => return Ok(()),
        other => other.map_err(wrong)?,
    };
    if path.base == OPAQUE {
        let folder = Place {
            base: b".".to_vec(),
            ..place
        };
        root.forget();
        let kept = folder.clear(&path.parent, &|inner| seen.has(inner));
        return kept.map(drop).map_err(wrong);
    }
    // AUFS keeps its own books under such names.
    if path.base.starts_with(META) {
        return Ok(());
    }
    if matches!(place.base.as_slice(), b"" | b"." | b"..") {
        return Err(Error::entry(name, "it would remove the folder it is in"));
    }
    root.forget();
    tracing::debug!(name = %join(&path.parent, &place.base).escape_ascii(), "whiteout");
    place.remove().map_err(wrong)
}

const PREFIX: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
