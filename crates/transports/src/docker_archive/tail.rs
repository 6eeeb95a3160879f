//! The end of an archive that is being put together: members are written there, one behind the other.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use dhow_model::Digest;
use dhow_transport::Result;
use tar::EntryType;

use super::gap::{self, Gap};
use super::spool::{Pieces, broken, unwritten};
use crate::file_blob::Part;
use crate::tar_entry::{self, BLOCK};

/// Where the archive goes on.
pub(crate) enum Tail {
    /// In a file, at this offset in bytes.
    File { file: File, offset: u64 },
    /// In what only takes bytes, one after another.
    Stream(Box<dyn Write + Send>),
}

impl Tail {
    pub(super) const fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// Writes a layer as it comes.
    pub(super) fn take_pieces(
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

    /// Leaves a gap for the layer in this place, which will probably have so many bytes, and goes on behind
    /// it; `None` in a stream.
    pub(super) fn leave(&mut self, layer: usize, size: u64) -> io::Result<Option<Gap>> {
        let Self::File { file, offset } = self else {
            return Ok(None);
        };
        let gap = Gap::new(file.try_clone()?, *offset, (layer, size));
        *offset = gap.range().end;
        Ok(Some(gap))
    }

    /// Moves what lies behind gaps that stayed empty to where they begin.
    pub(super) fn close(&mut self, gaps: Vec<Range<u64>>) -> io::Result<()> {
        match self {
            Self::File { file, offset } => gap::close(file, offset, gaps),
            Self::Stream(_) => Ok(()),
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

/// Returns the name of a layer's member.
pub(super) fn layer_name(digest: &Digest) -> String {
    format!("{}.tar", digest.hex())
}

pub(super) fn layer_header(digest: &Digest, size: u64) -> io::Result<tar::Header> {
    tar_entry::header(&layer_name(digest), EntryType::Regular, size, 0o444)
}
