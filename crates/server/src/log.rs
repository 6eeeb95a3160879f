//! One line per request, when its answer is through.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::body::Body;

/// Is told about each request once its answer was sent or given up.
pub trait RequestLog: Send + Sync + Debug {
    /// Takes one request. It is called on the thread that serves others too, so it is quick.
    fn request(&self, line: &RequestLine);
}

/// What happened to one request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestLine {
    /// Who asked.
    pub remote: SocketAddr,
    /// The method.
    pub method: String,
    /// The path, without the query, which may hold secrets.
    pub path: String,
    /// The status answered; 0 when the client was gone before there was one.
    pub status: u16,
    /// How many bytes of the request's body came.
    pub bytes_in: u64,
    /// How many bytes of the answer's body were sent.
    pub bytes_out: u64,
    /// From the request's header to the last byte.
    pub duration: Duration,
    /// The user, once known.
    pub user: Option<String>,
}

/// Writes each request as a `tracing` event.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingLog;

impl RequestLog for TracingLog {
    fn request(&self, line: &RequestLine) {
        tracing::info!(
            remote = %line.remote,
            method = line.method,
            path = line.path,
            status = line.status,
            bytes_in = line.bytes_in,
            bytes_out = line.bytes_out,
            milliseconds = u64::try_from(line.duration.as_millis()).unwrap_or(u64::MAX),
            user = line.user,
            "request"
        );
    }
}

/// A request whose line is written when this is dropped.
#[derive(Debug)]
pub(crate) struct PendingLine {
    pub(crate) line: RequestLine,
    pub(crate) received: Arc<AtomicU64>,
    started: Instant,
    log: Arc<dyn RequestLog>,
}

impl PendingLine {
    pub(crate) fn new(
        remote: SocketAddr,
        method: &http::Method,
        path: &str,
        log: Arc<dyn RequestLog>,
    ) -> Self {
        Self {
            line: RequestLine {
                remote,
                method: method.as_str().to_owned(),
                path: path.to_owned(),
                status: 0,
                bytes_in: 0,
                bytes_out: 0,
                duration: Duration::ZERO,
                user: None,
            },
            received: Arc::default(),
            started: Instant::now(),
            log,
        }
    }
}

impl Drop for PendingLine {
    fn drop(&mut self) {
        self.line.bytes_in = self.received.load(Ordering::Relaxed);
        self.line.duration = self.started.elapsed();
        self.log.request(&self.line);
    }
}

/// An answer's body that counts what is sent.
#[derive(Debug)]
pub(crate) struct LoggedBody {
    body: Body,
    pending: PendingLine,
}

impl LoggedBody {
    pub(crate) const fn new(body: Body, pending: PendingLine) -> Self {
        Self { body, pending }
    }
}

impl http_body::Body for LoggedBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.pending.line.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
