//! Docker schema 1 to schema 2: the config is put together from what each step remembers of itself
//! (containers/image's `manifest/docker_schema1.go`, *ToSchema2Config*).

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ConvertError;
use super::image::{Converted, docker2_manifest};
use crate::manifest::{Docker1History, Docker1Manifest};
use crate::{Descriptor, Digest, ManifestError, MediaType, json};

/// A layer of a schema 1 image: what it is at the destination, and the digest of its content.
pub type Docker1Layer = (Descriptor, Digest);

/// Returns a schema 1 image as one of Docker schema 2. `layers` are in the order of the manifest,
/// base first, with `None` for every step that is thrown away.
///
/// # Errors
/// When a step is malformed, or `layers` are not as many as the manifest has.
pub fn from_docker1(
    image: &Docker1Manifest,
    layers: &[Option<Docker1Layer>],
) -> Result<Converted, ConvertError> {
    let Some(top) = image.history.last() else {
        return Err(inconsistent("it has no history").into());
    };
    if layers.len() != image.layers.len() {
        return Err(ConvertError::LayerCount {
            expected: image.layers.len(),
            actual: layers.len(),
        });
    }
    let diff_ids: Vec<&Digest> = layers
        .iter()
        .flatten()
        .map(|(_, diff_id)| diff_id)
        .collect();
    let config = config(top, &image.history, &diff_ids)?;
    let descriptor = Descriptor::of(MediaType::DOCKER2_CONFIG, &config);
    let layers = layers.iter().flatten().map(|(layer, _)| layer);
    Ok(Converted {
        manifest: docker2_manifest(&descriptor, layers)?,
        config: Some(config.into()),
    })
}

fn config(
    top: &Docker1History,
    history: &[Docker1History],
    diff_ids: &[&Digest],
) -> Result<Vec<u8>, ConvertError> {
    let mut fields = object(top)?;
    if top.docker_version.as_deref().is_some_and(is_before_1_8_3) {
        fields = reencoded(&fields);
    }
    for dropped in ["id", "parent", "parent_id", "layer_id", "throwaway", "Size"] {
        fields.shift_remove(dropped);
    }
    let steps = history
        .iter()
        .map(Step::of)
        .collect::<Result<Vec<_>, _>>()?;
    fields.insert(
        "rootfs".to_owned(),
        json!({ "type": "layers", "diff_ids": diff_ids }),
    );
    fields.insert("history".to_owned(), value(&steps)?);
    // Go writes the keys of a map sorted; what is inside them keeps its order.
    fields.sort_keys();
    json::to_vec(&fields).map_err(|source| malformed(source).into())
}

/// A step as schema 2 remembers it, in Go's order.
#[derive(Serialize)]
struct Step {
    created: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    author: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    created_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    comment: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

impl Step {
    fn of(step: &Docker1History) -> Result<Self, ConvertError> {
        let fields = object(step)?;
        let command = fields
            .get("container_config")
            .and_then(|config| config.get("Cmd"));
        let words = command.and_then(Value::as_array).into_iter().flatten();
        let words: Vec<&str> = words.filter_map(Value::as_str).collect();
        let created = step.created.as_ref().map(|time| time.as_str().to_owned());
        Ok(Self {
            // Go's zero time.
            created: created.unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned()),
            author: step.author.clone().unwrap_or_default(),
            created_by: words.join(" "),
            comment: step.comment.clone().unwrap_or_default(),
            empty_layer: step.throwaway,
        })
    }
}

fn object(step: &Docker1History) -> Result<Map<String, Value>, ConvertError> {
    serde_json::from_str(&step.v1_compatibility).map_err(|source| malformed(source).into())
}

/// Returns the config of a Docker before 1.8.3 with the fields that later ones always wrote.
fn reencoded(fields: &Map<String, Value>) -> Map<String, Value> {
    let filled = |value: &Value| {
        matches!(value, Value::String(text) if !text.is_empty()) || value.is_object()
    };
    let mut made = Map::new();
    let mut copy = |key: &str, of: &dyn Fn(&Value) -> Value| {
        if let Some(value) = fields.get(key).filter(|value| filled(value)) {
            made.insert(key.to_owned(), of(value));
        }
    };
    copy("id", &Value::clone);
    copy("parent", &Value::clone);
    copy("comment", &Value::clone);
    copy("created", &Value::clone);
    copy("container", &Value::clone);
    copy("container_config", &container);
    copy("docker_version", &Value::clone);
    copy("author", &Value::clone);
    copy("config", &container);
    copy("architecture", &Value::clone);
    copy("os", &Value::clone);
    made.entry("created")
        .or_insert_with(|| json!("0001-01-01T00:00:00Z"));
    made.entry("container_config")
        .or_insert_with(|| container(&json!({})));
    made
}

/// The fields of a container's config in Go's order, with the value of one that is absent; `None`
/// for one that is left out then.
fn container(value: &Value) -> Value {
    let fields: [(&str, Option<Value>); 24] = [
        ("Hostname", Some(json!(""))),
        ("Domainname", Some(json!(""))),
        ("User", Some(json!(""))),
        ("AttachStdin", Some(json!(false))),
        ("AttachStdout", Some(json!(false))),
        ("AttachStderr", Some(json!(false))),
        ("ExposedPorts", None),
        ("Tty", Some(json!(false))),
        ("OpenStdin", Some(json!(false))),
        ("StdinOnce", Some(json!(false))),
        ("Env", Some(Value::Null)),
        ("Cmd", Some(Value::Null)),
        ("Healthcheck", None),
        ("ArgsEscaped", None),
        ("Image", Some(json!(""))),
        ("Volumes", Some(Value::Null)),
        ("WorkingDir", Some(json!(""))),
        ("Entrypoint", Some(Value::Null)),
        ("NetworkDisabled", None),
        ("MacAddress", None),
        ("OnBuild", Some(Value::Null)),
        ("Labels", Some(Value::Null)),
        ("StopSignal", None),
        ("Shell", None),
    ];
    let mut made = Map::new();
    for (key, absent) in fields {
        let empty = |value: &&Value| {
            absent.is_none()
                && matches!(value, Value::Null | Value::Bool(false))
                    | value.as_str().is_some_and(str::is_empty)
        };
        match (value.get(key).filter(|value| !empty(value)), absent.clone()) {
            (Some(value), _) => made.insert(key.to_owned(), value.clone()),
            (None, Some(value)) => made.insert(key.to_owned(), value),
            (None, None) => None,
        };
    }
    Value::Object(made)
}

/// Returns whether a version of Docker is older than 1.8.3.
fn is_before_1_8_3(version: &str) -> bool {
    let number = |part: &str| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap_or_default()
    };
    let mut parts = version.split('.').map(number);
    let mut next = || parts.next().unwrap_or_default();
    (next(), next(), next()) < (1, 8, 3)
}

fn value<T: Serialize>(value: &T) -> Result<Value, ConvertError> {
    serde_json::to_value(value).map_err(|source| malformed(source).into())
}

fn malformed(source: serde_json::Error) -> ManifestError {
    ManifestError::Malformed { what: WHAT, source }
}

fn inconsistent(why: &str) -> ManifestError {
    ManifestError::Inconsistent {
        what: WHAT,
        why: why.to_owned(),
    }
}

const WHAT: &str = "schema 1 manifest";
