//! What Docker before 1.10 looked for: a folder per layer, and `repositories` (moby, *Docker Image
//! Specification v1*). Nobody reads it any more, and skopeo still writes it.

use std::collections::BTreeMap;

use dhow_model::{Digest, Reference, json};
use serde_json::{Map, Value, json};

/// The folder of a layer.
pub(super) struct LegacyLayer {
    /// Its name.
    pub(super) id: String,
    /// Its file `json`.
    pub(super) json: Vec<u8>,
}

/// Returns the folders of an image's layers, base first.
pub(super) fn layers(layers: &[Digest], config: &[u8]) -> Vec<LegacyLayer> {
    let config: Map<String, Value> = serde_json::from_slice(config).unwrap_or_default();
    let mut made: Vec<LegacyLayer> = Vec::with_capacity(layers.len());
    let mut chain: Option<Digest> = None;
    for (place, layer) in layers.iter().enumerate() {
        let mut fields: BTreeMap<&str, Value> = BTreeMap::new();
        if let Some(below) = made.last() {
            fields.insert("parent", json!(below.id));
        }
        if place + 1 == layers.len() {
            for key in OF_THE_TOP {
                fields.insert(key, config.get(key).cloned().unwrap_or_default());
            }
        }
        let id = match chain {
            None => *layer,
            Some(below) => Digest::sha256(format!("{below} {layer}").as_bytes()),
        };
        chain = Some(id);
        fields.insert("layer_id", json!(id));
        let name = Digest::sha256(&bytes(&fields)).hex();
        fields.remove("layer_id");
        fields.insert("id", json!(name));
        made.push(LegacyLayer {
            id: name,
            json: bytes(&fields),
        });
    }
    made
}

/// Returns `repositories`: for each name and tag, the folder of the top layer.
pub(super) fn repositories<'a>(
    tops: impl Iterator<Item = (&'a Reference, &'a str)>,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (name, top) in tops {
        let tags = repositories.entry(name.repository.to_string()).or_default();
        if let Some(tag) = &name.tag {
            tags.insert(tag.to_string(), top.to_owned());
        }
    }
    repositories
}

fn bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    json::to_vec(value).expect("JSON values can be written")
}

/// What of the config the top layer repeats.
const OF_THE_TOP: [&str; 7] = [
    "architecture",
    "config",
    "container",
    "container_config",
    "created",
    "docker_version",
    "os",
];
