//! Docker schema 2 to schema 1: every step of the history becomes a layer, and the config is folded
//! into the last one (containers/image's `internal/image/docker_schema2.go`).

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ConvertError;
use crate::manifest::docker1::Docker1Document;
use crate::{Descriptor, Digest, ImageConfig, ImageManifest, ManifestError, MediaType, json};

/// A schema 1 manifest that is not signed yet.
#[derive(Clone, Debug)]
pub struct Docker1Payload {
    /// The bytes to sign.
    pub bytes: Bytes,
    /// Some of its steps have changed no files: the empty layer must be at the destination.
    pub needs_empty_layer: bool,
}

/// Returns the layer that steps have which changed no files: its descriptor, and its bytes.
pub fn empty_layer() -> (Descriptor, Bytes) {
    let bytes = Bytes::from_static(&EMPTY_LAYER);
    (Descriptor::of(MediaType::DOCKER2_LAYER_GZIP, &bytes), bytes)
}

/// Returns an image as a schema 1 manifest for `name` and `tag`. `layers` are its layers as they
/// are at the destination.
///
/// # Errors
/// When the content is not that of an image, the config has no history, or history and layers do
/// not belong together.
pub fn to_docker1(
    image: &ImageManifest,
    config: &[u8],
    layers: &[Descriptor],
    name: &str,
    tag: &str,
) -> Result<Docker1Payload, ConvertError> {
    if !image.has_image_config() {
        return Err(ConvertError::Artifact(image.config.media_type.clone()));
    }
    let parsed = ImageConfig::parse(config)?;
    let filled = parsed.history.iter().filter(|step| !step.empty_layer);
    if parsed.history.is_empty() || filled.count() != layers.len() {
        return Err(inconsistent(format!(
            "a history of {} steps does not belong to {} layers",
            parsed.history.len(),
            layers.len()
        )));
    }
    let empty = empty_layer().0.digest;
    let mut layers = layers.iter().map(|layer| layer.digest);
    let mut steps: Vec<(Digest, Vec<u8>)> = Vec::with_capacity(parsed.history.len());
    let (mut id, mut parent) = (String::new(), String::new());
    for step in &parsed.history {
        let layer = if step.empty_layer {
            None
        } else {
            layers.next()
        };
        let layer = layer.unwrap_or(empty);
        parent = std::mem::take(&mut id);
        id = v1_id(&layer, &[&parent]);
        let created = step.created.as_ref().map(|time| time.as_str().to_owned());
        let remembered = Remembered {
            id: &id,
            parent: &parent,
            comment: step.comment.as_deref().unwrap_or_default(),
            created: created.as_deref().unwrap_or("0001-01-01T00:00:00Z"),
            container_config: json!({ "Cmd": [step.created_by.clone().unwrap_or_default()] }),
            author: step.author.as_deref().unwrap_or_default(),
            throwaway: step.empty_layer,
        };
        steps.push((layer, json::to_vec(&remembered).map_err(malformed)?));
    }
    let top_is_empty = parsed.history.last().is_some_and(|step| step.empty_layer);
    if let Some((layer, text)) = steps.last_mut() {
        let whole = String::from_utf8_lossy(config);
        id = v1_id(layer, &[&parent, &whole]);
        *text = top(config, &id, &parent, top_is_empty)?;
    }
    let steps = steps
        .into_iter()
        .rev()
        .map(|(layer, text)| (layer, String::from_utf8_lossy(&text).into_owned()));
    let document = Docker1Document::new(name, tag, &parsed.architecture, steps);
    Ok(Docker1Payload {
        bytes: document.to_bytes().map_err(malformed)?.into(),
        needs_empty_layer: parsed.history.iter().any(|step| step.empty_layer),
    })
}

/// What a step below the top remembers, in Go's order.
#[derive(Serialize)]
struct Remembered<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    parent: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    comment: &'a str,
    created: &'a str,
    container_config: Value,
    #[serde(skip_serializing_if = "str::is_empty")]
    author: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    throwaway: bool,
}

/// Returns what the top step remembers: the whole config, but for what schema 1 says elsewhere.
fn top(config: &[u8], id: &str, parent: &str, empty: bool) -> Result<Vec<u8>, ConvertError> {
    let mut fields: Map<String, Value> = serde_json::from_slice(config).map_err(malformed)?;
    fields.shift_remove("rootfs");
    fields.shift_remove("history");
    fields.insert("id".to_owned(), json!(id));
    if !parent.is_empty() {
        fields.insert("parent".to_owned(), json!(parent));
    }
    if empty {
        fields.insert("throwaway".to_owned(), json!(true));
    }
    fields.sort_keys();
    json::to_vec(&fields).map_err(malformed)
}

/// Returns the id of a step as Docker makes it.
fn v1_id(layer: &Digest, others: &[&str]) -> String {
    let mut text = layer.hex();
    for other in others {
        text.push(' ');
        text.push_str(other);
    }
    Digest::sha256(text.as_bytes()).hex()
}

fn malformed(source: serde_json::Error) -> ConvertError {
    ManifestError::Malformed {
        what: "image config",
        source,
    }
    .into()
}

fn inconsistent(why: String) -> ConvertError {
    ManifestError::Inconsistent {
        what: "image config",
        why,
    }
    .into()
}

/// gzip of 1024 zeros, as Docker has always written it.
const EMPTY_LAYER: [u8; 32] = [
    31, 139, 8, 0, 0, 9, 110, 136, 0, 255, 98, 24, 5, 163, 96, 20, 140, 88, 0, 8, 0, 0, 255, 255,
    46, 175, 181, 239, 0, 4, 0, 0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_layer_is_dockers() {
        assert_eq!(
            empty_layer().0.digest.to_string(),
            "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
        );
    }
}
