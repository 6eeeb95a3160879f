//! Blobs on their way: what is wanted, the bytes, and what became of them.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dhow_model::{Annotations, Descriptor, Digest, MediaType, Repository};
use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;

use crate::Result;

/// The bytes of a blob.
#[derive(Debug)]
pub struct Blob {
    /// The number of bytes that come, where it is known beforehand.
    pub size: Option<u64>,
    /// How many will probably come, where that is not known and something hints at it. Nothing can be
    /// relied on.
    pub likely: Option<u64>,
    /// The position (bytes, 0-based) in the whole blob of the first byte that comes.
    pub start: u64,
    /// The bytes.
    pub body: Body,
}

impl Blob {
    /// Returns a blob that is in memory.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self {
            size: Some(bytes.len() as u64),
            likely: None,
            start: 0,
            body: Body::Bytes(bytes),
        }
    }

    /// Returns a blob that arrives in pieces.
    pub fn from_stream(size: Option<u64>, stream: BoxStream<'static, io::Result<Bytes>>) -> Self {
        Self {
            size,
            likely: None,
            start: 0,
            body: Body::Stream(stream),
        }
    }

    /// Returns a blob that lies in a file.
    pub fn from_file(part: FilePart) -> Self {
        Self {
            size: Some(part.length),
            likely: None,
            start: 0,
            body: Body::File(part),
        }
    }

    /// Says that what comes is the end of the blob, from `start` (bytes, 0-based) on.
    #[must_use]
    pub const fn starting_at(mut self, start: u64) -> Self {
        self.start = start;
        self
    }

    /// Says how many bytes will probably come.
    #[must_use]
    pub const fn likely(mut self, likely: Option<u64>) -> Self {
        self.likely = likely;
        self
    }
}

/// Where the bytes come from.
pub enum Body {
    /// From memory.
    Bytes(Bytes),
    /// Piece by piece. Dropping the stream abandons the transfer.
    Stream(BoxStream<'static, io::Result<Bytes>>),
    /// From a file of this machine, which the kernel can copy.
    File(FilePart),
}

/// A part of a file.
pub struct FilePart {
    /// The file.
    pub file: Arc<File>,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// The same bytes as a stream, which reads nothing before it is polled.
    pub stream: BoxStream<'static, io::Result<Bytes>>,
}

impl Body {
    /// Returns the bytes as a stream, whatever they are.
    pub fn into_stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        match self {
            Self::Bytes(bytes) => futures_util::stream::once(async move { Ok(bytes) }).boxed(),
            Self::Stream(stream) => stream,
            Self::File(part) => part.stream,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
            Self::File(part) => part.fmt(f),
        }
    }
}

impl fmt::Debug for FilePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilePart")
            .field("offset", &self.offset)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Which bytes of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// All.
    All,
    /// From this offset (0-based) to the end.
    From(u64),
}

/// A part of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobPart {
    /// Where it begins, in bytes (0-based).
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// The parts of one blob at its source, for a sink that may need only some of them.
#[async_trait]
pub trait BlobParts: fmt::Debug + Send + Sync + 'static {
    /// Returns what the manifest says of the blob.
    fn blob(&self) -> &Descriptor;

    /// Opens a part. What comes is not verified, not even its length.
    async fn part(&self, part: BlobPart) -> Result<Blob>;
}

/// A blob that the destination is to have.
#[derive(Clone, Debug)]
pub struct BlobWant {
    /// The digest, unless it is known only when the last byte has been made.
    pub digest: Option<Digest>,
    /// The size in bytes, likewise.
    pub size: Option<u64>,
    /// The size, in bytes, of the blob that it is made from, where its own is not known.
    pub made_from: Option<u64>,
    /// The media type.
    pub media_type: MediaType,
    /// What the blob is in its image.
    pub slot: Slot,
    /// Repositories of the destination's registry that have the blob.
    pub mount_from: Vec<Repository>,
    /// These very bytes are put if they are not there, so that a sink may begin to take them when it
    /// is asked.
    pub comes: bool,
    /// What the source's manifest says of the bytes that are put; nothing where they change.
    pub annotations: Annotations,
}

/// What a blob is in its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The config.
    Config,
    /// A layer, counted from the base (0-based).
    Layer {
        /// Its place.
        index: usize,
    },
    /// Something else.
    Other,
}

/// What is about to be put for one image; told before its first blob.
#[derive(Clone, Debug, Default)]
pub struct Coming {
    /// The layers in the order of the manifest, base first, each blob once.
    pub layers: Vec<ComingLayer>,
    /// The config of the image, verified, where the sink asks for it ([`crate::SinkCaps::config_first`])
    /// and the source has one.
    pub config: Option<Bytes>,
    /// The index that the image was chosen from, as received.
    pub index: Option<Bytes>,
}

/// A layer that is about to be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComingLayer {
    /// The index of its [`Slot`].
    pub index: usize,
    /// The digest of the blob that the source has.
    pub digest: Digest,
    /// The size of that blob in bytes, where the manifest tells.
    pub size: Option<u64>,
}

/// A blob that the destination has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The digest under which it is there.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How it got there.
    pub how: How,
}

/// How a blob got to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its bytes were sent.
    Sent,
    /// It was there.
    Present,
    /// The registry took it from another of its repositories.
    Mounted,
    /// The file system linked or cloned it.
    Linked,
    /// It was put together from what was there and parts of it.
    Parts {
        /// How many bytes of it came.
        fetched: u64,
    },
}

impl How {
    /// Returns whether the destination had all of it, by its own account.
    pub const fn was_there(self) -> bool {
        matches!(self, Self::Present | Self::Mounted | Self::Linked)
    }
}
