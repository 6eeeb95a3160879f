//! The media types of layers in the two families.

use super::ConvertError;
use crate::{ManifestKind, MediaType};

/// Pairs of layer types that mean the same: OCI's and Docker's.
const PAIRS: [(MediaType, MediaType); 4] = [
    (MediaType::OCI_LAYER, MediaType::DOCKER2_LAYER),
    (MediaType::OCI_LAYER_GZIP, MediaType::DOCKER2_LAYER_GZIP),
    (
        MediaType::OCI_FOREIGN_LAYER,
        MediaType::DOCKER2_FOREIGN_LAYER,
    ),
    (
        MediaType::OCI_FOREIGN_LAYER_GZIP,
        MediaType::DOCKER2_FOREIGN_LAYER_GZIP,
    ),
];

/// Returns the type that a layer of type `layer` has in an image of kind `to`.
pub(super) fn layer_type(layer: &MediaType, to: ManifestKind) -> Result<MediaType, ConvertError> {
    let to_oci = to == ManifestKind::OciManifest;
    for (oci, docker) in PAIRS {
        if *layer == oci || *layer == docker {
            return Ok(if to_oci { oci } else { docker });
        }
    }
    if to_oci {
        return match layer.as_str() {
            _ if *layer == MediaType::DOCKER2_LAYER_ZSTD => Ok(MediaType::OCI_LAYER_ZSTD),
            text if text.starts_with(OCI_LAYERS) => Ok(layer.clone()),
            _ => Err(ConvertError::UnknownLayer(layer.clone())),
        };
    }
    let text = layer.as_str();
    let known = text.starts_with(OCI_LAYERS) || text.starts_with(DOCKER_LAYERS);
    Err(if known && text.ends_with("+encrypted") {
        ConvertError::EncryptedLayer(layer.clone())
    } else if known && (text.ends_with("+zstd") || *layer == MediaType::DOCKER2_LAYER_ZSTD) {
        ConvertError::ZstdLayer(layer.clone())
    } else {
        ConvertError::UnknownLayer(layer.clone())
    })
}

const OCI_LAYERS: &str = "application/vnd.oci.image.layer.";
const DOCKER_LAYERS: &str = "application/vnd.docker.image.rootfs.";
