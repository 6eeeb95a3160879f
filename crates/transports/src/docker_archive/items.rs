//! `manifest.json`: the images of an archive.

use dhow_model::{Reference, json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An image of an archive. Names of files are looked up among the members of the archive, and
/// nowhere else.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Item {
    /// The file with the config.
    pub(crate) config: String,
    /// The names of the image, as whoever wrote them likes them.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) repo_tags: Vec<String>,
    /// The files with the layers, base first.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) layers: Vec<String>,
    /// What else is said of the image.
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

impl Item {
    /// Returns whether the image has this name.
    pub(crate) fn is_named(&self, name: &Reference) -> bool {
        self.repo_tags.iter().any(|tag| means(tag, name))
    }

    /// Takes a name away from the image.
    pub(crate) fn lose(&mut self, name: &Reference) {
        self.repo_tags.retain(|tag| !means(tag, name));
    }
}

/// Returns whether a name in an archive, which may be short, is this one. Who wrote nonsense as the
/// name of one image does not keep others from being found.
fn means(tag: &str, name: &Reference) -> bool {
    Reference::parse(tag).is_ok_and(|tag| tag.with_default_tag() == *name)
}

/// Parses `manifest.json`.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Item>, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// Returns the bytes of `manifest.json`.
pub(super) fn to_bytes(items: &[Item]) -> Vec<u8> {
    json::to_vec(items).expect("strings and lists can be written")
}

fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default())
}
