//! Edits of documents that stay in their family: only what changed is touched.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Descriptor, ManifestError, RawManifest, json};

/// Returns the document as a tree whose objects keep the order of their keys.
pub(super) fn tree(raw: &RawManifest) -> Result<Map<String, Value>, ManifestError> {
    serde_json::from_slice(raw.bytes()).map_err(|source| ManifestError::Malformed {
        what: "manifest",
        source,
    })
}

/// Returns the tree as a manifest of the same kind as `raw`, compact as Go writes it.
pub(super) fn manifest<T: Serialize>(
    document: &T,
    kind: crate::ManifestKind,
) -> Result<RawManifest, ManifestError> {
    let bytes = json::to_vec(document).map_err(|source| ManifestError::Malformed {
        what: "manifest",
        source,
    })?;
    RawManifest::new(bytes.into(), Some(&kind.media_type()))
}

/// Writes into `object`, which is how the document has `old`, what is different in `new`.
pub(super) fn patch(
    object: &mut Map<String, Value>,
    old: &Descriptor,
    new: &Descriptor,
) -> Result<(), ManifestError> {
    let fields = |descriptor: &Descriptor| match serde_json::to_value(descriptor) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Ok(Map::new()),
        Err(source) => Err(ManifestError::Malformed {
            what: "descriptor",
            source,
        }),
    };
    let (old, mut new) = (fields(old)?, fields(new)?);
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        object.shift_remove(key);
    }
    new.retain(|key, value| old.get(key) != Some(value));
    object.extend(new);
    Ok(())
}

/// Returns a descriptor as a tree of its own.
pub(super) fn fresh(descriptor: &Descriptor) -> Result<Value, ManifestError> {
    serde_json::to_value(descriptor).map_err(|source| ManifestError::Malformed {
        what: "descriptor",
        source,
    })
}

/// Returns the list of objects at `key`, for changing it.
pub(super) fn list<'a>(
    document: &'a mut Map<String, Value>,
    key: &'static str,
) -> Result<&'a mut Vec<Value>, ManifestError> {
    document
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .ok_or_else(|| ManifestError::Inconsistent {
            what: "manifest",
            why: format!("`{key}` is not a list"),
        })
}
