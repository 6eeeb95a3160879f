//! One image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Rest;

/// What `images.json` says of an image.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageRecord {
    /// The hex digits of its config's digest.
    pub id: String,
    /// The digest of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its names, the newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Names it had, the newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names_history: Option<Vec<String>>,
    /// Its topmost layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// Sizes of its signatures, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// What is kept beside it: config, manifests, signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub big_data_names: Option<Vec<String>>,
    /// The sizes of these, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub big_data_sizes: Option<BTreeMap<String, i64>>,
    /// The digests of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub big_data_digests: Option<BTreeMap<String, String>>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub(crate) rest: Rest,
}

impl ImageRecord {
    /// Returns the names, the newest first.
    pub fn names(&self) -> &[String] {
        self.names.as_deref().unwrap_or_default()
    }

    /// Returns what is kept beside it.
    pub fn big_data_names(&self) -> &[String] {
        self.big_data_names.as_deref().unwrap_or_default()
    }

    /// Returns the digest of something that is kept beside it.
    pub fn big_data_digest(&self, key: &str) -> Option<&str> {
        let digests = self.big_data_digests.as_ref()?;
        digests.get(key).map(String::as_str)
    }

    /// Returns whether it has this manifest, as its own or as one it came from.
    pub fn has_manifest(&self, digest: &str) -> bool {
        let manifests = self.big_data_names().iter();
        let mut manifests = manifests.filter(|key| key.starts_with(MANIFEST_KEY));
        self.digest.as_deref() == Some(digest)
            || manifests.any(|key| self.big_data_digest(key) == Some(digest))
    }

    /// Notes something that is kept beside it.
    pub(crate) fn note_big_data(&mut self, key: &str, size: usize, digest: &str) {
        let names = self.big_data_names.get_or_insert_default();
        if !names.iter().any(|name| name == key) {
            names.push(key.to_owned());
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let sizes = self.big_data_sizes.get_or_insert_default();
        sizes.insert(key.to_owned(), size);
        let digests = self.big_data_digests.get_or_insert_default();
        digests.insert(key.to_owned(), digest.to_owned());
    }
}

/// Under which key an image's manifest is kept; others begin with it.
pub(crate) const MANIFEST_KEY: &str = "manifest";
