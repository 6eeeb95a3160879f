//! The bytes of an upload, handed to requests piece by piece: counted, hashed where nobody knows
//! the digest yet, and with the reader's own error kept apart from the connection's.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use dhow_model::{Algorithm, Digest, Hasher};
use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use http_body::{Body, Frame, SizeHint};

/// The source of one upload. Its parts are handed to one request after the other.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Mutex<State>>);

struct State {
    stream: BoxStream<'static, io::Result<Bytes>>,
    /// What was read and not yet handed out.
    rest: Bytes,
    taken: u64,
    /// How many bytes there must be in all, where that is known.
    total: Option<u64>,
    hasher: Option<Hasher>,
    failure: Option<io::Error>,
    ended: bool,
}

impl Feed {
    /// Starts a feed. `hashes` says whether the digest is to be computed.
    pub(crate) fn new(
        stream: BoxStream<'static, io::Result<Bytes>>,
        total: Option<u64>,
        hashes: bool,
    ) -> Self {
        Self(Arc::new(Mutex::new(State {
            stream,
            rest: Bytes::new(),
            taken: 0,
            total,
            hasher: hashes.then(|| Hasher::new(Algorithm::Sha256)),
            failure: None,
            ended: false,
        })))
    }

    /// Says at which position (bytes, 0-based) the stream begins.
    pub(crate) fn starting_at(self, start: u64) -> Self {
        self.lock().taken = start;
        self
    }

    /// Returns a body of the next `length` bytes, or of all that is left.
    pub(crate) fn body(&self, length: Option<u64>) -> Part {
        Part {
            feed: self.clone(),
            left: length,
        }
    }

    /// Reads and drops bytes that the server has already.
    pub(crate) async fn skip(&self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let piece = futures_util::future::poll_fn(|cx| self.lock().poll(cx, count)).await;
            match piece {
                Some(Ok(bytes)) => count -= bytes.len() as u64,
                Some(Err(error)) => return Err(error),
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the blob is shorter than what the registry has of it",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns the position of the next byte to be handed out.
    pub(crate) fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// Returns whether the last byte was handed out.
    pub(crate) fn ended(&self) -> bool {
        self.lock().ended
    }

    /// Returns the error of the reader, if that is why a request broke.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.lock().failure.take()
    }

    /// Returns the digest of everything handed out.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.lock().hasher.take().map(Hasher::finish)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the next piece, of at most `most` bytes.
    fn poll(&mut self, cx: &mut Context<'_>, most: u64) -> Poll<Option<io::Result<Bytes>>> {
        while self.rest.is_empty() {
            if self.ended {
                return Poll::Ready(None);
            }
            match self.stream.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => self.rest = bytes,
                Poll::Ready(Some(Err(error))) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => self.ended = true,
            }
        }
        match self.poll_end(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
            Poll::Ready(Ok(())) => {}
        }
        let length = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(self.rest.len());
        let piece = self.rest.slice(..length);
        self.rest.advance(length);
        self.taken += piece.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        Poll::Ready(Some(Ok(piece)))
    }

    /// Holds the last bytes back until the stream has ended as it should: a reader that verifies
    /// what it reads says so at its end, and a server that has all bytes may store them.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(total) = self.total else {
            return Poll::Ready(Ok(()));
        };
        let left = total.saturating_sub(self.taken);
        let too_long = || {
            let message = format!("the blob has more than the {total} bytes it should have");
            Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, message)))
        };
        if self.rest.len() as u64 > left {
            return too_long();
        }
        while self.rest.len() as u64 == left && !self.ended {
            match self.stream.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) if bytes.is_empty() => {}
                Poll::Ready(Some(Ok(_))) => return too_long(),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => self.ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

/// The body of one request.
pub(crate) struct Part {
    feed: Feed,
    /// How many bytes are still to come; `None`: all there are.
    left: Option<u64>,
}

impl Body for Part {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let most = self.left.unwrap_or(u64::MAX);
        if most == 0 {
            return Poll::Ready(None);
        }
        let feed = self.feed.clone();
        let mut state = feed.lock();
        let polled = match state.poll(cx, most) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(polled) => polled,
        };
        let failure = match polled {
            Some(Ok(bytes)) => {
                if let Some(left) = &mut self.left {
                    *left -= bytes.len() as u64;
                }
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            None if self.left.is_none() => return Poll::Ready(None),
            None => io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the blob is {most} bytes shorter than it should be"),
            ),
            Some(Err(error)) => error,
        };
        state.failure = Some(failure);
        Poll::Ready(Some(Err(io::Error::other("the bytes to send are missing"))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
