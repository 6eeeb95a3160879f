//! One connection, as hyper takes it: the bytes, and how requests are to be written to it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{self, Connected};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::ahead::Open;
use super::drive::Wheel;

/// Bytes in both directions: TCP, TLS, or TLS in the TLS of a proxy.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection.
pub(super) struct Connection {
    stream: TokioIo<Box<dyn Stream>>,
    speaks: Speaks,
    wheel: Wheel,
    _counted: Open,
}

/// How requests are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP/1.1, to the server.
    Http1,
    /// HTTP/1.1, with whole URLs, which a proxy wants.
    Http1ToProxy,
    /// HTTP/2, to the server.
    Http2,
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Stream>, speaks: Speaks, counted: Open) -> Self {
        Self {
            stream: TokioIo::new(stream),
            speaks,
            wheel: Wheel::default(),
            _counted: counted,
        }
    }
}

impl connect::Connection for Connection {
    fn connected(&self) -> Connected {
        match self.speaks {
            Speaks::Http1 => Connected::new().extra(self.wheel.clone()),
            Speaks::Http1ToProxy => Connected::new().proxy(true).extra(self.wheel.clone()),
            Speaks::Http2 => Connected::new().negotiated_h2(),
        }
    }
}

impl Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.wheel.learn();
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }
}
