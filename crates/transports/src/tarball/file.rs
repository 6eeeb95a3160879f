//! One tar file as a layer: what it is, found out by reading it once.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use dhow_model::{Algorithm, Compression, Descriptor, Digest, Hasher, LayerType};
use dhow_transport::{Error, Kind, Result};

use crate::archive_file::spooled;
use crate::file_blob::place_is_absent;

/// A tar file.
#[derive(Debug)]
pub(super) struct LayerFile {
    pub(super) file: Arc<File>,
    pub(super) blob: Descriptor,
    pub(super) diff_id: Digest,
    pub(super) modified: SystemTime,
}

impl LayerFile {
    /// Opens a file and reads it to its end. Standard input, and what is compressed in a way that no
    /// layer may be, is written into `tmp` first. Blocks.
    pub(super) fn open(path: &Path, tmp: &Path) -> Result<Self> {
        let stdin = path == Path::new("-");
        let path = if stdin { Path::new("/dev/stdin") } else { path };
        let unreadable = |error| Error::file("read", path, error);
        let file = File::open(path)
            .map_err(|error| place_is_absent(Error::file("open", path, error), "a tar file"))?;
        let found = file.metadata().map_err(unreadable)?;
        if found.is_dir() {
            let message = format!("`{}` is a directory", path.display());
            return Err(Error::new(Kind::Invalid, message).hint("name a tar file"));
        }
        let modified = found.modified().map_err(unreadable)?;
        let mut file = if found.is_file() && !stdin {
            file
        } else {
            spooled(file, tmp)?
        };
        let compression = compression(&mut file).map_err(unreadable)?;
        let (file, compression) = match compression {
            Some(undone @ (Compression::Bzip2 | Compression::Xz)) => {
                let from = io::BufReader::with_capacity(PIECE, file);
                let content = dhow_codec::reader(from, undone).map_err(unreadable)?;
                (spooled(content, tmp)?, None)
            }
            kept => (file, kept),
        };
        let (blob, diff_id) = facts(&file, compression).map_err(|error| {
            let message = format!("`{}` cannot be read to its end", path.display());
            Error::new(Kind::Invalid, message).caused_by(error)
        })?;
        Ok(Self {
            file: Arc::new(file),
            blob,
            diff_id,
            modified,
        })
    }
}

fn compression(file: &mut File) -> io::Result<Option<Compression>> {
    let mut start = Vec::new();
    file.rewind()?;
    Read::by_ref(file)
        .take(dhow_codec::MAGIC as u64)
        .read_to_end(&mut start)?;
    file.rewind()?;
    Ok(dhow_codec::detect(&start))
}

/// Returns what the file is as a layer, and the digest of its content.
fn facts(file: &File, compression: Option<Compression>) -> io::Result<(Descriptor, Digest)> {
    let parts = LayerType {
        docker: false,
        foreign: false,
        compression,
    };
    let media_type = parts.media_type().ok_or(io::ErrorKind::Unsupported)?;
    let (digest, size) = hashed(file)?;
    let diff_id = match compression {
        None => digest,
        Some(compression) => {
            let mut from = file.try_clone()?;
            from.rewind()?;
            let from = io::BufReader::with_capacity(PIECE, from);
            hashed(dhow_codec::reader(from, compression)?)?.0
        }
    };
    Ok((Descriptor::new(media_type, digest, size), diff_id))
}

fn hashed(mut from: impl Read) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut size) = (Hasher::new(Algorithm::Sha256), 0);
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(length) => {
                hasher.update(&piece[..length]);
                size += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How much is read at once, in bytes.
const PIECE: usize = 256 * 1024;
