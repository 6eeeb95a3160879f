//! Reading from memory.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use dhow_model::{Descriptor, Digest, RawManifest};
use dhow_transport::{
    Blob, BlobPart, ByteRange, Error, Kind, Location, Result, Source, SourceCaps,
};
use futures_util::{StreamExt as _, stream};

use super::{Call, Fault, Memory};

/// A place in memory, opened for reading.
#[derive(Debug)]
pub(super) struct MemorySource(pub(super) Memory);

#[async_trait]
impl Source for MemorySource {
    fn location(&self) -> &dyn Location {
        &self.0
    }

    fn caps(&self) -> SourceCaps {
        self.0.0.source_caps
    }

    fn is_near(&self) -> bool {
        !self.0.0.far
    }

    fn expect_blob(&self, at_once: usize) {
        let mut state = self.0.state();
        state.awaited += 1;
        state.expected = at_once;
    }

    async fn root(&self) -> Result<RawManifest> {
        self.0.record(Call::Root);
        let missing = || Error::new(Kind::NotFound, "there is no image");
        let root = self.0.root().ok_or_else(missing)?;
        self.0.busy(&root.digest())?;
        Ok(root)
    }

    async fn manifest(&self, digest: &Digest) -> Result<RawManifest> {
        self.0.record(Call::Manifest(*digest));
        self.0.busy(digest)?;
        self.0
            .manifest(digest)
            .ok_or_else(|| Error::new(Kind::NotFound, format!("there is no manifest `{digest}`")))
    }

    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob> {
        let digest = blob.digest;
        self.0.record(Call::Blob(digest));
        let missing = || Error::new(Kind::NotFound, format!("there is no blob `{digest}`"));
        let whole = self.0.blob(&digest).ok_or_else(missing)?;
        let size = whole.len() as u64;
        let (bytes, end) = self.spoil(digest, whole);
        let offset = match range {
            ByteRange::All => 0,
            ByteRange::From(offset) => usize::try_from(offset).unwrap_or(usize::MAX),
        };
        let bytes = bytes.slice(offset.min(bytes.len())..);
        let pieces: Vec<Bytes> = bytes
            .chunks(PIECE)
            .map(|piece| bytes.slice_ref(piece))
            .collect();
        let pieces = stream::iter(pieces).then(|piece| async move {
            // Others get their turn, so that transfers overlap on one thread too.
            tokio::task::yield_now().await;
            Ok(piece)
        });
        let body = match end {
            End::Whole => pieces.boxed(),
            End::Broken => {
                let broken = io::Error::other("the connection broke");
                pieces.chain(stream::iter([Err(broken)])).boxed()
            }
            End::Never => pieces.chain(stream::pending()).boxed(),
        };
        Ok(Blob::from_stream(Some(size - offset as u64), body))
    }

    async fn part(&self, blob: &Descriptor, part: BlobPart) -> Result<Blob> {
        self.0.record(Call::Part(blob.digest, part));
        if self.0.has_fault(&Fault::Unparted(blob.digest)) {
            return Err(Error::unsupported("there are no parts"));
        }
        let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
        let whole = self.0.blob(&blob.digest).unwrap_or_default();
        let part = at(part.offset)..at(part.offset + part.length);
        Ok(Blob::from_bytes(whole.slice(part)))
    }
}

/// How a body ends.
enum End {
    Whole,
    Broken,
    Never,
}

impl MemorySource {
    /// Applies what is to go wrong with a blob.
    fn spoil(&self, digest: Digest, whole: Bytes) -> (Bytes, End) {
        let mut state = self.0.state();
        for fault in &mut state.faults {
            match fault {
                Fault::Break(victim, times) if *victim == digest && *times > 0 => {
                    *times -= 1;
                    return (half(&whole), End::Broken);
                }
                Fault::Corrupt(victim) if *victim == digest => {
                    let mut bytes = whole.to_vec();
                    if let Some(last) = bytes.last_mut() {
                        *last ^= 1;
                    }
                    return (bytes.into(), End::Whole);
                }
                Fault::Truncate(victim) if *victim == digest => return (half(&whole), End::Whole),
                Fault::Stall(victim) if *victim == digest => return (half(&whole), End::Never),
                _ => {}
            }
        }
        (whole, End::Whole)
    }
}

fn half(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len() / 2)
}

/// The size of the pieces in which blobs are read, in bytes.
const PIECE: usize = 512;
