//! Indexes: OCI image-spec *Image Index* and Docker manifest lists.

use serde::Deserialize;

use crate::{Annotations, Descriptor, ManifestError, ManifestKind, RawManifest};

/// A read-only view of an OCI index or a Docker manifest list.
#[derive(Clone, Debug)]
pub struct Index {
    /// Which kind of document this is a view of.
    pub kind: ManifestKind,
    /// The manifests it lists, in order.
    pub entries: Vec<Descriptor>,
    /// The type of artifact, when this is one.
    pub artifact_type: Option<String>,
    /// The manifest that this index refers to.
    pub subject: Option<Descriptor>,
    /// The index's annotations.
    pub annotations: Annotations,
}

impl Index {
    /// Parses an index. Policy is not asked: an index only says which image to look at.
    ///
    /// # Errors
    /// When it is no index, or is malformed.
    pub fn parse(raw: &RawManifest) -> Result<Self, ManifestError> {
        let kind = raw.kind();
        if !kind.is_index() {
            return Err(ManifestError::WrongKind(kind.media_type(), "an index"));
        }
        let document: Document =
            serde_json::from_slice(raw.bytes()).map_err(|source| ManifestError::Malformed {
                what: "index",
                source,
            })?;
        Ok(Self {
            kind,
            entries: document.manifests,
            artifact_type: document.artifact_type.filter(|text| !text.is_empty()),
            subject: document.subject,
            annotations: document.annotations,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    manifests: Vec<Descriptor>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: Annotations,
}
