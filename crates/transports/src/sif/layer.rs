//! The layer: the tree of a squashfs as a tar file (GNU format), in the order of names.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};

use dhow_model::{Algorithm, Digest, Hasher};
use tar::{EntryType, Header};

use super::container::invalid;
use super::squashfs::{Content, Entry, Inode, LONGEST_PATH, MOST_NAMES, Node, Squashfs};
use crate::tar_entry::{END, padding};

/// A script to put into the layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script<'a> {
    pub(super) content: &'a [u8],
    /// In seconds since the epoch.
    pub(super) modified: u64,
}

/// What went wrong.
#[derive(Debug)]
pub(super) enum Problem {
    /// The squashfs cannot be read.
    Read(io::Error),
    /// The layer cannot be written.
    Write(io::Error),
}

/// Writes the layer; returns its digest and size.
pub(super) fn write(
    squashfs: Squashfs<'_>,
    script: Option<Script<'_>>,
    to: &File,
) -> Result<(Digest, u64), Problem> {
    let mut layer = Layer {
        squashfs,
        script,
        to: BufWriter::with_capacity(BUFFER, to),
        hasher: Hasher::new(Algorithm::Sha256),
        size: 0,
        folders: HashSet::new(),
        pending: 0,
        linked: HashMap::new(),
        linked_bytes: 0,
    };
    layer.tree()?;
    layer.bytes(&END)?;
    layer.to.flush().map_err(Problem::Write)?;
    Ok((layer.hasher.finish(), layer.size))
}

struct Layer<'a> {
    squashfs: Squashfs<'a>,
    script: Option<Script<'a>>,
    to: BufWriter<&'a File>,
    hasher: Hasher,
    size: u64,
    /// The directories that were seen: a directory has one place in a tree.
    folders: HashSet<u64>,
    /// The first names of inodes that have several.
    linked: HashMap<u64, Vec<u8>>,
    /// How long those names are together.
    linked_bytes: usize,
    /// What the directories take that are not done, in bytes of their listings.
    pending: u64,
}

/// What is still to be written of a directory, last first.
struct Folder {
    /// Its path, with a slash at its end; empty for the root.
    path: Vec<u8>,
    items: Vec<Item>,
    /// Of its listing, in bytes.
    size: u64,
}

enum Item {
    Entry(Entry),
    /// The directory of the script, which the squashfs does not have.
    ScriptFolder,
    Script,
}

impl Item {
    fn name(&self) -> &[u8] {
        match self {
            Self::Entry(entry) => &entry.name,
            Self::ScriptFolder => SCRIPT_FOLDER,
            Self::Script => SCRIPT_NAME,
        }
    }
}

impl Layer<'_> {
    fn tree(&mut self) -> Result<(), Problem> {
        let root = self.squashfs.root().map_err(Problem::Read)?;
        if !matches!(root.node, Node::Directory(_)) {
            return Err(Problem::Read(invalid(
                "the root of the squashfs is no directory",
            )));
        }
        let mut folders = vec![self.folder(Vec::new(), &root)?];
        while let Some(folder) = folders.last_mut() {
            let Some(item) = folder.items.pop() else {
                self.pending -= folder.size;
                folders.pop();
                continue;
            };
            let path = [&folder.path, item.name()].concat();
            if path.len() > LONGEST_PATH {
                return Err(Problem::Read(invalid(
                    "the squashfs has a path that is too long",
                )));
            }
            folders.extend(self.item(path, &item)?);
        }
        Ok(())
    }

    /// Writes an item; returns the directory that it is.
    fn item(&mut self, mut path: Vec<u8>, item: &Item) -> Result<Option<Folder>, Problem> {
        let entry = match item {
            Item::Entry(entry) => entry,
            Item::ScriptFolder => {
                path.push(b'/');
                self.script_header(&path, EntryType::Directory, 0)?;
                let items = vec![Item::Script];
                let size = 0;
                return Ok(Some(Folder { path, items, size }));
            }
            Item::Script => return self.write_script(&path).map(|()| None),
        };
        let inode = self.squashfs.inode(entry.inode).map_err(Problem::Read)?;
        if matches!(inode.node, Node::Directory(_)) {
            path.push(b'/');
            return self.folder(path, &inode).map(Some);
        }
        if let Some(first) = self.linked.get(&inode.place) {
            let first = first.clone();
            self.header(&path, &inode, EntryType::Link, 0, &first)?;
            return Ok(None);
        }
        let written = self.other(&path, &inode)?;
        // Of very many, the last ones become files of their own.
        let room = self.linked_bytes < MOST_LINKED;
        if inode.links > 1 && written && room {
            self.linked_bytes += path.len();
            self.linked.insert(inode.place, path);
        }
        Ok(None)
    }

    /// Writes the header of a directory, and returns what is in it.
    fn folder(&mut self, path: Vec<u8>, inode: &Inode) -> Result<Folder, Problem> {
        let Node::Directory(listing) = inode.node else {
            return Err(Problem::Read(invalid(
                "a directory of the squashfs is none",
            )));
        };
        if !self.folders.insert(inode.place) {
            let why = "a directory of the squashfs is in two places";
            return Err(Problem::Read(invalid(why)));
        }
        let size = u64::from(listing.size);
        self.pending += size;
        if self.pending > MOST_NAMES {
            let why = "the squashfs has too many names in directories within each other";
            return Err(Problem::Read(invalid(why)));
        }
        let entries = self.squashfs.entries(listing).map_err(Problem::Read)?;
        let shown: &[u8] = if path.is_empty() { b"./" } else { &path };
        self.header(shown, inode, EntryType::Directory, 0, b"")?;
        let mut items: Vec<Item> = entries.into_iter().map(Item::Entry).collect();
        if self.script.is_some() {
            self.add_script(&path, &mut items)?;
        }
        items.reverse();
        Ok(Folder { path, items, size })
    }

    /// Has the script, and the directory for it, among the items of a directory.
    fn add_script(&mut self, path: &[u8], items: &mut Vec<Item>) -> Result<(), Problem> {
        let in_folder = path.strip_suffix(b"/") == Some(SCRIPT_FOLDER);
        if in_folder {
            items.retain(|item| item.name() != SCRIPT_NAME);
            items.push(Item::Script);
        } else if path.is_empty() {
            let known = items.iter().position(|item| item.name() == SCRIPT_FOLDER);
            if let Some(Item::Entry(entry)) = known.and_then(|at| items.get(at)) {
                let inode = self.squashfs.inode(entry.inode).map_err(Problem::Read)?;
                if matches!(inode.node, Node::Directory(_)) {
                    return Ok(());
                }
                // What has the name of the directory has to go.
                items.retain(|item| item.name() != SCRIPT_FOLDER);
            }
            items.push(Item::ScriptFolder);
        }
        items.sort_by(|one, two| one.name().cmp(two.name()));
        Ok(())
    }

    /// Writes what is no directory; returns whether there is an entry for it.
    fn other(&mut self, path: &[u8], inode: &Inode) -> Result<bool, Problem> {
        match &inode.node {
            Node::File(blocks) => {
                self.header(path, inode, EntryType::Regular, blocks.size, b"")?;
                let mut content = Content::new(*blocks);
                while let Some(piece) = self.squashfs.next(&mut content).map_err(Problem::Read)? {
                    self.bytes(&piece)?;
                }
                self.bytes(&padding(blocks.size))?;
            }
            Node::Symlink(target) => self.header(path, inode, EntryType::Symlink, 0, target)?,
            Node::CharacterDevice { major, minor } => {
                self.device(path, inode, EntryType::Char, (*major, *minor))?;
            }
            Node::BlockDevice { major, minor } => {
                self.device(path, inode, EntryType::Block, (*major, *minor))?;
            }
            Node::Pipe => self.header(path, inode, EntryType::Fifo, 0, b"")?,
            // A tar file cannot hold sockets; they mean nothing without the process behind them.
            Node::Directory(_) | Node::Socket => return Ok(false),
        }
        Ok(true)
    }

    fn write_script(&mut self, path: &[u8]) -> Result<(), Problem> {
        let Some(script) = self.script else {
            return Ok(());
        };
        let size = script.content.len() as u64;
        self.script_header(path, EntryType::Regular, size)?;
        self.bytes(script.content)?;
        self.bytes(&padding(size))
    }

    fn script_header(&mut self, path: &[u8], kind: EntryType, size: u64) -> Result<(), Problem> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        header.set_mtime(self.script.map_or(0, |script| script.modified));
        self.named(header, path, b"")
    }

    fn header(
        &mut self,
        path: &[u8],
        inode: &Inode,
        kind: EntryType,
        size: u64,
        target: &[u8],
    ) -> Result<(), Problem> {
        self.named(header(inode, kind, size), path, target)
    }

    fn device(
        &mut self,
        path: &[u8],
        inode: &Inode,
        kind: EntryType,
        (major, minor): (u32, u32),
    ) -> Result<(), Problem> {
        let mut header = header(inode, kind, 0);
        for set in [
            header.set_device_major(major),
            header.set_device_minor(minor),
        ] {
            set.map_err(Problem::Write)?;
        }
        self.named(header, path, b"")
    }

    /// Writes a header with a name and a target of whatever length, byte for byte.
    fn named(&mut self, mut header: Header, path: &[u8], target: &[u8]) -> Result<(), Problem> {
        self.long(EntryType::GNULongLink, target)?;
        self.long(EntryType::GNULongName, path)?;
        let old = header.as_old_mut();
        fill(&mut old.linkname, target);
        fill(&mut old.name, path);
        header.set_cksum();
        self.bytes(header.as_bytes())
    }

    /// Writes an entry with a text that does not fit into the header of the next one.
    fn long(&mut self, kind: EntryType, text: &[u8]) -> Result<(), Problem> {
        if text.len() <= FITS {
            return Ok(());
        }
        let mut header = Header::new_gnu();
        fill(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let size = text.len() as u64 + 1;
        header.set_size(size);
        header.set_cksum();
        self.bytes(header.as_bytes())?;
        self.bytes(text)?;
        self.bytes(&[0])?;
        self.bytes(&padding(size))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.to.write_all(bytes).map_err(Problem::Write)
    }
}

fn header(inode: &Inode, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(inode.mode);
    header.set_uid(inode.owner.into());
    header.set_gid(inode.group.into());
    header.set_mtime(inode.modified.into());
    header.set_size(size);
    header
}

/// Writes as much of a text as there is room.
fn fill(field: &mut [u8; 100], text: &[u8]) {
    let length = text.len().min(FITS);
    field[..length].copy_from_slice(&text[..length]);
}

/// The room for a name or a target in a header, in bytes.
const FITS: usize = 100;
const SCRIPT_FOLDER: &[u8] = b"podman";
const SCRIPT_NAME: &[u8] = b"runscript";
/// How many bytes of names are remembered to find other names of the same files.
const MOST_LINKED: usize = 16 * 1024 * 1024;
/// In bytes.
const BUFFER: usize = 256 * 1024;
