//! Blobs in files: reading them, as parts of files or as streams, and writing them, with the file
//! work on blocking threads and a bounded number of pieces on the way.

mod pieces;
mod store;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhow_model::Descriptor;
use dhow_transport::{Blob, ByteRange, Error, FilePart, Kind};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

pub(crate) use self::store::store;

/// Reads an open file as a blob.
pub(crate) async fn read(file: File, blob: &Descriptor, range: ByteRange) -> Result<Blob, Error> {
    let size = move || file.metadata().map(|metadata| (file, metadata.len()));
    let (file, size) = blocking(size).await?.map_err(|error| {
        Error::new(Kind::Io, format!("cannot read blob {}", blob.digest)).caused_by(error)
    })?;
    read_part(Arc::new(file), Part { offset: 0, size }, blob, range)
}

/// Returns a part of a blob that is in memory.
pub(crate) fn in_memory(bytes: &Bytes, range: ByteRange) -> Blob {
    let skip = match range {
        ByteRange::All => 0,
        ByteRange::From(offset) => usize::try_from(offset).unwrap_or(usize::MAX),
    };
    let skip = skip.min(bytes.len());
    Blob::from_bytes(bytes.slice(skip..)).starting_at(skip as u64)
}

/// Reads a part of a file, such as a member of an archive, as a blob. Several can read one file at
/// once.
pub(crate) fn read_part(
    file: Arc<File>,
    part: Part,
    blob: &Descriptor,
    range: ByteRange,
) -> Result<Blob, Error> {
    // Schema 1 manifests do not say how large their layers are.
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
    let part = FilePart {
        file: Arc::clone(&file),
        offset: rest.offset,
        length: rest.size,
        stream: pieces::of(file, rest),
    };
    Ok(Blob::from_file(part).starting_at(skip))
}

/// A part of a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// Returns what `work` sends, which runs where it may block, from the first poll on. It ends when all
/// is sent, or when sending fails because the stream is gone.
pub(crate) fn produced(
    work: impl FnOnce(&mpsc::Sender<io::Result<Bytes>>) + Send + 'static,
) -> BoxStream<'static, io::Result<Bytes>> {
    let start = async move {
        let (sender, receiver) = mpsc::channel(DEPTH);
        drop(tokio::task::spawn_blocking(move || work(&sender)));
        stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        })
    };
    stream::once(start).flatten().boxed()
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
    use dhow_layout::Error as Said;
    let message = error.to_string();
    match error {
        Said::Digest { .. } => Error::new(Kind::DigestMismatch, message),
        Said::Size { .. } => Error::new(Kind::SizeMismatch, message),
        Said::Index { .. } => Error::new(Kind::Invalid, message),
        // Somebody else goes on with it, or has finished it: it is to be asked for again.
        Said::Start { .. } => Error::new(Kind::Io, message).retryable(Some(Duration::ZERO)),
        Said::Read { source } => Error::new(Kind::Io, message).caused_by(source),
        Said::Io {
            action,
            path,
            source,
        } => Error::file(action, &path, source),
        _ => Error::new(Kind::Io, message),
    }
}

/// Says of a place that is not there at all that the path is wrong. `Kind::NotFound` is for an
/// image that is missing from a place.
// COMPAT(skopeo): a missing image exits with 2, a missing directory with 1 (cmd/skopeo/utils.go).
pub(crate) fn place_is_absent(error: Error, what: &str) -> Error {
    if error.kind() != Kind::NotFound {
        return error;
    }
    // Its causes as words: they still say that something is not there, and so would the whole.
    let absent = Error::new(Kind::Io, error.to_string());
    let absent = absent.hint(format!("check the path: it should be {what}"));
    match std::error::Error::source(&error) {
        Some(source) => absent.caused_by(source.to_string()),
        None => absent,
    }
}

/// How many pieces wait between a file and the network.
const DEPTH: usize = 2;
