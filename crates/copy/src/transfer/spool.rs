//! A blob whose digest must be known before it is sent waits in a file that nobody else sees.

use std::io;
use std::path::Path;

use dhow_model::{Algorithm, Digest, Hasher};
use dhow_transport::{Blob, Error, Result};
use futures_util::StreamExt as _;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

/// Writes a blob into a file without a name in `folder`, and returns it with its size, and its digest.
pub(super) async fn whole(blob: Blob, folder: &Path) -> Result<(Blob, Digest)> {
    let unwritten = |error: io::Error| Error::file("write into", folder, error);
    let file = tempfile::tempfile_in(folder).map_err(unwritten)?;
    let mut file = tokio::fs::File::from_std(file);
    let mut body = blob.body.into_stream();
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut size = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(Error::from_stream)?;
        file.write_all(&piece).await.map_err(unwritten)?;
        hasher.update(&piece);
        size += piece.len() as u64;
    }
    file.flush().await.map_err(unwritten)?;
    file.rewind().await.map_err(unwritten)?;
    let pieces = ReaderStream::with_capacity(file, PIECE);
    let blob = Blob::from_stream(Some(size), pieces.boxed());
    Ok((blob, hasher.finish()))
}

/// The size of the pieces that are read, in bytes.
const PIECE: usize = 64 * 1024;
