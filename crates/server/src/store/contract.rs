//! What a store must do.

use std::fmt::Debug;
use std::fs::File;
use std::io;

use bytes::Bytes;
use dhow_model::Digest;

/// Content by digest.
pub(crate) trait Store: Send + Sync + Debug {
    /// Returns the size of a blob that is there.
    fn blob_size(&self, digest: &Digest) -> Option<u64>;
    /// Opens a blob, or returns `None` when it is not there.
    fn open_blob(&self, digest: &Digest) -> Result<Option<Content>, StoreError>;
    /// Reads a manifest, not verified, or returns `None` when it is not there.
    fn read_manifest(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError>;
    /// Stores something small.
    fn put(&self, digest: &Digest, data: &Bytes) -> Result<(), StoreError>;
    /// Starts a blob that arrives in pieces.
    fn upload(&self) -> Result<Box<dyn Upload>, StoreError>;
    /// Removes a blob.
    fn remove_blob(&self, digest: &Digest) -> Result<(), StoreError>;
}

/// A blob on its way in. Dropping it removes what was written.
pub(crate) trait Upload: Send + Debug {
    /// Adds the next bytes.
    fn write(&mut self, data: &[u8]) -> Result<(), StoreError>;
    /// Returns how many bytes were written.
    fn written(&self) -> u64;
    /// Makes the blob visible if it has this digest.
    fn finish(self: Box<Self>, digest: &Digest) -> Result<(), StoreError>;
}

/// A blob for reading.
#[derive(Debug)]
pub(crate) enum Content {
    File { file: File, size: u64 },
    Bytes(Bytes),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Layout(#[from] dhow_layout::Error),
    #[error("cannot read the store")]
    Io(#[from] io::Error),
    #[error("digest mismatch: expected {expected}, got {actual}")]
    Digest { expected: Digest, actual: Digest },
    #[error("the memory store is full")]
    Full,
}
