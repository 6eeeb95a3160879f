//! What the media type of a layer says: the family, whether it may be redistributed, and how it is
//! compressed.

use crate::{Compression, MediaType};

/// The parts of a layer's media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerType {
    /// It is of Docker's family, and not of OCI's.
    pub docker: bool,
    /// It may not be redistributed, and names other places for its content.
    pub foreign: bool,
    /// How the content is compressed; `None`: not at all.
    pub compression: Option<Compression>,
}

impl LayerType {
    /// Takes a media type apart. `None` for what is no layer of an image, or a layer of which
    /// nobody knows how to change the compression, such as an encrypted one.
    pub fn of(media_type: &MediaType) -> Option<Self> {
        TYPES
            .into_iter()
            .find(|(known, _)| known == media_type)
            .map(|(_, parts)| parts)
    }

    /// Returns the media type. `None` where none is defined: Docker has no zstd, nobody has xz.
    pub fn media_type(self) -> Option<MediaType> {
        TYPES
            .into_iter()
            .find(|(known, parts)| *parts == self && *known != MediaType::DOCKER2_LAYER_ZSTD)
            .map(|(known, _)| known)
    }
}

/// Returns the parts of a type.
const fn parts(docker: bool, foreign: bool, compression: Option<Compression>) -> LayerType {
    LayerType {
        docker,
        foreign,
        compression,
    }
}

const GZIP: Option<Compression> = Some(Compression::Gzip);
const ZSTD: Option<Compression> = Some(Compression::Zstd);

const TYPES: [(MediaType, LayerType); 11] = [
    (MediaType::OCI_LAYER, parts(false, false, None)),
    (MediaType::OCI_LAYER_GZIP, parts(false, false, GZIP)),
    (MediaType::OCI_LAYER_ZSTD, parts(false, false, ZSTD)),
    (MediaType::OCI_FOREIGN_LAYER, parts(false, true, None)),
    (MediaType::OCI_FOREIGN_LAYER_GZIP, parts(false, true, GZIP)),
    (MediaType::OCI_FOREIGN_LAYER_ZSTD, parts(false, true, ZSTD)),
    (MediaType::DOCKER2_LAYER, parts(true, false, None)),
    (MediaType::DOCKER2_LAYER_GZIP, parts(true, false, GZIP)),
    (MediaType::DOCKER2_LAYER_ZSTD, parts(true, false, ZSTD)),
    (MediaType::DOCKER2_FOREIGN_LAYER, parts(true, true, None)),
    (
        MediaType::DOCKER2_FOREIGN_LAYER_GZIP,
        parts(true, true, GZIP),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_put_together_again_but_dockers_zstd() {
        for (media_type, parts) in TYPES {
            assert_eq!(LayerType::of(&media_type), Some(parts));
            let again = (media_type != MediaType::DOCKER2_LAYER_ZSTD).then_some(media_type);
            assert_eq!(parts.media_type(), again);
        }
        assert_eq!(LayerType::of(&MediaType::OCI_CONFIG), None);
        let encrypted = MediaType::new("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
        assert_eq!(LayerType::of(&encrypted), None);
    }
}
