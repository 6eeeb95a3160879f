//! Docker schema 1 images that Podman has stored: their manifest names compressed layers, and no
//! store has those.

use dhow_model::manifest::Docker1Manifest;
use dhow_model::{Admitted, Digest, RawManifest, convert};
use dhow_transport::{Error, Kind, Result};
use serde_json::Value;

/// Returns the manifest with the layers as the store has them, the lowest first; without signatures,
/// which would be wrong.
pub(super) fn with_layers(raw: &RawManifest, held: &[Digest]) -> Result<RawManifest> {
    let parsed = Docker1Manifest::parse(&Admitted::by_policy(raw.clone()));
    let parsed = parsed.map_err(crate::manifest_error)?;
    let mut held = held.iter();
    let mut layers = Vec::new();
    for step in &parsed.history {
        // A step that changes nothing has no layer in a store; elsewhere they all have this one.
        let digest = if step.throwaway {
            convert::empty_layer().0.digest
        } else {
            *held.next().ok_or_else(|| uneven("fewer"))?
        };
        layers.push(serde_json::json!({ "blobSum": digest.to_string() }));
    }
    if held.next().is_some() {
        return Err(uneven("more"));
    }
    layers.reverse();
    let malformed = |error| Error::new(Kind::Invalid, "the manifest is malformed").caused_by(error);
    let mut document: Value = serde_json::from_slice(raw.bytes()).map_err(malformed)?;
    if let Some(document) = document.as_object_mut() {
        document.insert("fsLayers".to_owned(), layers.into());
        document.shift_remove("signatures");
    }
    let text = serde_json::to_vec(&document).map_err(malformed)?;
    RawManifest::new(text.into(), None).map_err(crate::manifest_error)
}

fn uneven(how: &str) -> Error {
    let message = format!("the store has {how} layers for the image than its manifest");
    Error::new(Kind::Invalid, message)
}
