//! The body of a request, and that of an answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::drive::Taken;
use crate::feed::Part;

/// What a request carries, with its length where that is known.
pub(crate) enum Outgoing {
    /// Bytes that can be sent again; none at all for a request without a body.
    Bytes(Bytes),
    /// A part of an upload, which can be sent once.
    Part(Part),
}

impl Outgoing {
    /// Returns the same body once more, where there can be one.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Bytes(bytes) => Some(Self::Bytes(bytes.clone())),
            Self::Part(_) => None,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Part(part) => Pin::new(part).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Part(part) => part.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Part(part) => part.size_hint(),
        }
    }
}

/// What an answer carries. Whoever reads it moves its connection on.
#[derive(Debug)]
pub(crate) struct Incoming {
    body: hyper::body::Incoming,
    /// Until the body has ended.
    connection: Option<Taken>,
}

impl Incoming {
    pub(super) const fn new(body: hyper::body::Incoming, connection: Option<Taken>) -> Self {
        Self { body, connection }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Some(connection) = &this.connection {
            connection.poll(cx);
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        // With the last bytes, where that is known: while they are used the connection becomes free.
        let is_over = match &polled {
            Poll::Ready(Some(Ok(_))) => this.body.is_end_stream(),
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Pending => false,
        };
        if is_over {
            this.connection = None;
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
