//! Media types (OCI image-spec, *Media Types*; Docker image manifest v2, schema 1 and 2).

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A media type: lower case, without parameters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(Cow<'static, str>);

macro_rules! media_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl MediaType {
            $($(#[$doc])* pub const $name: Self = Self(Cow::Borrowed($value));)*
        }
    };
}

media_types! {
    /// An OCI image manifest.
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    OCI_INDEX = "application/vnd.oci.image.index.v1+json";
    /// An OCI image config.
    OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
    /// The empty JSON object that stands for "no config" in OCI 1.1 artifacts.
    OCI_EMPTY = "application/vnd.oci.empty.v1+json";
    /// An uncompressed OCI layer.
    OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
    /// A gzip-compressed OCI layer.
    OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A zstd-compressed OCI layer.
    OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// An uncompressed layer that may not be redistributed.
    OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    /// A gzip-compressed layer that may not be redistributed.
    OCI_FOREIGN_LAYER_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    /// A zstd-compressed layer that may not be redistributed.
    OCI_FOREIGN_LAYER_ZSTD = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
    /// A Docker schema 2 image manifest.
    DOCKER2_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
    /// A Docker schema 2 manifest list.
    DOCKER2_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// A Docker schema 2 image config.
    DOCKER2_CONFIG = "application/vnd.docker.container.image.v1+json";
    /// An uncompressed Docker layer.
    DOCKER2_LAYER = "application/vnd.docker.image.rootfs.diff.tar";
    /// A gzip-compressed Docker layer.
    DOCKER2_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// A zstd-compressed Docker layer, which no specification names but some tools write.
    DOCKER2_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    /// An uncompressed foreign Docker layer.
    DOCKER2_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar";
    /// A gzip-compressed foreign Docker layer.
    DOCKER2_FOREIGN_LAYER_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    /// A signed Docker schema 1 manifest.
    DOCKER1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// An unsigned Docker schema 1 manifest.
    DOCKER1 = "application/vnd.docker.distribution.manifest.v1+json";
    /// Bytes of no known type.
    OCTET_STREAM = "application/octet-stream";
}

impl MediaType {
    /// Returns the media type in `text`, which may be a `Content-Type` with parameters.
    pub fn new(text: &str) -> Self {
        let essence = text
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        Self(Cow::Owned(essence))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns which kind of manifest has this type.
    pub fn manifest_kind(&self) -> Option<ManifestKind> {
        ManifestKind::ALL
            .into_iter()
            .find(|kind| kind.media_type() == *self)
    }

    /// Returns whether this is a layer that names other places for its content.
    pub fn is_foreign_layer(&self) -> bool {
        self.0
            .starts_with("application/vnd.oci.image.layer.nondistributable.")
            || self
                .0
                .starts_with("application/vnd.docker.image.rootfs.foreign.")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
    /// bzip2, read only.
    Bzip2,
    /// xz, read only.
    Xz,
}

/// The kinds of manifest that registries store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ManifestKind {
    /// An OCI image manifest.
    OciManifest,
    /// An OCI image index.
    OciIndex,
    /// A Docker schema 2 image manifest.
    Docker2Manifest,
    /// A Docker schema 2 manifest list.
    Docker2List,
    /// A signed Docker schema 1 manifest.
    Docker1Signed,
    /// An unsigned Docker schema 1 manifest.
    Docker1,
}

impl ManifestKind {
    /// All kinds, in the order in which `Accept` headers list them.
    pub const ALL: [Self; 6] = [
        Self::OciManifest,
        Self::Docker2Manifest,
        Self::Docker1Signed,
        Self::Docker1,
        Self::Docker2List,
        Self::OciIndex,
    ];

    /// Returns the media type.
    pub const fn media_type(self) -> MediaType {
        match self {
            Self::OciManifest => MediaType::OCI_MANIFEST,
            Self::OciIndex => MediaType::OCI_INDEX,
            Self::Docker2Manifest => MediaType::DOCKER2_MANIFEST,
            Self::Docker2List => MediaType::DOCKER2_LIST,
            Self::Docker1Signed => MediaType::DOCKER1_SIGNED,
            Self::Docker1 => MediaType::DOCKER1,
        }
    }

    /// Returns whether this is an OCI index or a Docker manifest list.
    pub const fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::Docker2List)
    }

    /// Returns whether this is one of the two schema 1 kinds.
    pub const fn is_docker1(self) -> bool {
        matches!(self, Self::Docker1Signed | Self::Docker1)
    }
}
