//! Making one entry.

use std::io::BufRead;
use std::os::unix::fs::FileExt as _;

use dhow_model::{Algorithm, Hasher};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{self, Means, wrong};
use super::path::Path;
use super::root::{Place, Root};
use crate::error::{Error, Result};
use crate::table::Recorder;
use crate::tar::{Entry, EntryKind, Sparse, TarStream};
use crate::tar_split;

/// What became of the content of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Content {
    /// The bytes of the file, from the first on, that the archive has as they are.
    pub(super) size: u64,
    /// Their checksum.
    pub(super) sum: u64,
}

/// Makes what an entry says, in a place where nothing is, or a folder for a folder.
pub(super) fn make(
    root: &mut Root,
    place: &Place,
    (entry, stream): (&Entry, &mut TarStream<impl BufRead>),
    table: Option<&mut Recorder>,
    means: Means,
) -> Result<Content> {
    let (folder, base) = (&*place.folder, &*place.base);
    let failed = |errno| wrong(&entry.name, "create it", errno);
    let is = match entry.kind {
        EntryKind::Regular => return regular(place, (entry, stream), table, means),
        EntryKind::Directory => {
            match rustix::fs::mkdirat(folder, base, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            FileType::Directory
        }
        EntryKind::Symlink => {
            rustix::fs::symlinkat(&*entry.link, folder, base).map_err(failed)?;
            FileType::Symlink
        }
        EntryKind::HardLink => hard_link(root, place, entry).map_err(failed)?,
        EntryKind::Character | EntryKind::Block if means.in_user_namespace => {
            tracing::debug!(entry = %entry.name.escape_ascii(), "device left away");
            return Ok(Content::default());
        }
        EntryKind::Character => node(place, entry, FileType::CharacterDevice).map_err(failed)?,
        EntryKind::Block => node(place, entry, FileType::BlockDevice).map_err(failed)?,
        EntryKind::Fifo => node(place, entry, FileType::Fifo).map_err(failed)?,
        EntryKind::Other(letter) => {
            let reason = format!("entries of type `{}` are unknown", char::from(letter));
            return Err(Error::entry(&entry.name, reason));
        }
    };
    attributes::set(place, entry, is, means)?;
    Ok(Content::default())
}

fn node(place: &Place, entry: &Entry, kind: FileType) -> Result<FileType, Errno> {
    let device = rustix::fs::makedev(entry.device.0, entry.device.1);
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(&*place.folder, &*place.base, kind, mode, device)?;
    Ok(kind)
}

fn hard_link(root: &mut Root, place: &Place, entry: &Entry) -> Result<FileType, Errno> {
    let target = Path::of(&entry.link);
    let target = root.place(&target.parent, &target.base)?;
    rustix::fs::linkat(
        &*target.folder,
        &*target.base,
        &*place.folder,
        &*place.base,
        AtFlags::empty(),
    )?;
    place.look()?.ok_or(Errno::NOENT)
}

fn regular(
    place: &Place,
    (entry, stream): (&Entry, &mut TarStream<impl BufRead>),
    table: Option<&mut Recorder>,
    means: Means,
) -> Result<Content> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let file = rustix::fs::openat(&*place.folder, &*place.base, flags, mode)
        .map_err(|errno| wrong(&entry.name, "create it", errno))?;
    let file = std::fs::File::from(file);
    let content = match &entry.sparse {
        Some(sparse) => {
            write_sparse(&file, entry, sparse, stream)?;
            Content::default()
        }
        None => write(&file, entry, stream, table)?,
    };
    attributes::set_open(&file, place, entry, means)?;
    Ok(content)
}

/// Writes the content of a file, sums it up, and notes it in the table, if there is one.
fn write(
    mut file: &std::fs::File,
    entry: &Entry,
    stream: &mut TarStream<impl BufRead>,
    table: Option<&mut Recorder>,
) -> Result<Content> {
    let mut sum = tar_split::sum();
    let mut noted = table.map(|table| (table, Hasher::new(Algorithm::Sha256)));
    loop {
        let piece = stream.piece()?;
        if piece.is_empty() {
            break;
        }
        sum.update(piece);
        if let Some((_, hasher)) = &mut noted {
            hasher.update(piece);
        }
        std::io::Write::write_all(&mut file, piece).map_err(|error| unwritten(entry, &error))?;
        let length = piece.len();
        stream.consume(length);
    }
    if let Some((table, hasher)) = noted {
        table.note(file, &entry.name, hasher.finish());
    }
    Ok(Content {
        size: entry.size,
        sum: sum.finalize(),
    })
}

/// Writes a sparse file: only what it holds, at its place. The archive's bytes are raw ones then,
/// since no file has them as they are.
fn write_sparse(
    file: &std::fs::File,
    entry: &Entry,
    sparse: &Sparse,
    stream: &mut TarStream<impl BufRead>,
) -> Result<()> {
    let before = stream.take();
    let whole = raw_content(entry, stream)?;
    stream.give_back(before, &whole);
    let (map, content) = match &sparse.map {
        Some(map) => (map.clone(), whole.as_slice()),
        None => leading_map(&whole)
            .ok_or_else(|| Error::entry(&entry.name, "its map of holes makes no sense"))?,
    };
    file.set_len(sparse.real_size)
        .map_err(|error| unwritten(entry, &error))?;
    let mut content = content;
    for (offset, length) in map {
        let end = offset.checked_add(length);
        let fits = end.is_some_and(|end| end <= sparse.real_size);
        let part = usize::try_from(length).ok();
        let part = part
            .filter(|_| fits)
            .and_then(|length| content.split_at_checked(length));
        let Some((part, rest)) = part else {
            return Err(Error::entry(&entry.name, "its map of holes makes no sense"));
        };
        file.write_all_at(part, offset)
            .map_err(|error| unwritten(entry, &error))?;
        content = rest;
    }
    Ok(())
}

/// Reads the content of a sparse entry.
fn raw_content(entry: &Entry, stream: &mut TarStream<impl BufRead>) -> Result<Vec<u8>> {
    if entry.size > MAX_SPARSE {
        let reason = format!("a sparse file with more than {MAX_SPARSE} bytes of content");
        return Err(Error::entry(&entry.name, reason));
    }
    stream.take_content_raw(entry.size)?;
    Ok(stream.take())
}

/// Where the parts of a sparse file are, and how long: bytes.
type Parts = Vec<(u64, u64)>;

/// Splits the map off that stands before the content: decimal numbers, one a line, in whole blocks
/// (GNU tar, *Sparse Formats*, version 1.0).
fn leading_map(whole: &[u8]) -> Option<(Parts, &[u8])> {
    let mut at = 0;
    let mut number = || -> Option<u64> {
        let line = whole.get(at..)?;
        let end = line.iter().take(24).position(|byte| *byte == b'\n')?;
        at += end + 1;
        std::str::from_utf8(&line[..end]).ok()?.parse().ok()
    };
    let count = number()?;
    let mut map = Vec::new();
    for _ in 0..count {
        map.push((number()?, number()?));
    }
    whole
        .get(at.next_multiple_of(512)..)
        .map(|content| (map, content))
}

fn unwritten(entry: &Entry, error: &std::io::Error) -> Error {
    Error::entry(&entry.name, format!("cannot write it: {error}"))
}

/// The most that a sparse file may hold, in bytes: it is held in memory.
const MAX_SPARSE: u64 = 16 << 20;
