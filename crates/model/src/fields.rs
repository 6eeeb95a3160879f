//! Reading JSON objects field by field with the tolerance of Go's `encoding/json`: keys match
//! without regard to case, the last of several wins, `null` means "not there", and what nobody
//! asks for is skipped.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The fields of an object, not yet looked into.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// Returns the value of `name`, or `None` if it is not there or `null`.
    pub(crate) fn take<T: DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, serde_json::Error> {
        match self
            .0
            .iter()
            .rev()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
        {
            Some((_, raw)) => serde_json::from_str::<Option<T>>(raw.get()),
            None => Ok(None),
        }
    }

    /// Returns the text of `name`; an empty one is as good as none.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, serde_json::Error> {
        Ok(self.take::<String>(name)?.filter(|text| !text.is_empty()))
    }

    /// Returns the list of texts in `name`; `null` among them is the empty text.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, serde_json::Error> {
        let texts = self.take::<Vec<Option<String>>>(name)?.unwrap_or_default();
        Ok(texts.into_iter().map(Option::unwrap_or_default).collect())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
