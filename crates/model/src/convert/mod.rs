//! Converting between the OCI and the Docker schema 2 families, and editing what stays in its
//! family.
//!
//! A document that needs no change keeps its bytes. One that stays in its family is edited in
//! place: unknown fields and the order of keys survive. One that changes family is written anew
//! with the fields and in the order that skopeo gives it, so that both have one digest.

mod edit;
mod from_docker1;
mod image;
mod index;
mod layer;
mod to_docker1;

pub use from_docker1::{Docker1Layer, from_docker1};
pub use image::{Converted, check, docker2_manifest, image};
pub use index::index;
pub use to_docker1::{Docker1Payload, empty_layer, to_docker1};

use crate::{ManifestError, ManifestKind, MediaType};

/// Why a manifest cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The content is not that of a container image, and only images can change family.
    #[error("an artifact with a config of type `{0}` cannot be converted")]
    Artifact(MediaType),
    /// Docker schema 2 has no zstd-compressed layers.
    #[error("a layer of type `{0}` does not exist in Docker images")]
    ZstdLayer(MediaType),
    /// Docker schema 2 has no encrypted layers.
    #[error("an encrypted layer of type `{0}` does not exist in Docker images")]
    EncryptedLayer(MediaType),
    /// A layer of a type that has no counterpart.
    #[error("a layer of type `{0}` has no counterpart in the other format")]
    UnknownLayer(MediaType),
    /// There is no conversion between the two kinds.
    #[error("there is no conversion from `{}` to `{}`", from.media_type(), to.media_type())]
    Unsupported {
        /// The kind there is.
        from: ManifestKind,
        /// The kind that was asked for.
        to: ManifestKind,
    },
    /// The layers given are not as many as the manifest has.
    #[error("the manifest has {expected} layers and {actual} were given")]
    LayerCount {
        /// How many the manifest has.
        expected: usize,
        /// How many were given.
        actual: usize,
    },
    /// A document that takes part is malformed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}
