//! An archive that is being put together: layers come at once and in any order, and are written one
//! behind the other in the order of the manifest.
//!
//! ```text
//! the layer whose turn it is ─────────────────▶ the end of the archive
//! others ─▶ files without a name ─▶ (their turn) ─▶ the end of the archive
//! ```
//!
//! Into a file, a layer is written before its digest and size are known: its header is filled in
//! afterwards. Into a stream, one whose size is not known waits in a file.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dhow_model::Digest;
use dhow_transport::{Blob, BlobWant, Coming, Error, Kind, Result, Slot};
use tar::EntryType;

use super::spool::{self, Pieces, unwritten};
use crate::file_blob::Part;
use crate::tar_entry::{self, BLOCK};

/// An archive that is being put together. Clones share it.
#[derive(Clone)]
pub(crate) struct Assembly {
    state: Arc<Mutex<State>>,
    folder: PathBuf,
}

/// Where the archive goes on.
pub(crate) enum Tail {
    /// In a file, at this offset in bytes.
    File { file: File, offset: u64 },
    /// In what only takes bytes, one after another.
    Stream(Box<dyn Write + Send>),
}

/// A blob that was put.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Its size in bytes.
    pub(crate) size: u64,
    pub(crate) place: Place,
}

/// Where a blob is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In the archive.
    Archive,
    /// In a file of its own, until its turn comes.
    Aside(Arc<File>),
    /// Where the archive goes: it is named, and left out.
    Elsewhere,
}

struct State {
    /// `None` while somebody writes there, and for ever once that broke.
    tail: Option<Tail>,
    /// The layers that are still to come, in order, by their slots.
    order: VecDeque<usize>,
    /// Those that have come before their turn.
    waiting: BTreeMap<usize, Digest>,
    stored: HashMap<Digest, Stored>,
    broken: bool,
}

impl Assembly {
    /// Returns an empty archive. What has to wait does so in `folder`.
    pub(crate) fn new(tail: Tail, folder: PathBuf) -> Self {
        let state = State {
            tail: Some(tail),
            order: VecDeque::new(),
            waiting: BTreeMap::new(),
            stored: HashMap::new(),
            broken: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            folder,
        }
    }

    /// Takes note of the layers that will come.
    pub(crate) fn expect(&self, coming: &Coming) {
        self.state().order = coming.layers.iter().map(|(slot, _)| *slot).collect();
    }

    /// Returns a blob that was put.
    pub(crate) fn stored(&self, digest: &Digest) -> Option<Stored> {
        self.state().stored.get(digest).cloned()
    }

    /// Takes note of a layer that is not written, because it is there already. Blocks.
    pub(crate) fn leave_out(&self, slot: Slot, digest: Digest, size: u64) -> Result<()> {
        let place = Place::Elsewhere;
        let stored = Stored { size, place };
        self.state().stored.entry(digest).or_insert(stored);
        self.skip(slot)
    }

    /// Takes note of a layer that needs no place of its own. Blocks.
    pub(crate) fn skip(&self, slot: Slot) -> Result<()> {
        if let Slot::Layer { index } = slot {
            self.state().order.retain(|waits| *waits != index);
        }
        self.advance()
    }

    /// Takes a blob; returns its digest and size.
    pub(crate) async fn put(&self, want: &BlobWant, blob: Blob) -> Result<(Digest, u64)> {
        let known = want.digest.zip(want.size.or(blob.size));
        let (slot, tail) = self.turn(want.slot, known.is_some())?;
        let assembly = self.clone();
        spool::take(want, blob, move |pieces| match tail {
            Some(tail) => assembly.write(tail, known, pieces),
            None => assembly.set_aside(slot, pieces),
        })
        .await
    }

    /// Returns the end of the archive to the one whose turn it is.
    fn turn(&self, slot: Slot, known: bool) -> Result<(Option<usize>, Option<Tail>)> {
        let mut state = self.state();
        if state.broken {
            return Err(broken());
        }
        let Slot::Layer { index } = slot else {
            return Ok((None, None));
        };
        let fits = matches!(&state.tail, Some(Tail::File { .. })) || known;
        let its_turn = state.order.front() == Some(&index);
        let tail = if fits && its_turn {
            state.tail.take()
        } else {
            None
        };
        Ok((Some(index), tail))
    }

    /// Writes the layer whose turn it is.
    fn write(
        &self,
        mut tail: Tail,
        known: Option<(Digest, u64)>,
        pieces: Pieces,
    ) -> Result<(Digest, u64)> {
        let written = tail.take_pieces(known, pieces);
        let mut state = self.state();
        match &written {
            Ok((digest, size)) => {
                state.tail = Some(tail);
                state.order.pop_front();
                let (size, place) = (*size, Place::Archive);
                state.stored.insert(*digest, Stored { size, place });
            }
            // What was begun in a file is written over by the next one.
            Err(_) if tail.is_file() => state.tail = Some(tail),
            Err(_) => state.broken = true,
        }
        drop(state);
        let written = written?;
        self.advance()?;
        Ok(written)
    }

    /// Writes a blob into a file of its own.
    fn set_aside(&self, slot: Option<usize>, pieces: Pieces) -> Result<(Digest, u64)> {
        let mut file = spool::file_in(&self.folder)?;
        let (digest, size) = pieces.write(&mut file)?;
        {
            let mut state = self.state();
            let place = Place::Aside(Arc::new(file));
            state.stored.entry(digest).or_insert(Stored { size, place });
            if let Some(slot) = slot.filter(|slot| state.order.contains(slot)) {
                state.waiting.insert(slot, digest);
            }
        }
        self.advance()?;
        Ok((digest, size))
    }

    /// Writes those that wait and whose turn has come.
    fn advance(&self) -> Result<()> {
        loop {
            let mut state = self.state();
            if state.tail.is_none() {
                return Ok(());
            }
            let Some(digest) = state
                .order
                .front()
                .copied()
                .and_then(|next| state.waiting.remove(&next))
            else {
                return Ok(());
            };
            let file = match state.stored.get(&digest) {
                Some(Stored {
                    place: Place::Aside(file),
                    size,
                }) => Some((Arc::clone(file), *size)),
                // The same content was written for another layer.
                _ => None,
            };
            let (Some((file, size)), Some(mut tail)) = (file, state.tail.take()) else {
                state.order.pop_front();
                continue;
            };
            drop(state);
            let copied = tail.copy(&layer_name(&digest), 0o444, &file, Part { offset: 0, size });
            let mut state = self.state();
            if let Err(error) = copied {
                state.broken = true;
                return Err(unwritten(error));
            }
            state.tail = Some(tail);
            state.order.pop_front();
            let place = Place::Archive;
            state.stored.insert(digest, Stored { size, place });
        }
    }

    /// Returns the end of the archive, when nobody writes there any more.
    pub(crate) fn close(&self) -> Result<Tail> {
        self.state().tail.take().ok_or_else(broken)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    const fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// Writes a layer as it comes.
    fn take_pieces(
        &mut self,
        known: Option<(Digest, u64)>,
        pieces: Pieces,
    ) -> Result<(Digest, u64)> {
        match self {
            Self::File { file, offset } => {
                file.seek(SeekFrom::Start(*offset + BLOCK))
                    .map_err(unwritten)?;
                let (digest, size) = pieces.write(file)?;
                let header = layer_header(&digest, size).map_err(unwritten)?;
                file.write_all(&tar_entry::padding(size))
                    .map_err(unwritten)?;
                file.write_all_at(header.as_bytes(), *offset)
                    .map_err(unwritten)?;
                *offset += BLOCK + size.next_multiple_of(BLOCK);
                Ok((digest, size))
            }
            Self::Stream(stream) => {
                let (digest, size) = known.ok_or_else(broken)?;
                let header = layer_header(&digest, size).map_err(unwritten)?;
                stream.write_all(header.as_bytes()).map_err(unwritten)?;
                let written = pieces.write(stream)?;
                let padding = tar_entry::padding(size);
                stream.write_all(&padding).map_err(unwritten)?;
                Ok(written)
            }
        }
    }

    /// Writes a member from a part of a file.
    pub(super) fn copy(
        &mut self,
        name: &str,
        mode: u32,
        from: &File,
        part: Part,
    ) -> io::Result<()> {
        let header = tar_entry::header(name, EntryType::Regular, part.size, mode)?;
        self.append(header.as_bytes())?;
        match self {
            Self::File { file, offset } => {
                tar_entry::copy(from, part, file)?;
                *offset += part.size;
            }
            Self::Stream(stream) => tar_entry::copy_bytes(from, part, stream)?,
        }
        self.append(&tar_entry::padding(part.size))
    }

    /// Writes a small member.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let size = content.len() as u64;
        let header = tar_entry::header(name, EntryType::Regular, size, 0o444)?;
        self.append(header.as_bytes())?;
        self.append(content)?;
        self.append(&tar_entry::padding(size))
    }

    /// Writes a symbolic link.
    pub(super) fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.append(tar_entry::link(name, target)?.as_bytes())
    }

    /// Writes the end of the archive, and cuts off what a broken attempt has left behind it.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.append(&tar_entry::END)?;
        match self {
            Self::File { file, offset } => file.set_len(*offset),
            Self::Stream(stream) => stream.flush(),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File { file, offset } => {
                file.seek(SeekFrom::Start(*offset))?;
                file.write_all(bytes)?;
                *offset += bytes.len() as u64;
                Ok(())
            }
            Self::Stream(stream) => stream.write_all(bytes),
        }
    }
}

impl fmt::Debug for Assembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assembly")
    }
}

/// Returns the name of a layer's member.
pub(super) fn layer_name(digest: &Digest) -> String {
    format!("{}.tar", digest.hex())
}

fn layer_header(digest: &Digest, size: u64) -> io::Result<tar::Header> {
    tar_entry::header(&layer_name(digest), EntryType::Regular, size, 0o444)
}

fn broken() -> Error {
    Error::new(Kind::Io, "the archive broke off and cannot go on")
}
