//! A blob whose digest must be known before it is sent waits in a file that nobody else sees.

use std::io;
use std::path::Path;

use dhow_transport::{Blob, Error, Result};
use futures_util::StreamExt as _;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

/// Writes a blob into a file without a name in `folder`, and returns it with its size.
pub(super) async fn whole(blob: Blob, folder: &Path) -> Result<Blob> {
    let unwritten = |error: io::Error| Error::file("write into", folder, error);
    let file = tempfile::tempfile_in(folder).map_err(unwritten)?;
    let mut file = tokio::fs::File::from_std(file);
    let mut body = blob.body.into_stream();
    let mut size = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(Error::from_stream)?;
        file.write_all(&piece).await.map_err(unwritten)?;
        size += piece.len() as u64;
    }
    file.flush().await.map_err(unwritten)?;
    file.rewind().await.map_err(unwritten)?;
    let pieces = ReaderStream::with_capacity(file, PIECE);
    Ok(Blob::from_stream(Some(size), pieces.boxed()))
}

/// The size of the pieces that are read, in bytes.
const PIECE: usize = 64 * 1024;
