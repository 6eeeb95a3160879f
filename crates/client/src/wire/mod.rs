//! Connections, and one request on one of them: HTTP/1.1 and HTTP/2 by hyper, TLS by rustls.
//!
//! ```text
//! Wire         one request: what all of them carry, and the pool of connections
//!  Connector   one connection: TCP with the guard's resolver, a proxy, TLS
//!   Ahead      those that are made before they are asked for
//!   Hop        the proxy on the way
//!   Connection the bytes, and what hyper must know of them
//!   Drive      who moves it on: the runtime, or whoever reads an answer
//! ```
//!
//! Nothing here follows redirects, decompresses, keeps cookies, or tries again what a server may
//! have seen; that is for [`Channel`](crate::channel::Channel). Why this is not reqwest:
//! `docs/decisions/0013`.

mod ahead;
mod body;
mod client;
mod connection;
mod connector;
mod drive;
mod error;
mod hop;

pub(crate) use body::{Incoming, Outgoing};
pub(crate) use client::{Wire, WireOptions};
pub(crate) use error::{BoxError, Unresolved, WireError};
