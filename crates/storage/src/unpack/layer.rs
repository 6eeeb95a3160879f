//! A whole layer.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufRead;
use std::path::Path as FilePath;

use rustix::fs::FileType;

use super::attributes::{self, wrong};
use super::entry::{self, Content};
use super::path::{Path, Seen};
use super::root::{Place, Root};
use super::whiteout::Whiteouts;
use crate::error::{Error, Result};
use crate::table::Recorder;
use crate::tar::{Entry, EntryKind, TarStream};
use crate::tar_split::Writer;
use crate::unpack::Means;

/// Who owns something in a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owners {
    /// User ids, each once, ascending.
    pub(crate) users: BTreeSet<u32>,
    /// Group ids, likewise.
    pub(crate) groups: BTreeSet<u32>,
    /// The layer says what the root of the image is like.
    pub(crate) root_is_set: bool,
}

/// Where an archive is unpacked, and what is written down beside.
pub(crate) struct Target<'a> {
    /// The folder.
    pub(crate) folder: &'a FilePath,
    /// What is needed to make the archive again.
    pub(crate) description: File,
    /// Which files it has, if that is wanted.
    pub(crate) table: Option<Recorder>,
}

/// Unpacks an uncompressed archive into a folder, and reads it to its end. Blocks.
///
/// # Errors
/// When the archive is malformed, an entry cannot be made, or a name comes twice.
pub(crate) fn unpack(
    input: impl BufRead,
    target: Target<'_>,
    whiteouts: Whiteouts,
    means: Means,
) -> Result<Owners> {
    let folder = target.folder;
    let mut layer = Layer {
        root: Root::open(folder)?,
        stream: TarStream::new(input),
        whiteouts,
        means,
        seen: Seen::default(),
        folders: Vec::new(),
        owners: Owners::default(),
        table: target.table,
    };
    let mut description = Writer::new(target.description);
    let lost = |error| Error::file("write", folder)(error);
    while let Some(entry) = layer.stream.next()? {
        let content = layer.take(&entry)?;
        let before = layer.stream.take();
        description.segment(&before).map_err(lost)?;
        description
            .file(&entry.name, content.size, content.sum)
            .map_err(lost)?;
    }
    description.segment(&layer.stream.take()).map_err(lost)?;
    layer
        .stream
        .rest(|piece| description.segment(piece).map_err(lost))?;
    description.finish().map_err(lost)?;
    layer.set_times_of_folders()?;
    if let Some(table) = layer.table {
        table.finish(folder)?;
    }
    Ok(layer.owners)
}

struct Layer<R> {
    root: Root,
    stream: TarStream<R>,
    whiteouts: Whiteouts,
    means: Means,
    seen: Seen,
    folders: Vec<Entry>,
    owners: Owners,
    table: Option<Recorder>,
}

impl<R: BufRead> Layer<R> {
    /// Does what one entry says.
    fn take(&mut self, entry: &Entry) -> Result<Content> {
        let path = Path::of(&entry.name);
        if !self.seen.note(&path) {
            // COMPAT(podman): refused there, too, since tar-split could not tell them apart.
            return Err(Error::entry(&entry.name, "the name comes twice"));
        }
        self.note_owner(entry);
        if path.is_root() {
            return self.take_root(entry);
        }
        self.root
            .make_folder(&path.parent)
            .or_else(|errno| match errno {
                // What is said to be gone in something that is no folder is gone.
                rustix::io::Errno::NOTDIR if path.base.starts_with(b".wh.") => {
                    self.root.folder(b"")
                }
                other => Err(other),
            })
            .map_err(|errno| wrong(&entry.name, "open the folder it is in", errno))?;
        if self
            .whiteouts
            .take(&mut self.root, &path, entry, &self.seen)?
        {
            return Ok(Content::default());
        }
        let opened = self.root.place(&path.parent, &path.base);
        let place =
            opened.map_err(|errno| wrong(&entry.name, "open the folder it is in", errno))?;
        self.make_room(&place, entry)?;
        let table = self.table.as_mut();
        let from = (entry, &mut self.stream);
        let content = entry::make(&mut self.root, &place, from, table, self.means)?;
        if entry.kind == EntryKind::Directory {
            self.folders.push(entry.clone());
        }
        Ok(content)
    }

    /// Removes what is in the way: anything but a folder for a folder, which get one.
    fn make_room(&mut self, place: &Place, entry: &Entry) -> Result<()> {
        let failed = |errno| wrong(&entry.name, "replace what is there", errno);
        let there = place.look().map_err(failed)?;
        let merged = there == Some(FileType::Directory) && entry.kind == EntryKind::Directory;
        if there.is_some() && !merged {
            self.root.forget();
            place.remove().map_err(failed)?;
        }
        Ok(())
    }

    /// An entry for the root of the image.
    fn take_root(&mut self, entry: &Entry) -> Result<Content> {
        let is_folder = entry.kind == EntryKind::Directory;
        match self.whiteouts {
            // COMPAT(podman): in an overlay, a `.` changes nothing.
            Whiteouts::Kept { .. } if !entry.name.starts_with(b"/") => {}
            _ if is_folder => {
                let root = self.root.itself();
                attributes::set(&root, entry, FileType::Directory, self.means)?;
                self.owners.root_is_set = true;
                // COMPAT(podman): in full folders its times are not those of the archive.
                if self.whiteouts != Whiteouts::Applied {
                    self.folders.push(entry.clone());
                }
            }
            _ => return Err(Error::entry(&entry.name, "it would replace the root")),
        }
        Ok(Content::default())
    }

    fn note_owner(&mut self, entry: &Entry) {
        if let (Ok(uid), Ok(gid)) = (u32::try_from(entry.uid), u32::try_from(entry.gid)) {
            self.owners.users.insert(uid);
            self.owners.groups.insert(gid);
        }
    }

    /// Sets the times of folders, now that nothing more comes into them.
    fn set_times_of_folders(&mut self) -> Result<()> {
        self.root.forget();
        for entry in std::mem::take(&mut self.folders) {
            let path = Path::of(&entry.name);
            let place = if path.is_root() {
                self.root.itself()
            } else if let Ok(place) = self.root.place(&path.parent, &path.base) {
                place
            } else {
                continue;
            };
            if place.look() == Ok(Some(FileType::Directory)) {
                attributes::set_times(&place, &entry, FileType::Directory)?;
            }
        }
        Ok(())
    }
}
