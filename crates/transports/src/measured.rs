//! What passes, measured on the way.

use std::sync::{Arc, Mutex, PoisonError};

use dhow_model::{Algorithm, Digest, Hasher};
use dhow_transport::{Blob, BlobWant, Error, Kind, Result};
use futures_util::StreamExt as _;

/// The digest and the size of a blob, when all of it has passed.
#[derive(Debug)]
pub(crate) struct Measured(Arc<Mutex<Meter>>);

#[derive(Debug)]
struct Meter {
    known: Option<Digest>,
    /// Only where the digest is not known: whoever sends has verified it then.
    hasher: Option<Hasher>,
    size: u64,
}

/// Measures a blob while it passes.
pub(crate) fn measured(blob: Blob, want: &BlobWant) -> (Blob, Measured) {
    let unknown = want.digest.is_none();
    let meter = Arc::new(Mutex::new(Meter {
        known: want.digest,
        hasher: unknown.then(|| Hasher::new(Algorithm::Sha256)),
        size: blob.start,
    }));
    let passing = Arc::clone(&meter);
    let size = blob.size;
    let stream = blob.body.into_stream().inspect(move |piece| {
        if let Ok(piece) = piece {
            let mut meter = passing.lock().unwrap_or_else(PoisonError::into_inner);
            meter.size += piece.len() as u64;
            if let Some(hasher) = &mut meter.hasher {
                hasher.update(piece);
            }
        }
    });
    (Blob::from_stream(size, stream.boxed()), Measured(meter))
}

impl Measured {
    /// Returns the digest and the size.
    pub(crate) fn result(self) -> Result<(Digest, u64)> {
        let mut meter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size = meter.size;
        let hasher = meter.hasher.take();
        let digest = meter.known.or_else(|| hasher.map(Hasher::finish));
        let digest = digest.ok_or_else(|| Error::new(Kind::Bug, "a blob was measured twice"))?;
        Ok((digest, size))
    }
}
