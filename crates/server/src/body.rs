//! Bodies: what is answered, read from the file as the client takes it, and what is received.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::task::JoinHandle;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Body {
    Bytes(Bytes),
    File(FileBody),
}

impl Body {
    pub(crate) const fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }
}

/// A part of a file; one chunk of it is in memory at a time.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: Arc<File>,
    position: u64,
    remaining: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    pub(crate) fn new(file: File, position: u64, length: u64) -> Self {
        Self {
            file: Arc::new(file),
            position,
            remaining: length,
            reading: None,
        }
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(&self.file);
            let position = self.position;
            let length = usize::try_from(self.remaining).map_or(CHUNK, |all| all.min(CHUNK));
            tokio::task::spawn_blocking(move || read_chunk(&file, position, length))
        });
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let chunk = read.map_err(io::Error::other).flatten()?;
        self.position += chunk.len() as u64;
        self.remaining -= chunk.len() as u64;
        Poll::Ready(Some(Ok(chunk)))
    }
}

fn read_chunk(file: &File, position: u64, length: usize) -> io::Result<Bytes> {
    let mut chunk = BytesMut::zeroed(length);
    file.read_exact_at(&mut chunk, position)?;
    Ok(chunk.freeze())
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::File(file) => file
                .poll_chunk(context)
                .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.remaining,
        })
    }
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Received {
    body: Incoming,
    count: Arc<AtomicU64>,
}

impl Received {
    pub(crate) const fn new(body: Incoming, count: Arc<AtomicU64>) -> Self {
        Self { body, count }
    }

    /// Returns the next bytes, at most [`CHUNK`] and a little more at once, or `None` at the end.
    pub(crate) async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let frame = match tokio::time::timeout(PATIENCE, self.body.frame()).await {
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => frame.map_err(io::Error::other)?,
            };
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.count.fetch_add(data.len() as u64, Ordering::Relaxed);
                return Ok(Some(data));
            }
        }
    }

    /// Returns the whole body, or `None` when it has more than `limit` bytes.
    pub(crate) async fn collect(&mut self, limit: usize) -> io::Result<Option<Bytes>> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > limit {
                return Ok(None);
            }
            all.extend_from_slice(&chunk);
        }
        Ok(Some(all.freeze()))
    }

    /// Returns whether it is known that there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }
}

/// How much of a file is in memory for one connection.
pub(crate) const CHUNK: usize = 128 * 1024;

/// How long a client may be silent in the middle of a body.
const PATIENCE: Duration = Duration::from_mins(2);
