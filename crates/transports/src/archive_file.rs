//! Opening tar files for reading: in place where that can be, else after one pass into a file that
//! nobody else sees.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use dhow_codec::MAGIC;
use dhow_transport::{Error, Kind, Result};

use crate::file_blob::{Part, place_is_absent};
use crate::members::Members;

/// A tar file that was opened.
#[derive(Debug)]
pub(crate) struct ArchiveFile {
    pub(crate) file: Arc<File>,
    pub(crate) members: Members,
    /// The file on disk is compressed; `file` is what came out of it.
    pub(crate) compressed: bool,
}

impl ArchiveFile {
    /// Opens a file. One that is compressed, or is a pipe, is written into `tmp` first. `what` says
    /// in messages what it should be. Blocks.
    pub(crate) fn open(path: &Path, tmp: &Path, what: &str) -> Result<Self> {
        let unreadable = |error| Error::file("read", path, error);
        let file = File::open(path)
            .map_err(|error| place_is_absent(Error::file("open", path, error), what))?;
        let found = file.metadata().map_err(unreadable)?;
        if found.is_dir() {
            let message = format!("`{}` is a directory", path.display());
            return Err(Error::new(Kind::Io, message).hint(format!("name {what}")));
        }
        let in_place = found.is_file();
        let mut start = [0; MAGIC];
        let known = if in_place {
            file.read_at(&mut start, 0).map_err(unreadable)?
        } else {
            read_start(&file, &mut start).map_err(unreadable)?
        };
        let compression = dhow_codec::detect(&start[..known]);
        let file = match (compression, in_place) {
            (None, true) => file,
            (None, false) => {
                let whole = io::Cursor::new(start).take(known as u64).chain(file);
                spooled(whole, tmp)?
            }
            (Some(compression), _) => {
                // A pipe has given its start away.
                let given = if in_place { 0 } else { known };
                let whole = io::Cursor::new(start).take(given as u64).chain(file);
                let from = BufReader::with_capacity(PIECE, whole);
                let content = dhow_codec::reader(from, compression).map_err(unreadable)?;
                spooled(content, tmp).map_err(|error| error.noted(&format!("{compression:?}")))?
            }
        };
        Self::from_file(file, compression.is_some()).map_err(|error| {
            let message = format!("`{}` is no tar file that can be trusted", path.display());
            Error::new(Kind::Invalid, message).caused_by(error)
        })
    }

    /// Finds the members of a file that is open. Blocks.
    ///
    /// # Errors
    /// `InvalidData` when it is no tar file, or an ambiguous one.
    pub(crate) fn from_file(file: File, compressed: bool) -> io::Result<Self> {
        let members = Members::read(&file)?;
        Ok(Self {
            file: Arc::new(file),
            members,
            compressed,
        })
    }

    /// Reads a member whole, if it is not larger than `most` bytes. Blocks.
    ///
    /// # Errors
    /// When there is no such member, it is larger, or the file cannot be read.
    pub(crate) fn read(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let part = self.part(name)?;
        self.read_part(name, part, most)
    }

    /// Reads a part whole, if it is not larger than `most` bytes. Blocks.
    ///
    /// # Errors
    /// When it is larger, or the file cannot be read.
    pub(crate) fn read_part(&self, name: &str, part: Part, most: u64) -> Result<Vec<u8>> {
        if part.size > most {
            let message = format!("`{name}` has more than {most} bytes");
            return Err(Error::new(Kind::Invalid, message));
        }
        let mut bytes = vec![0; usize::try_from(part.size).unwrap_or_default()];
        self.file
            .read_exact_at(&mut bytes, part.offset)
            .map_err(|error| {
                Error::new(Kind::Io, format!("cannot read `{name}`")).caused_by(error)
            })?;
        Ok(bytes)
    }

    /// Returns where a member is.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(crate) fn part(&self, name: &str) -> Result<Part> {
        self.members.file(name).ok_or_else(|| {
            let shown = name.escape_debug();
            Error::new(Kind::NotFound, format!("the archive has no file `{shown}`"))
        })
    }
}

/// Reads the first bytes of a pipe, as many as there are.
fn read_start(mut file: &File, to: &mut [u8; MAGIC]) -> io::Result<usize> {
    let mut known = 0;
    while known < MAGIC {
        match file.read(&mut to[known..]) {
            Ok(0) => break,
            Ok(length) => known += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(known)
}

/// Writes what comes into a file without a name.
pub(crate) fn spooled(mut from: impl Read, tmp: &Path) -> Result<File> {
    let unwritten = |error| Error::file("write into", tmp, error);
    let mut to = tempfile::tempfile_in(tmp).map_err(unwritten)?;
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => to.write_all(&piece[..length]).map_err(unwritten)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let message = "the file cannot be decompressed or read to its end";
                return Err(Error::new(Kind::Invalid, message).caused_by(error));
            }
        }
    }
    to.rewind().map_err(unwritten)?;
    Ok(to)
}

/// How much is read at once, in bytes.
const PIECE: usize = 256 * 1024;
