//! Schema 1 manifests that are made here, before they are signed.

use serde::{Deserialize, Serialize};

use super::malformed;
use crate::{Digest, ManifestError, RawManifest, json};

/// A manifest in the order of Go's fields.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Docker1Document {
    #[serde(default)]
    name: String,
    #[serde(default)]
    tag: String,
    #[serde(default)]
    architecture: String,
    fs_layers: Vec<FsLayer>,
    history: Vec<HistoryEntry>,
    schema_version: u8,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct FsLayer {
    blob_sum: Digest,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryEntry {
    v1_compatibility: String,
}

impl Docker1Document {
    /// Returns a document with these steps, the last one first.
    pub(crate) fn new(
        name: &str,
        tag: &str,
        architecture: &str,
        steps: impl Iterator<Item = (Digest, String)>,
    ) -> Self {
        let (fs_layers, history) = steps
            .map(|(blob_sum, v1_compatibility)| {
                (FsLayer { blob_sum }, HistoryEntry { v1_compatibility })
            })
            .unzip();
        Self {
            name: name.to_owned(),
            tag: tag.to_owned(),
            architecture: architecture.to_owned(),
            fs_layers,
            history,
            schema_version: 1,
        }
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        json::to_vec(self)
    }
}

/// Returns a schema 1 manifest with another name and tag, without signatures.
///
/// # Errors
/// When it is malformed.
pub fn docker1_renamed(raw: &RawManifest, name: &str, tag: &str) -> Result<Vec<u8>, ManifestError> {
    let mut document: Docker1Document = serde_json::from_slice(raw.bytes()).map_err(malformed)?;
    name.clone_into(&mut document.name);
    tag.clone_into(&mut document.tag);
    document.to_bytes().map_err(malformed)
}
