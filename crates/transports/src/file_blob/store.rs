//! Writing a blob into a file.
//!
//! ```text
//! stream ─▶ 2 pieces at most ─▶ blocking thread: write, hash ─▶ finish
//! file ──────────────────────▶ blocking thread: copy, read back, hash ─▶ finish
//! ```
//!
//! What an earlier process left of the blob is hashed while no piece waits, so that it keeps no
//! connection waiting. A future that is dropped ends the thread after its present piece.

use std::io;

use bytes::Bytes;
use dhow_layout::{BlobWriter, FileCopy};
use dhow_model::Digest;
use dhow_transport::{Blob, Body, Error, How, Kind, Placed};
use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::{DEPTH, layout_error};

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
    let mut writer = match expected {
        Some(digest) => writer.hashed_with(digest.algorithm()),
        None => writer,
    };
    match blob.body {
        Body::Bytes(bytes) => {
            let work = move |wanted: &dyn Fn() -> bool| {
                writer.write(&bytes)?;
                finish(writer, expected, How::Sent, wanted)
            };
            watched(work).await?.map_err(layout_error)?.ok_or_else(gone)
        }
        Body::File(part) => {
            let work = move |wanted: &dyn Fn() -> bool| {
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
            };
            watched(work).await?.map_err(layout_error)?.ok_or_else(gone)
        }
        Body::Stream(stream) => write_stream(writer, expected, stream).await,
    }
}

/// Writes what comes piece by piece.
async fn write_stream(
    mut writer: BlobWriter,
    expected: Option<Digest>,
    mut body: BoxStream<'static, io::Result<Bytes>>,
) -> Result<Placed, Error> {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(DEPTH);
    let (complete, is_complete) = oneshot::channel::<()>();
    let thread = watched(move |wanted| {
        write_pieces(&mut writer, &mut receiver)?;
        // A channel that was closed because the transfer broke or was dropped is no end.
        match is_complete.blocking_recv() {
            Ok(()) => finish(writer, expected, How::Sent, wanted),
            Err(_) => Ok(None),
        }
    });
    let mut broken = None;
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => {
                // The thread is gone when it could not write: its result says why.
                if sender.send(piece).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    match broken {
        None => drop(complete.send(())),
        Some(_) => drop(complete),
    }
    drop(sender);
    match (thread.await?.map_err(layout_error)?, broken) {
        (_, Some(error)) => Err(Error::from_stream(error)),
        (Some(placed), None) => Ok(placed),
        (None, None) => Err(gone()),
    }
}

/// Writes pieces as long as some come, and uses the time in which none come.
fn write_pieces(
    writer: &mut BlobWriter,
    receiver: &mut mpsc::Receiver<Bytes>,
) -> Result<(), dhow_layout::Error> {
    loop {
        let piece = match receiver.try_recv() {
            Ok(piece) => Some(piece),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) if writer.catch_up()? => continue,
            Err(TryRecvError::Empty) => receiver.blocking_recv(),
        };
        match piece {
            Some(piece) => writer.write(&piece)?,
            None => return Ok(()),
        }
    }
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
}
