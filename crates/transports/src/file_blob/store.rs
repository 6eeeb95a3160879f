//! Writing a blob into a file.
//!
//! ```text
//! stream ─▶ blocking thread: read, write, hash ─▶ finish
//!     └───▶ here, if it is small and the file in memory
//! file ───▶ blocking thread: copy, read back, hash ─▶ finish
//! ```
//!
//! The thread takes the pieces out of the stream by itself: a piece that is handed over to it costs
//! as much as writing it. What an earlier process left of the blob is hashed while no piece waits, so
//! that it keeps no connection waiting. A future that is dropped ends the thread after its present
//! piece.
//!
//! Many small blobs at once would have a thread each, which is woken for nearly every piece. Where
//! writing never waits, the threads that look after the connections write what they read.

use std::io;
use std::task::Poll;

use bytes::Bytes;
use dhow_codec::{Pull, pull};
use dhow_layout::{BlobWriter, FileCopy};
use dhow_model::Digest;
use dhow_transport::{Blob, Body, Error, FilePart, How, Kind, Placed};
use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use tokio::sync::oneshot;
use tokio::task::coop;

use super::layout_error;

/// The largest blob, in bytes, that is written where it comes: one that is larger keeps a thread busy.
const SMALL: u64 = 16 * 1024 * 1024;

/// Stores `blob` through `writer`, under `expected` or under the digest it turns out to have.
///
/// # Errors
/// When the blob starts elsewhere than the writer goes on.
pub(crate) async fn store(
    writer: BlobWriter,
    expected: Option<Digest>,
    blob: Blob,
) -> Result<Placed, Error> {
    let (start, kept) = (blob.start, writer.written());
    if start != kept {
        return Err(layout_error(dhow_layout::Error::Start { start, kept }));
    }
    let is_small = start == 0 && blob.size.is_some_and(|size| size <= SMALL);
    let mut writer = match expected {
        Some(digest) => writer.hashed_with(digest.algorithm()),
        None => writer,
    };
    let placed = match blob.body {
        Body::Bytes(bytes) => {
            let work = move |wanted: &dyn Fn() -> bool| {
                writer.write(&bytes)?;
                finish(writer, expected, How::Sent, wanted)
            };
            watched(work).await?.map_err(layout_error)?
        }
        Body::File(part) => {
            let work = move |wanted: &dyn Fn() -> bool| write_file(writer, expected, &part, wanted);
            watched(work).await?.map_err(layout_error)?
        }
        Body::Stream(stream) if is_small && writer.is_in_memory() => {
            let writer = write_here(writer, stream).await?;
            let work = move |wanted: &dyn Fn() -> bool| finish(writer, expected, How::Sent, wanted);
            watched(work).await?.map_err(layout_error)?
        }
        Body::Stream(stream) => {
            let (pull, _wanted) = pull(stream);
            let work =
                move |wanted: &dyn Fn() -> bool| write_stream(writer, expected, pull, wanted);
            watched(work).await??
        }
    };
    placed.ok_or_else(gone)
}

/// Writes a part of a file, as the file systems can. `None` when nobody waits for it any more.
fn write_file(
    mut writer: BlobWriter,
    expected: Option<Digest>,
    part: &FilePart,
    wanted: &dyn Fn() -> bool,
) -> Result<Option<Placed>, dhow_layout::Error> {
    let mut copy = FileCopy::new(&part.file, part.offset, part.length);
    while copy.step(&mut writer)? {
        if !wanted() {
            return Ok(None);
        }
    }
    let how = if copy.was_cloned() {
        How::Linked
    } else {
        How::Sent
    };
    finish(writer, expected, how, wanted)
}

/// Writes what comes piece by piece, and uses the time in which none comes.
fn write_stream(
    mut writer: BlobWriter,
    expected: Option<Digest>,
    mut pull: Pull,
    wanted: &dyn Fn() -> bool,
) -> Result<Option<Placed>, Error> {
    let mut is_behind = true;
    loop {
        let piece = if is_behind {
            match pull.piece_now().map_err(Error::from_stream)? {
                Poll::Ready(piece) => piece,
                Poll::Pending => {
                    is_behind = writer.catch_up().map_err(layout_error)?;
                    continue;
                }
            }
        } else {
            pull.piece().map_err(Error::from_stream)?
        };
        let Some(piece) = piece else {
            return finish(writer, expected, How::Sent, wanted).map_err(layout_error);
        };
        writer.write(&piece).map_err(layout_error)?;
    }
}

/// Writes what comes piece by piece, without waiting for anything but the pieces.
async fn write_here(
    mut writer: BlobWriter,
    mut stream: BoxStream<'static, io::Result<Bytes>>,
) -> Result<BlobWriter, Error> {
    while let Some(piece) = stream.next().await {
        // What never waits would keep all others waiting.
        coop::consume_budget().await;
        let piece = piece.map_err(Error::from_stream)?;
        writer.write(&piece).map_err(layout_error)?;
    }
    Ok(writer)
}

/// Makes the blob visible when its bytes are right; `None` when nobody waits for it any more.
fn finish(
    mut writer: BlobWriter,
    expected: Option<Digest>,
    how: How,
    wanted: &dyn Fn() -> bool,
) -> Result<Option<Placed>, dhow_layout::Error> {
    while writer.catch_up()? {
        if !wanted() {
            return Ok(None);
        }
    }
    let (digest, size) = match expected {
        Some(digest) => {
            let size = writer.written();
            writer.finish(&digest)?;
            (digest, size)
        }
        None => writer.finish_as_is()?,
    };
    Ok(Some(Placed { digest, size, how }))
}

/// Starts file work where it may block, and returns what gives its result. The work can ask whether
/// that is still waited for.
fn watched<T: Send + 'static>(
    work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
) -> impl Future<Output = Result<T, Error>> {
    let (answer, answered) = oneshot::channel();
    // Ends by itself: when it is done, or when it sees that nobody waits.
    drop(tokio::task::spawn_blocking(move || {
        let value = work(&|| !answer.is_closed());
        drop(answer.send(value));
    }));
    async { answered.await.map_err(|_| gone()) }
}

fn gone() -> Error {
    Error::new(Kind::Bug, "a writer ended before its blob")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread::{self, ThreadId};

    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn work_sees_that_nobody_waits_for_it() {
        let (seen, is_seen) = oneshot::channel();
        let work = move |wanted: &dyn Fn() -> bool| {
            while wanted() {
                std::thread::yield_now();
            }
            seen.send(()).is_ok()
        };
        drop(watched(work));
        is_seen.await.unwrap();
        assert!(watched(|wanted| wanted()).await.unwrap());
    }

    /// Returns which thread reads a stream that is written into a folder, and whether that is in memory.
    async fn reader_of(folder: &Path, size: Option<u64>) -> (ThreadId, bool) {
        let folder = tempfile::tempdir_in(folder).unwrap();
        let writer = BlobWriter::create_flat(folder.path(), None).unwrap();
        let is_in_memory = writer.is_in_memory();
        let (tell, told) = oneshot::channel();
        let piece = async {
            tell.send(thread::current().id()).unwrap();
            Ok(Bytes::from_static(b"piece"))
        };
        let blob = Blob::from_stream(size, stream::once(piece).boxed());
        let placed = store(writer, None, blob).await.unwrap();
        assert_eq!(placed.digest, Digest::sha256(b"piece"));
        assert_eq!(
            std::fs::read(folder.path().join(placed.digest.hex())).unwrap(),
            b"piece"
        );
        (told.await.unwrap(), is_in_memory)
    }

    #[tokio::test]
    async fn a_small_blob_in_memory_is_written_where_it_comes() {
        for folder in [&std::env::temp_dir(), Path::new("/dev/shm")] {
            if !folder.is_dir() {
                continue;
            }
            let here = thread::current().id();
            let (reader, is_in_memory) = reader_of(folder, Some(5)).await;
            assert_eq!(reader == here, is_in_memory, "{}", folder.display());
            for size in [None, Some(SMALL + 1)] {
                assert_ne!(reader_of(folder, size).await.0, here);
            }
        }
    }
}
