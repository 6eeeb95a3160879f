//! Inodes: what an entry is, whose, and where its content is.

use std::io;

use super::invalid;
use super::metadata::{Position, Reader};

/// An inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sif) struct Inode {
    /// Where it is; there is no other one there.
    pub(in crate::sif) place: u64,
    /// The permissions, without the type.
    pub(in crate::sif) mode: u32,
    pub(in crate::sif) owner: u32,
    pub(in crate::sif) group: u32,
    /// In seconds since the epoch.
    pub(in crate::sif) modified: u32,
    /// How many names it has.
    pub(in crate::sif) links: u32,
    pub(in crate::sif) node: Node,
}

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sif) enum Node {
    Directory(Listing),
    File(Blocks),
    Symlink(Vec<u8>),
    CharacterDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Pipe,
    Socket,
}

/// Where the entries of a directory are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sif) struct Listing {
    /// Of its block, from the beginning of the table.
    pub(super) block: u32,
    pub(super) offset: u16,
    /// In bytes.
    pub(in crate::sif) size: u32,
}

/// Where the content of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sif) struct Blocks {
    /// In bytes.
    pub(in crate::sif) size: u64,
    pub(super) start: u64,
    /// The number of the fragment with its end, and where that is in it.
    pub(super) fragment: Option<(u32, u32)>,
    /// Where the sizes of its blocks are.
    pub(super) sizes: Position,
}

/// An inode with the numbers of its owners in their table.
pub(super) struct Raw {
    mode: u16,
    pub(super) owner: u16,
    pub(super) group: u16,
    modified: u32,
    links: u32,
    node: RawNode,
}

enum RawNode {
    Known(Node),
    /// The sizes of its blocks follow behind the inode.
    File {
        size: u64,
        start: u64,
        fragment: Option<(u32, u32)>,
    },
}

impl Raw {
    /// Returns the inode; `behind` is where it ends.
    pub(super) fn owned(self, place: u64, owner: u32, group: u32, behind: Position) -> Inode {
        let node = match self.node {
            RawNode::Known(node) => node,
            RawNode::File {
                size,
                start,
                fragment,
            } => Node::File(Blocks {
                size,
                start,
                fragment,
                sizes: behind,
            }),
        };
        Inode {
            place,
            mode: u32::from(self.mode) & 0o7777,
            owner,
            group,
            modified: self.modified,
            links: self.links,
            node,
        }
    }
}

pub(super) fn read(from: &mut Reader<'_>, block_size: u32) -> io::Result<Raw> {
    let kind = from.number16()?;
    let (mode, owner, group) = (from.number16()?, from.number16()?, from.number16()?);
    let modified = from.number32()?;
    let _number = from.number32()?;
    let (links, node) = match kind {
        1 | 8 => directory(from, kind == 8)?,
        2 => file(from, block_size)?,
        9 => large_file(from, block_size)?,
        3 | 10 => symlink(from)?,
        4 | 5 | 11 | 12 => {
            let links = from.number32()?;
            let number = from.number32()?;
            // As Linux packs them.
            let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
            let node = match kind {
                4 | 11 => Node::BlockDevice { major, minor },
                _ => Node::CharacterDevice { major, minor },
            };
            (links, RawNode::Known(node))
        }
        6 | 13 => (from.number32()?, RawNode::Known(Node::Pipe)),
        7 | 14 => (from.number32()?, RawNode::Known(Node::Socket)),
        other => {
            let why = format!("the squashfs has an inode of the unknown type {other}");
            return Err(invalid(why));
        }
    };
    Ok(Raw {
        mode,
        owner,
        group,
        modified,
        links,
        node,
    })
}

fn directory(from: &mut Reader<'_>, large: bool) -> io::Result<(u32, RawNode)> {
    let (links, listing) = if large {
        let (links, size, block) = (from.number32()?, from.number32()?, from.number32()?);
        let (_parent, _index) = (from.number32()?, from.number16()?);
        let offset = from.number16()?;
        (
            links,
            Listing {
                block,
                offset,
                size,
            },
        )
    } else {
        let (block, links) = (from.number32()?, from.number32()?);
        let (size, offset) = (from.number16()?, from.number16()?);
        let size = u32::from(size);
        (
            links,
            Listing {
                block,
                offset,
                size,
            },
        )
    };
    Ok((links, RawNode::Known(Node::Directory(listing))))
}

fn file(from: &mut Reader<'_>, block_size: u32) -> io::Result<(u32, RawNode)> {
    let start = u64::from(from.number32()?);
    let fragment = fragment(from, block_size)?;
    let size = u64::from(from.number32()?);
    let node = RawNode::File {
        size,
        start,
        fragment,
    };
    Ok((1, node))
}

fn large_file(from: &mut Reader<'_>, block_size: u32) -> io::Result<(u32, RawNode)> {
    let (start, size, _holes) = (from.number64()?, from.number64()?, from.number64()?);
    let links = from.number32()?;
    let fragment = fragment(from, block_size)?;
    let _attributes = from.number32()?;
    if size > LARGEST_FILE {
        let why = format!("the squashfs has a file of {size} bytes, which nothing can hold");
        return Err(invalid(why));
    }
    let node = RawNode::File {
        size,
        start,
        fragment,
    };
    Ok((links, node))
}

fn fragment(from: &mut Reader<'_>, block_size: u32) -> io::Result<Option<(u32, u32)>> {
    let (number, offset) = (from.number32()?, from.number32()?);
    if number == u32::MAX {
        return Ok(None);
    }
    if offset > block_size {
        return Err(invalid(
            "the end of a file is behind its fragment in the squashfs",
        ));
    }
    Ok(Some((number, offset)))
}

fn symlink(from: &mut Reader<'_>) -> io::Result<(u32, RawNode)> {
    let (links, size) = (from.number32()?, from.number32()?);
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size == 0 || size > LONGEST_PATH {
        let why = format!("the squashfs has a symbolic link to {size} bytes, which is no path");
        return Err(invalid(why));
    }
    let mut target = vec![0; size];
    from.read(&mut target)?;
    if target.contains(&0) {
        return Err(invalid(
            "the squashfs has a symbolic link with a zero byte in it",
        ));
    }
    Ok((links, RawNode::Known(Node::Symlink(target))))
}

/// What Linux takes for a path, in bytes.
pub(in crate::sif) const LONGEST_PATH: usize = 4096;
/// What signed numbers and tar headers can hold, in bytes.
const LARGEST_FILE: u64 = 1 << 62;
