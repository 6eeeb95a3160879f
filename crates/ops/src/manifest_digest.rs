//! Manifest digest: of bytes that are a manifest, or claim to be.

use bytes::Bytes;
use dhow_model::{Digest, RawManifest};

/// Returns the digest of a manifest: for a signed schema 1 manifest that of its payload, for all
/// other bytes that of the bytes.
pub fn manifest_digest(bytes: &[u8]) -> Digest {
    RawManifest::new(Bytes::copy_from_slice(bytes), None)
        .map_or_else(|_| Digest::sha256(bytes), |manifest| manifest.digest())
}
