//! One layer.

use dhow_model::Compression;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Rest;

/// What `layers.json` says of a layer.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LayerRecord {
    /// The name of its folder: 64 hex digits, made from its diffID and its parent's.
    pub id: String,
    /// Names, which layers of images do not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// The layer below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// What whoever made it wanted to remember.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The digest of the blob it came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compressed_diff_digest: Option<String>,
    /// The size of that blob, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compressed_size: Option<i64>,
    /// The digest of the table of contents it was made from, instead of a whole blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toc_digest: Option<String>,
    /// The diffID: the digest of the uncompressed archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_digest: Option<String>,
    /// The size of the uncompressed archive, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_size: Option<i64>,
    /// How the blob was compressed: 1 bzip2, 2 gzip, 3 xz, 4 zstd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<i64>,
    /// The user ids that own something in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uidset: Option<Vec<u32>>,
    /// The group ids that own something in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gidset: Option<Vec<u32>>,
    /// Flags: `incomplete` while it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<Map<String, Value>>,
    /// What is not known here.
    #[serde(flatten)]
    pub(crate) rest: Rest,
}

impl LayerRecord {
    /// Returns whether whoever made it did not come to the end.
    pub fn is_incomplete(&self) -> bool {
        let flag = self.flags.as_ref().and_then(|flags| flags.get(INCOMPLETE));
        flag.is_some_and(|flag| flag == &Value::Bool(true))
    }

    /// Returns how the blob was compressed; `None`: not at all.
    pub fn packed_with(&self) -> Option<Compression> {
        use Compression::{Bzip2, Gzip, Xz, Zstd};
        let mut known = [Bzip2, Gzip, Xz, Zstd].into_iter();
        known.find(|known| self.compression == Some(number_of(*known)))
    }

    /// Returns whether it came in a blob of this digest, or its content has it.
    pub fn is_from(&self, digest: &str) -> bool {
        let came_in = self.compressed_diff_digest.as_deref() == Some(digest);
        came_in || self.diff_digest.as_deref() == Some(digest)
    }

    /// Marks it as one that whoever writes next removes.
    pub(crate) fn mark_incomplete(&mut self) {
        let mark = (INCOMPLETE.to_owned(), Value::Bool(true));
        self.flags = Some(Map::from_iter([mark]));
    }
}

const INCOMPLETE: &str = "incomplete";

/// Returns the number by which a record names a compression.
pub(crate) const fn number_of(compression: Compression) -> i64 {
    match compression {
        Compression::Bzip2 => 1,
        Compression::Gzip => 2,
        Compression::Xz => 3,
        Compression::Zstd => 4,
    }
}
