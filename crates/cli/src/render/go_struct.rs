//! The Go structs that `inspect` shows, as tables: a template says `.Config.Env` and `.OSVersion`
//! where the JSON says `config.Env` and `os.version`, and fields that the JSON leaves out have
//! their zero value.

use std::collections::HashMap;

use gtmpl_ng::Value;
use serde_json::{Map, Value as Json};

/// A Go struct.
#[derive(Debug)]
pub(crate) struct Struct(&'static [Field]);

/// A field: its name in JSON, its name in Go, what it holds, how JSON has it when it is empty.
#[derive(Debug)]
struct Field(&'static str, &'static str, Shape, Empty);

/// What a field holds.
#[derive(Debug)]
enum Shape {
    Text,
    Time,
    Number,
    Flag,
    List,
    Map,
    One(&'static Struct),
    Many(&'static Struct),
}

/// How JSON has an empty field.
#[derive(Clone, Copy, Debug)]
enum Empty {
    Omitted,
    Null,
    Kept,
}

use Empty::{Kept, Null, Omitted};
use Shape::{Flag, List, Many, Number, One, Text, Time};

/// What `inspect` shows by default.
pub(crate) static SUMMARY: Struct = Struct(&[
    Field("Name", "Name", Text, Omitted),
    Field("Tag", "Tag", Text, Omitted),
    Field("Digest", "Digest", Text, Kept),
    Field("RepoTags", "RepoTags", List, Kept),
    Field("Created", "Created", Time, Null),
    Field("DockerVersion", "DockerVersion", Text, Kept),
    Field("Labels", "Labels", Shape::Map, Null),
    Field("Architecture", "Architecture", Text, Kept),
    Field("Os", "Os", Text, Kept),
    Field("Layers", "Layers", List, Kept),
    Field("LayersData", "LayersData", Many(&LAYER), Kept),
    Field("Env", "Env", List, Null),
]);

static LAYER: Struct = Struct(&[
    Field("MIMEType", "MIMEType", Text, Kept),
    Field("Digest", "Digest", Text, Kept),
    Field("Size", "Size", Number, Kept),
    Field("Annotations", "Annotations", Shape::Map, Null),
]);

/// What `inspect --config` shows.
pub(crate) static CONFIG: Struct = Struct(&[
    Field("created", "Created", Time, Omitted),
    Field("author", "Author", Text, Omitted),
    Field("architecture", "Architecture", Text, Kept),
    Field("variant", "Variant", Text, Omitted),
    Field("os", "OS", Text, Kept),
    Field("os.version", "OSVersion", Text, Omitted),
    Field("os.features", "OSFeatures", List, Omitted),
    Field("config", "Config", One(&CONTAINER), Kept),
    Field("rootfs", "RootFS", One(&ROOT_FS), Kept),
    Field("history", "History", Many(&HISTORY), Omitted),
]);

static CONTAINER: Struct = Struct(&[
    Field("User", "User", Text, Omitted),
    Field("ExposedPorts", "ExposedPorts", Shape::Map, Omitted),
    Field("Env", "Env", List, Omitted),
    Field("Entrypoint", "Entrypoint", List, Omitted),
    Field("Cmd", "Cmd", List, Omitted),
    Field("Volumes", "Volumes", Shape::Map, Omitted),
    Field("WorkingDir", "WorkingDir", Text, Omitted),
    Field("Labels", "Labels", Shape::Map, Omitted),
    Field("StopSignal", "StopSignal", Text, Omitted),
    Field("ArgsEscaped", "ArgsEscaped", Flag, Omitted),
]);

static ROOT_FS: Struct = Struct(&[
    Field("type", "Type", Text, Kept),
    Field("diff_ids", "DiffIDs", List, Kept),
]);

static HISTORY: Struct = Struct(&[
    Field("created", "Created", Time, Omitted),
    Field("created_by", "CreatedBy", Text, Omitted),
    Field("author", "Author", Text, Omitted),
    Field("comment", "Comment", Text, Omitted),
    Field("empty_layer", "EmptyLayer", Flag, Omitted),
]);

impl Struct {
    /// Returns `json` as a value that templates can walk.
    pub(crate) fn value(&self, json: &Json) -> Value {
        let fields = self.0.iter().map(|Field(name, go, shape, _)| {
            let field = json.get(name).unwrap_or(&Json::Null);
            ((*go).to_owned(), shape.value(field))
        });
        Value::Object(fields.collect())
    }

    /// Returns whether `fields` are those of this struct.
    fn describes(&self, fields: &HashMap<String, Value>) -> bool {
        fields.len() == self.0.len() && self.0.iter().all(|field| fields.contains_key(field.1))
    }

    fn json(&self, fields: &HashMap<String, Value>) -> Json {
        let mut out = Map::new();
        for Field(name, go, shape, empty) in self.0 {
            let value = fields.get(*go).unwrap_or(&Value::Nil);
            match empty {
                Omitted if is_empty(value) => {}
                Null if is_empty(value) => {
                    out.insert((*name).to_owned(), Json::Null);
                }
                _ => {
                    out.insert((*name).to_owned(), shape.json(value));
                }
            }
        }
        Json::Object(out)
    }
}

impl Shape {
    fn value(&self, json: &Json) -> Value {
        match self {
            Text => Value::String(json.as_str().unwrap_or_default().to_owned()),
            Time => json
                .as_str()
                .map_or(Value::Nil, |text| Value::String(go_time(text))),
            Number => Value::from(json.as_i64().unwrap_or_default()),
            Flag => Value::Bool(json.as_bool().unwrap_or_default()),
            List => Value::Array(json.as_array().into_iter().flatten().map(plain).collect()),
            Shape::Map => plain(match json {
                Json::Null => return Value::Map(HashMap::new()),
                json => json,
            }),
            One(structure) => structure.value(json),
            Many(structure) => {
                let items = json.as_array().into_iter().flatten();
                Value::Array(items.map(|item| structure.value(item)).collect())
            }
        }
    }

    fn json(&self, value: &Value) -> Json {
        match (self, value) {
            (Time, Value::String(text)) => Json::String(rfc3339(text).unwrap_or(text.clone())),
            (_, value) => json(value),
        }
    }
}

/// Returns the JSON of a value as Go's `json.Marshal` has it: fields in the struct's order, map
/// keys sorted. A time that stands alone is recognised by its form.
pub(crate) fn json(value: &Value) -> Json {
    match value {
        Value::Object(fields) => {
            let structs = [&SUMMARY, &LAYER, &CONFIG, &CONTAINER, &ROOT_FS, &HISTORY];
            match structs.iter().find(|structure| structure.describes(fields)) {
                Some(structure) => structure.json(fields),
                None => sorted(fields),
            }
        }
        Value::Map(entries) => sorted(entries),
        Value::Array(items) => Json::Array(items.iter().map(json).collect()),
        Value::String(text) => Json::String(text.clone()),
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Number(number) => number
            .as_i64()
            .map(Json::from)
            .or_else(|| number.as_u64().map(Json::from))
            .or_else(|| number.as_f64().map(Json::from))
            .unwrap_or(Json::Null),
        Value::NoValue | Value::Nil | Value::Function(_) => Json::Null,
    }
}

fn sorted(entries: &HashMap<String, Value>) -> Json {
    let mut names: Vec<&String> = entries.keys().collect();
    names.sort();
    let entries = names
        .into_iter()
        .map(|name| (name.clone(), json(&entries[name])));
    Json::Object(entries.collect())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::NoValue | Value::Nil => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Bool(flag) => !flag,
        _ => false,
    }
}

fn plain(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => number.as_i64().map_or_else(
            || Value::from(number.as_f64().unwrap_or_default()),
            Value::from,
        ),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(plain).collect()),
        Json::Object(entries) => Value::Map(
            entries
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect(),
        ),
    }
}

/// Returns an RFC 3339 time as Go prints it: `2024-01-02 03:04:05.5 +0000 UTC`.
fn go_time(text: &str) -> String {
    let Some((date, rest)) = text.split_once('T') else {
        return text.to_owned();
    };
    if let Some(time) = rest.strip_suffix('Z') {
        return format!("{date} {time} +0000 UTC");
    }
    match rest.rfind(['+', '-']) {
        Some(at) => {
            let (time, zone) = rest.split_at(at);
            let zone = zone.replace(':', "");
            format!("{date} {time} {zone} {zone}")
        }
        None => text.to_owned(),
    }
}

/// Returns a time that Go printed as RFC 3339, if `text` is one.
pub(crate) fn rfc3339(text: &str) -> Option<String> {
    let mut parts = text.split(' ');
    let (date, time, zone, _) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let shaped = |text: &str, shape: &str| {
        text.len() >= shape.len()
            && text.bytes().zip(shape.bytes()).all(|(c, shape)| {
                if shape == b'0' {
                    c.is_ascii_digit()
                } else {
                    c == shape
                }
            })
    };
    if parts.next().is_some()
        || date.len() != 10
        || !shaped(date, "0000-00-00")
        || !shaped(time, "00:00:00")
        || zone.len() != 5
        || !(shaped(zone, "+0000") || shaped(zone, "-0000"))
    {
        return None;
    }
    let zone = match zone {
        "+0000" => "Z".to_owned(),
        zone => format!("{}:{}", &zone[..3], &zone[3..]),
    };
    Some(format!("{date}T{time}{zone}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_comes_back_as_it_was() {
        let summary = json!({
            "Name": "localhost/a", "Digest": "sha256:1", "RepoTags": ["a", "b"],
            "Created": "2024-01-02T03:04:05.5Z", "DockerVersion": "",
            "Labels": null, "Architecture": "amd64", "Os": "linux", "Layers": ["sha256:2"],
            "LayersData": [{"MIMEType": "m", "Digest": "sha256:2", "Size": 7, "Annotations": null}],
            "Env": null,
        });
        let back = super::json(&SUMMARY.value(&summary));
        assert_eq!(back.to_string(), summary.to_string());
    }

    #[test]
    fn fields_that_json_leaves_out_have_their_zero_value() {
        let value = CONFIG.value(&json!({"architecture": "arm", "os": "linux"}));
        assert_eq!(
            super::json(&value).to_string(),
            r#"{"architecture":"arm","os":"linux","config":{},"rootfs":{"type":"","diff_ids":[]}}"#
        );
    }

    #[test]
    fn times_are_printed_as_go_does_and_back() {
        for (rfc, go) in [
            ("2024-01-02T03:04:05Z", "2024-01-02 03:04:05 +0000 UTC"),
            (
                "2024-01-02T03:04:05.25+02:00",
                "2024-01-02 03:04:05.25 +0200 +0200",
            ),
        ] {
            assert_eq!(go_time(rfc), go);
            assert_eq!(rfc3339(go).as_deref(), Some(rfc));
        }
        for text in [
            "",
            "no time at all",
            "2024-01-02 aa:bb:cc +0000 UTC",
            "1 2 3 4",
        ] {
            assert_eq!(rfc3339(text), None);
        }
    }
}
