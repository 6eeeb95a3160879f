//! `index.json`: an ordered document whose unknown fields are kept.

use dhow_model::{Annotations, Descriptor, MediaType};
use serde_json::{Map, Value};

/// The document in `index.json`, editable without losing what is not understood.
#[derive(Clone, Debug)]
pub struct LayoutIndex {
    document: Map<String, Value>,
    entries: Vec<Value>,
}

impl LayoutIndex {
    /// Returns the index of a new layout.
    pub fn empty() -> Self {
        let mut document = Map::new();
        document.insert("schemaVersion".to_owned(), Value::from(2));
        document.insert(
            "mediaType".to_owned(),
            Value::from(MediaType::OCI_INDEX.as_str()),
        );
        document.insert("manifests".to_owned(), Value::Null);
        Self {
            document,
            entries: Vec::new(),
        }
    }

    /// Parses the document.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut document: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let entries = match document.get_mut("manifests").map(Value::take) {
            Some(Value::Array(entries)) => entries,
            Some(Value::Null) => Vec::new(),
            _ => return Err("there is no list `manifests`".to_owned()),
        };
        let index = Self { document, entries };
        for (place, entry) in index.entries.iter().enumerate() {
            serde_json::from_value::<Descriptor>(entry.clone())
                .map_err(|error| format!("entry {place}: {error}"))?;
        }
        Ok(index)
    }

    /// Returns the document as skopeo writes it: compact, in order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut document = self.document.clone();
        document.insert("manifests".to_owned(), Value::Array(self.entries.clone()));
        dhow_model::json::to_vec(&document).expect("JSON values can be written")
    }

    /// Returns the entries in order.
    pub fn entries(&self) -> Vec<Descriptor> {
        self.entries
            .iter()
            .filter_map(|entry| serde_json::from_value(entry.clone()).ok())
            .collect()
    }

    /// Returns the first entry that is named `name`.
    pub fn named(&self, name: &str) -> Option<Descriptor> {
        self.entries()
            .into_iter()
            .find(|entry| entry.annotations.value(Annotations::REF_NAME) == Some(name))
    }

    /// Returns the names of the entries that have one, in order.
    pub fn names(&self) -> Vec<String> {
        self.entries()
            .iter()
            .filter_map(|entry| {
                entry
                    .annotations
                    .value(Annotations::REF_NAME)
                    .map(str::to_owned)
            })
            .collect()
    }

    /// Lists `entry`, under `name` if there is one.
    ///
    /// An older entry of the same name loses its name and stays: somebody may know it by digest.
    /// An unnamed entry of the same digest gives its place to the new one.
    // COMPAT(skopeo): image/oci/layout/oci_dest.go, addManifest.
    pub fn insert(&mut self, entry: &Descriptor, name: Option<&str>) {
        let mut entry = entry.clone();
        if let Some(name) = name {
            entry.annotations.insert(Annotations::REF_NAME, name);
        }
        let value = serde_json::to_value(&entry).expect("descriptors can be written as JSON");
        let digest = entry.digest.to_string();
        if let Some(name) = name {
            if let Some(place) =
                self.place_of(|old_name, old_digest| old_name == Some(name) && old_digest == digest)
            {
                self.entries[place] = value;
                return;
            }
            if let Some(place) = self.place_of(|old_name, _| old_name == Some(name)) {
                remove_name(&mut self.entries[place]);
            }
        }
        match self.place_of(|old_name, old_digest| old_name.is_none() && old_digest == digest) {
            Some(place) => self.entries[place] = value,
            None if name.is_none() && self.place_of(|_, old| old == digest).is_some() => {}
            None => self.entries.push(value),
        }
    }

    /// Removes the entries for which `condition` holds and returns how many there were.
    pub fn remove(&mut self, condition: impl Fn(&Descriptor) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(|entry| {
            !serde_json::from_value::<Descriptor>(entry.clone())
                .is_ok_and(|entry| condition(&entry))
        });
        before - self.entries.len()
    }

    fn place_of(&self, matches: impl Fn(Option<&str>, &str) -> bool) -> Option<usize> {
        self.entries.iter().position(|entry| {
            let name = entry
                .get("annotations")
                .and_then(|annotations| annotations.get(Annotations::REF_NAME))
                .and_then(Value::as_str);
            matches(
                name,
                entry
                    .get("digest")
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
            )
        })
    }
}

fn remove_name(entry: &mut Value) {
    let Some(entry) = entry.as_object_mut() else {
        return;
    };
    if let Some(Value::Object(annotations)) = entry.get_mut("annotations") {
        annotations.shift_remove(Annotations::REF_NAME);
        if annotations.is_empty() {
            entry.shift_remove("annotations");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_model::Digest;

    fn entry(content: &str) -> Descriptor {
        Descriptor::new(
            MediaType::OCI_MANIFEST,
            Digest::sha256(content.as_bytes()),
            3,
        )
    }

    #[test]
    fn the_older_entry_loses_its_name_and_stays() {
        let mut index = LayoutIndex::empty();
        index.insert(&entry("a"), Some("v1"));
        index.insert(&entry("b"), Some("v1"));
        assert_eq!(index.entries().len(), 2);
        assert_eq!(index.named("v1").unwrap().digest, entry("b").digest);
        index.insert(&entry("a"), Some("v2"));
        assert_eq!(index.entries().len(), 2, "the unnamed entry gave its place");
        assert_eq!(index.names(), ["v2", "v1"]);
    }

    #[test]
    fn inserting_twice_changes_nothing() {
        let mut index = LayoutIndex::empty();
        index.insert(&entry("a"), Some("v1"));
        let bytes = index.to_bytes();
        index.insert(&entry("a"), Some("v1"));
        index.insert(&entry("a"), None);
        assert_eq!(index.to_bytes(), bytes);
    }

    #[test]
    fn unknown_fields_and_order_survive() {
        let digest = entry("a").digest;
        let text = format!(
            r#"{{"x":1,"schemaVersion":2,"manifests":[{{"size":3,"mediaType":"application/vnd.oci.image.manifest.v1+json","new":true,"digest":"{digest}"}}],"y":[2]}}"#
        );
        let index = LayoutIndex::parse(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(index.to_bytes()).unwrap(), text);
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"manifests":{}}"#,
            r#"{"manifests":[{"digest":"x"}]}"#,
        ] {
            assert!(LayoutIndex::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
