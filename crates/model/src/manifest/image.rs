//! Image manifests: OCI image-spec *Image Manifest* and Docker schema 2.

use serde::Deserialize;

use crate::{
    Admitted, Annotations, Descriptor, ManifestError, ManifestKind, MediaType, RawManifest,
};

/// A read-only view of an OCI or Docker schema 2 image manifest.
#[derive(Clone, Debug)]
pub struct ImageManifest {
    /// Which kind of document this is a view of.
    pub kind: ManifestKind,
    /// The config, or what stands in its place in an artifact.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
    /// The type of artifact, when this is one.
    pub artifact_type: Option<String>,
    /// The manifest that this one refers to.
    pub subject: Option<Descriptor>,
    /// The manifest's annotations.
    pub annotations: Annotations,
}

impl ImageManifest {
    /// Parses a manifest that policy has let through.
    ///
    /// # Errors
    /// When it is an index or a schema 1 manifest, or is malformed.
    pub fn parse(raw: &Admitted<RawManifest>) -> Result<Self, ManifestError> {
        let raw = raw.as_inner();
        let kind = raw.kind();
        if !matches!(
            kind,
            ManifestKind::OciManifest | ManifestKind::Docker2Manifest
        ) {
            return Err(ManifestError::WrongKind(
                kind.media_type(),
                "an image manifest",
            ));
        }
        let document: Document =
            serde_json::from_slice(raw.bytes()).map_err(|source| ManifestError::Malformed {
                what: "image manifest",
                source,
            })?;
        Ok(Self {
            kind,
            config: document.config,
            layers: document.layers.unwrap_or_default(),
            artifact_type: document.artifact_type.filter(|text| !text.is_empty()),
            subject: document.subject,
            annotations: document.annotations,
        })
    }

    /// Returns whether the config is that of a container image, so that platform, history and
    /// diffIDs can be read from it.
    pub fn has_image_config(&self) -> bool {
        self.config.media_type == MediaType::OCI_CONFIG
            || self.config.media_type == MediaType::DOCKER2_CONFIG
    }

    /// Returns config and layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    config: Descriptor,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: Annotations,
}
