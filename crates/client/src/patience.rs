//! How long the client waits for what.

use std::time::Duration;

/// How long the client waits before it takes a connection for broken. Whatever is waited for has a
/// bound, so that a server that stops answering is a retry and then an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection to be made: name, TCP, proxy and TLS together.
    pub connect: Duration,
    /// For the beginning of an answer to a read.
    pub answer: Duration,
    /// For the answer to a write: registries check and move whole blobs before they give it.
    pub commit: Duration,
    /// For the next byte of a body, in either direction.
    pub stall: Duration,
    /// For a mirror to begin its answer, when there are other places to ask.
    pub mirror: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            answer: Duration::from_mins(1),
            commit: Duration::from_mins(10),
            stall: Duration::from_mins(1),
            mirror: Duration::from_secs(15),
        }
    }
}
