//! What an upload takes and gives back.

use std::io;

use bytes::Bytes;
use dhow_model::Digest;
use futures_core::stream::BoxStream;
use futures_util::stream::{self, StreamExt as _};

/// How the bytes of a blob are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UploadMethod {
    /// One PUT with the whole blob, where that is possible.
    Put,
    /// One PATCH, then an empty PUT.
    Patch,
    /// Several PATCHes, then an empty PUT.
    Chunks,
}

/// A blob to be sent.
pub struct Content {
    /// The position (bytes, 0-based) in the blob of the first byte that comes.
    pub start: u64,
    /// The bytes.
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
    /// The size of the whole blob, if it is known.
    pub size: Option<u64>,
    /// The digest of the whole blob; computed while it is sent if it is not known.
    pub digest: Option<Digest>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("size", &self.size)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Content {
    /// Returns bytes that are in memory as a blob.
    pub fn from_bytes(bytes: Bytes, digest: Option<Digest>) -> Self {
        Self {
            start: 0,
            size: Some(bytes.len() as u64),
            digest,
            bytes: stream::iter([Ok(bytes)]).boxed(),
        }
    }
}

/// What a registry has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// The digest of the blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}
