//! Taking a blob to its end on a blocking thread: hashed, checked, and written wherever.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use dhow_codec::Pull;
use dhow_model::{Algorithm, Digest, Hasher};
use dhow_transport::{Blob, BlobWant, Error, Kind, Result};

use crate::file_blob::blocking;

/// The pieces of a blob, as a blocking thread takes them.
pub(super) struct Pieces {
    body: Pull,
    hasher: Hasher,
    size: u64,
    expected: (Option<Digest>, Option<u64>),
}

impl Pieces {
    /// Writes all pieces; returns digest and size when they are what was expected.
    ///
    /// # Errors
    /// When the blob broke, is not what it should be, or cannot be written.
    pub(super) fn write(mut self, to: &mut dyn Write) -> Result<(Digest, u64)> {
        while let Some(piece) = self.body.piece().map_err(Error::from_stream)? {
            self.size += piece.len() as u64;
            if let Some(most) = self.expected.1.filter(|most| self.size > *most) {
                let why = format!("size mismatch: more than {most} bytes arrived");
                return Err(Error::new(Kind::SizeMismatch, why));
            }
            self.hasher.update(&piece);
            to.write_all(&piece).map_err(unwritten)?;
        }
        self.judge()
    }

    fn judge(self) -> Result<(Digest, u64)> {
        if let Some(expected) = self.expected.1.filter(|size| *size != self.size) {
            let why = format!(
                "size mismatch: expected {expected} bytes, got {}",
                self.size
            );
            return Err(Error::new(Kind::SizeMismatch, why));
        }
        let digest = self.hasher.finish();
        match self.expected.0 {
            Some(expected) if expected != digest => Err(Error::new(
                Kind::DigestMismatch,
                format!("digest mismatch: expected {expected}, got {digest}"),
            )),
            _ => Ok((digest, self.size)),
        }
    }
}

/// Gives a blob to `work` on a blocking thread, and returns what it makes of it. `work` runs to its
/// end also when the future is dropped, and finds that the blob broke.
pub(super) async fn take<T: Send + 'static>(
    want: &BlobWant,
    blob: Blob,
    work: impl FnOnce(Pieces) -> Result<T> + Send + 'static,
) -> Result<T> {
    let algorithm = want
        .digest
        .map_or(Algorithm::Sha256, |digest| digest.algorithm());
    let expected = (want.digest, want.size.or(blob.size));
    let (body, _wanted) = dhow_codec::pull(blob.body.into_stream());
    let pieces = Pieces {
        body,
        hasher: Hasher::new(algorithm),
        size: 0,
        expected,
    };
    blocking(move || work(pieces)).await?
}

/// Returns a file without a name in a folder.
pub(super) fn file_in(folder: &Path) -> Result<File> {
    tempfile::tempfile_in(folder).map_err(|error| Error::file("write into", folder, error))
}

pub(super) fn unwritten(error: io::Error) -> Error {
    let full = error.kind() == io::ErrorKind::StorageFull;
    let error = Error::new(Kind::Io, "the archive cannot be written").caused_by(error);
    if full {
        error.hint("free space there, or name another place")
    } else {
        error
    }
}

pub(super) fn broken() -> Error {
    Error::new(Kind::Io, "the archive broke off and cannot go on")
}
