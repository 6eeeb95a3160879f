//! Watches the bytes that come from the source: counts them, and remembers why they ended.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dhow_codec::MAGIC;
use dhow_codec::VerifyError;
use dhow_model::Compression;
use dhow_transport::{Error, Kind};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};

/// Where the error of a source is kept while its sink reports a stream that broke.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fault(Arc<Mutex<Option<Error>>>);

impl Fault {
    /// Returns the error of the source, if it was the source that broke.
    pub(crate) fn take(&self) -> Option<Error> {
        self.0.lock().ok()?.take()
    }
}

/// Counts what passes.
pub(crate) fn count(
    body: BoxStream<'static, io::Result<Bytes>>,
    counter: Arc<AtomicU64>,
) -> BoxStream<'static, io::Result<Bytes>> {
    body.inspect(move |piece| {
        if let Ok(piece) = piece {
            counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    })
    .boxed()
}

/// Drops the first bytes.
pub(crate) fn skip(
    body: BoxStream<'static, io::Result<Bytes>>,
    count: u64,
) -> BoxStream<'static, io::Result<Bytes>> {
    if count == 0 {
        return body;
    }
    let mut left = count;
    body.map(move |piece| {
        piece.map(|mut piece| {
            let dropped = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            left -= dropped as u64;
            piece.split_off(dropped)
        })
    })
    .boxed()
}

/// Remembers the first error that passes.
pub(crate) fn watch(
    body: BoxStream<'static, io::Result<Bytes>>,
    fault: &Fault,
) -> BoxStream<'static, io::Result<Bytes>> {
    let fault = fault.clone();
    body.map(move |piece| {
        piece.map_err(|error| {
            if let Ok(mut slot) = fault.0.lock() {
                slot.get_or_insert(classify(error));
            }
            io::Error::other("the source broke")
        })
    })
    .boxed()
}

/// Returns the compression that the first bytes show, and the body, whole.
pub(crate) async fn compression(
    mut body: BoxStream<'static, io::Result<Bytes>>,
) -> (Option<Compression>, BoxStream<'static, io::Result<Bytes>>) {
    let (mut start, mut pieces) = (Vec::with_capacity(MAGIC), Vec::new());
    while start.len() < MAGIC {
        let Some(piece) = body.next().await else {
            break;
        };
        let broken = piece.is_err();
        if let Ok(piece) = &piece {
            start.extend(piece.iter().take(MAGIC - start.len()));
        }
        pieces.push(piece);
        if broken {
            break;
        }
    }
    let found = dhow_codec::detect(&start);
    (found, stream::iter(pieces).chain(body).boxed())
}

/// Turns the error of a stream into one that says what is wrong with the content.
pub(crate) fn classify(error: io::Error) -> Error {
    let verdict = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<VerifyError>());
    match verdict {
        Some(verdict @ VerifyError::Digest { .. }) => {
            Error::new(Kind::DigestMismatch, verdict.to_string())
        }
        // A body that ends early has been cut off on its way more often than it is wrong.
        Some(verdict @ VerifyError::TooShort { .. }) => {
            Error::new(Kind::SizeMismatch, verdict.to_string()).retryable(None)
        }
        Some(verdict) => Error::new(Kind::SizeMismatch, verdict.to_string()),
        None => Error::from_stream(error),
    }
}
