//! Blobs in files: reading them as streams and writing streams into them, with the file work on
//! blocking threads and a bounded number of pieces on the way.

mod store;

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhow_model::Descriptor;
use dhow_transport::{Blob, ByteRange, Error, Kind};
use futures_util::{StreamExt as _, stream};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use tokio::sync::mpsc;

pub(crate) use self::store::store;

/// Reads an open file as a blob.
pub(crate) async fn read(
    mut file: File,
    blob: &Descriptor,
    range: ByteRange,
) -> Result<Blob, Error> {
    let open = move || {
        let size = file.metadata()?.len();
        let start = match range {
            ByteRange::All => 0,
            ByteRange::From(offset) => offset,
        };
        file.seek(SeekFrom::Start(start))?;
        Ok::<_, io::Error>((file, size, start))
    };
    let (file, size, start) = blocking(open).await?.map_err(|error| {
        Error::new(Kind::Io, format!("cannot read blob {}", blob.digest)).caused_by(error)
    })?;
    // Schema 1 manifests do not say how large their layers are.
    if blob.size > 0 && size != blob.size {
        return Err(Error::new(
            Kind::SizeMismatch,
            format!(
                "size mismatch: blob {} should have {} bytes and has {size}",
                blob.digest, blob.size
            ),
        ));
    }
    let size = size.saturating_sub(start);
    let (sender, receiver) = mpsc::channel(DEPTH);
    // Ends by itself: at the end of the file, or when the receiver is gone.
    drop(tokio::task::spawn_blocking(move || {
        send_pieces(&file, &sender);
    }));
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    Ok(Blob::from_stream(Some(size), pieces.boxed()))
}

/// Returns a part of a blob that is in memory.
pub(crate) fn in_memory(bytes: &Bytes, range: ByteRange) -> Blob {
    let skip = match range {
        ByteRange::All => 0,
        ByteRange::From(offset) => usize::try_from(offset).unwrap_or(usize::MAX),
    };
    Blob::from_bytes(bytes.slice(skip.min(bytes.len())..))
}

/// Reads a part of a file, such as a member of an archive, as a blob. Several can read one file at
/// once.
pub(crate) fn read_part(
    file: Arc<File>,
    part: Part,
    blob: &Descriptor,
    range: ByteRange,
) -> Result<Blob, Error> {
    if blob.size > 0 && part.size != blob.size {
        return Err(Error::new(
            Kind::SizeMismatch,
            format!(
                "size mismatch: blob {} should have {} bytes and has {}",
                blob.digest, blob.size, part.size
            ),
        ));
    }
    let skip = match range {
        ByteRange::All => 0,
        ByteRange::From(offset) => offset.min(part.size),
    };
    let rest = Part {
        offset: part.offset + skip,
        size: part.size - skip,
    };
    let (sender, receiver) = mpsc::channel(DEPTH);
    // Ends by itself: at the end of the part, or when the receiver is gone.
    drop(tokio::task::spawn_blocking(move || {
        send_part(&file, rest, &sender);
    }));
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    Ok(Blob::from_stream(Some(rest.size), pieces.boxed()))
}

/// A part of a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

fn send_part(file: &File, part: Part, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let (mut offset, end) = (part.offset, part.offset + part.size);
    while offset < end {
        let room = usize::try_from(end - offset).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; room];
        let result = match file.read_at(&mut piece, offset) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                piece.truncate(length);
                offset += length as u64;
                Ok(Bytes::from(piece))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let last = result.is_err();
        if sender.blocking_send(result).is_err() || last {
            return;
        }
    }
}

fn send_pieces(file: &File, sender: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let result = match rustix::io::read(file, spare_capacity(&mut piece)) {
            Ok(0) => return,
            Ok(_) => Ok(Bytes::from(piece)),
            Err(Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
        let last = result.is_err();
        if sender.blocking_send(result).is_err() || last {
            return;
        }
    }
}

/// Runs file work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(Kind::Bug, "file work was cut off").caused_by(error))
}

/// Classifies what a layout says.
pub(crate) fn layout_error(error: dhow_layout::Error) -> Error {
    match &error {
        dhow_layout::Error::Digest { .. } => Error::new(Kind::DigestMismatch, error.to_string()),
        dhow_layout::Error::Size { .. } => Error::new(Kind::SizeMismatch, error.to_string()),
        // Somebody else goes on with it, or has finished it: it is to be asked for again.
        dhow_layout::Error::Start { .. } => {
            Error::new(Kind::Io, error.to_string()).retryable(Some(Duration::ZERO))
        }
        dhow_layout::Error::Index { .. } => Error::new(Kind::Invalid, error.to_string()),
        dhow_layout::Error::Io { action, path, .. } => {
            let (action, path) = (*action, path.clone());
            match error {
                dhow_layout::Error::Io { source, .. } => Error::file(action, &path, source),
                other => Error::new(Kind::Io, other.to_string()),
            }
        }
        _ => Error::new(Kind::Io, error.to_string()),
    }
}

/// Says of a place that is not there at all that the path is wrong. `Kind::NotFound` is for an
/// image that is missing from a place.
// COMPAT(skopeo): a missing image exits with 2, a missing directory with 1 (cmd/skopeo/utils.go).
pub(crate) fn place_is_absent(error: Error, what: &str) -> Error {
    if error.kind() != Kind::NotFound {
        return error;
    }
    let absent = Error::new(Kind::Io, error.to_string());
    let absent = absent.hint(format!("check the path: it should be {what}"));
    match std::error::Error::source(&error) {
        Some(source) => absent.caused_by(source.to_string()),
        None => absent,
    }
}

/// How many pieces wait between a file and the network.
const DEPTH: usize = 2;

/// The size of the pieces that are read from files, in bytes.
const PIECE: usize = 256 * 1024;
