//! Go templates for `inspect --format`, with the functions that skopeo adds.

use std::collections::HashMap;

use dhow_model::ImageConfig;
use dhow_ops::ImageSummary;
use gtmpl_ng::{Context, Func, FuncError, Template, Value};
use serde::Serialize;

use crate::failure::{Exit, Failure};

/// Returns whether the template asks for the whole as JSON.
pub(crate) fn is_json(template: &str) -> bool {
    let inner = template.trim();
    let inner = inner
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"))
        .unwrap_or(inner);
    matches!(
        inner.split_whitespace().collect::<Vec<_>>().as_slice(),
        ["json"] | ["json", "."]
    )
}

/// Returns whether the output could show the tags.
pub(crate) fn shows_tags(template: &str) -> bool {
    if is_json(template) || template.contains("RepoTags") {
        return true;
    }
    // A lone dot is the whole value.
    template
        .split("{{")
        .skip(1)
        .filter_map(|rest| rest.split("}}").next())
        .any(|action| {
            action
                .split(|c: char| c.is_whitespace() || "()|".contains(c))
                .any(|word| word == "." || word == "$")
        })
}

/// Renders a template over a summary.
pub(crate) fn summary(template: &str, summary: &ImageSummary) -> Result<String, Failure> {
    // Fields that the JSON form leaves out when they are empty exist in templates.
    let mut value = tree(summary)?;
    if let serde_json::Value::Object(fields) = &mut value {
        for field in ["Name", "Tag"] {
            fields.entry(field).or_insert_with(|| "".into());
        }
    }
    render(template, &value, &["Labels", "Annotations"])
}

/// Renders a template over a config, whose fields have Go's names.
pub(crate) fn config(template: &str, config: &ImageConfig) -> Result<String, Failure> {
    let value = tree(config)?;
    render(
        template,
        &go_config(&value),
        &["Labels", "ExposedPorts", "Volumes"],
    )
}

fn tree<T: Serialize>(value: &T) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(value)
        .map_err(|error| Failure::new(Exit::General, "cannot show the image").caused_by(&error))
}

fn render(template: &str, value: &serde_json::Value, maps: &[&str]) -> Result<String, Failure> {
    let fail = |error: &dyn std::error::Error| {
        Failure::new(
            Exit::Usage,
            "the template given with `--format` cannot be rendered",
        )
        .caused_by(error)
        .hint("the fields are those that `inspect` prints, such as {{.Digest}} or {{.Labels}}")
    };
    let mut text = template.replace("\\n", "\n").replace("\\t", "\t");
    let table = text.strip_prefix("table ").map(str::to_owned);
    if let Some(rest) = &table {
        text = rest.replace("}} {{", "}}\t{{");
    }
    let mut parsed = Template::with_name("dhow inspect");
    parsed.add_funcs(FUNCTIONS);
    parsed.parse(text).map_err(|error| fail(&error))?;
    let mut output = parsed
        .render(&Context::from(convert(value, false, maps)))
        .map_err(|error| fail(&error))?;
    if table.is_some() {
        output = aligned(&output);
    }
    if !output.ends_with('\n') {
        output.push('\n');
    }
    Ok(output)
}

/// Turns JSON into template values: structs, whose missing fields are errors, and maps, whose
/// missing keys are empty.
fn convert(value: &serde_json::Value, is_map: bool, maps: &[&str]) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::from(number),
            None => Value::from(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::String(text.clone()),
        serde_json::Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| convert(item, false, maps))
                .collect(),
        ),
        serde_json::Value::Object(fields) => {
            let fields: HashMap<String, Value> = fields
                .iter()
                .map(|(key, value)| {
                    (
                        key.clone(),
                        convert(value, maps.contains(&key.as_str()), maps),
                    )
                })
                .collect();
            if is_map {
                Value::Map(fields)
            } else {
                Value::Object(fields)
            }
        }
    }
}

/// Gives a config the field names of Go's struct, with all fields there.
fn go_config(config: &serde_json::Value) -> serde_json::Value {
    use serde_json::{Value as Json, json};
    let field = |name: &str| config.get(name).cloned().unwrap_or(Json::Null);
    let text = |name: &str| config.get(name).cloned().unwrap_or_else(|| "".into());
    let container = config.get("config").cloned().unwrap_or_else(|| json!({}));
    let inner = |name: &str, empty: Json| container.get(name).cloned().unwrap_or(empty);
    let root = config.get("rootfs").cloned().unwrap_or_else(|| json!({}));
    let history = config
        .get("history")
        .and_then(Json::as_array)
        .cloned()
        .unwrap_or_default();
    let history: Vec<Json> = history
        .iter()
        .map(|entry| {
            let part = |name: &str, empty: Json| entry.get(name).cloned().unwrap_or(empty);
            json!({
                "Created": part("created", Json::Null),
                "CreatedBy": part("created_by", "".into()),
                "Author": part("author", "".into()),
                "Comment": part("comment", "".into()),
                "EmptyLayer": part("empty_layer", false.into()),
            })
        })
        .collect();
    json!({
        "Created": field("created"),
        "Author": text("author"),
        "Architecture": text("architecture"),
        "Variant": text("variant"),
        "OS": text("os"),
        "OSVersion": text("os.version"),
        "OSFeatures": field("os.features"),
        "Config": {
            "User": inner("User", "".into()),
            "ExposedPorts": inner("ExposedPorts", json!({})),
            "Env": inner("Env", json!([])),
            "Entrypoint": inner("Entrypoint", json!([])),
            "Cmd": inner("Cmd", json!([])),
            "Volumes": inner("Volumes", json!({})),
            "WorkingDir": inner("WorkingDir", "".into()),
            "Labels": inner("Labels", json!({})),
            "StopSignal": inner("StopSignal", "".into()),
        },
        "RootFS": {
            "Type": root.get("type").cloned().unwrap_or_else(|| "".into()),
            "DiffIDs": root.get("diff_ids").cloned().unwrap_or_else(|| json!([])),
        },
        "History": history,
    })
}

/// Aligns columns that tabs separate, as Go's tabwriter: at least 12 wide, 2 apart.
fn aligned(text: &str) -> String {
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| column + 1 < row.len());
        cells
            .map(|row| row[column].chars().count() + 2)
            .max()
            .unwrap_or_default()
            .max(12)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut output = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            if column + 1 < row.len() {
                output.push_str(&format!("{cell:width$}", width = widths[column]));
            } else {
                output.push_str(cell);
            }
        }
        output.push('\n');
    }
    output
}

const FUNCTIONS: &[(&str, Func)] = &[
    ("json", json),
    ("join", join),
    ("lower", |arguments| {
        Ok(Value::String(one(arguments, "lower")?.to_lowercase()))
    }),
    ("upper", |arguments| {
        Ok(Value::String(one(arguments, "upper")?.to_uppercase()))
    }),
    ("title", |arguments| {
        Ok(Value::String(title(one(arguments, "title")?)))
    }),
    ("split", split),
    ("pad", pad),
    ("truncate", truncate),
];

fn json(arguments: &[Value]) -> Result<Value, FuncError> {
    match arguments {
        [value] => Ok(Value::String(to_json(value))),
        _ => Err(FuncError::ExactlyXArgs("json".to_owned(), 1)),
    }
}

/// Writes JSON with the fields of summaries in their order, and all others sorted.
fn to_json(value: &Value) -> String {
    const ORDER: [&str; 4] = ["MIMEType", "Digest", "Size", "Annotations"];
    match value {
        Value::String(text) => serde_json::Value::from(text.as_str()).to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(to_json).collect();
            format!("[{}]", items.join(","))
        }
        Value::Map(fields) | Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            let place = |key: &str| {
                ORDER
                    .iter()
                    .position(|known| *known == key)
                    .unwrap_or(ORDER.len())
            };
            keys.sort_by_key(|key| (place(key), (*key).clone()));
            let fields: Vec<String> = keys
                .into_iter()
                .map(|key| {
                    format!(
                        "{}:{}",
                        serde_json::Value::from(key.as_str()),
                        to_json(&fields[key])
                    )
                })
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::NoValue | Value::Nil | Value::Function(_) => "null".to_owned(),
    }
}

fn join(arguments: &[Value]) -> Result<Value, FuncError> {
    match arguments {
        [Value::Array(items), Value::String(separator)] => {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            Ok(Value::String(items.join(separator)))
        }
        [Value::Nil, Value::String(_)] => Ok(Value::String(String::new())),
        [_, _] => Err(FuncError::UnableToConvertFromValue),
        _ => Err(FuncError::ExactlyXArgs("join".to_owned(), 2)),
    }
}

fn split(arguments: &[Value]) -> Result<Value, FuncError> {
    match arguments {
        [Value::String(text), Value::String(separator)] => Ok(Value::Array(
            text.split(separator.as_str()).map(Value::from).collect(),
        )),
        [_, _] => Err(FuncError::UnableToConvertFromValue),
        _ => Err(FuncError::ExactlyXArgs("split".to_owned(), 2)),
    }
}

fn pad(arguments: &[Value]) -> Result<Value, FuncError> {
    match arguments {
        [Value::String(text), before, after] => {
            if text.is_empty() {
                return Ok(Value::String(String::new()));
            }
            let (before, after) = (count(before)?, count(after)?);
            Ok(Value::String(format!(
                "{}{text}{}",
                " ".repeat(before),
                " ".repeat(after)
            )))
        }
        [_, _, _] => Err(FuncError::UnableToConvertFromValue),
        _ => Err(FuncError::ExactlyXArgs("pad".to_owned(), 3)),
    }
}

fn truncate(arguments: &[Value]) -> Result<Value, FuncError> {
    match arguments {
        [Value::String(text), length] => {
            Ok(Value::String(text.chars().take(count(length)?).collect()))
        }
        [_, _] => Err(FuncError::UnableToConvertFromValue),
        _ => Err(FuncError::ExactlyXArgs("truncate".to_owned(), 2)),
    }
}

fn count(value: &Value) -> Result<usize, FuncError> {
    const MOST: usize = 10_000;
    let number: usize = value
        .to_string()
        .parse()
        .map_err(|_| FuncError::UnableToConvertFromValue)?;
    if number > MOST {
        Err(FuncError::UnableToConvertFromValue)
    } else {
        Ok(number)
    }
}

fn one<'a>(arguments: &'a [Value], name: &str) -> Result<&'a str, FuncError> {
    match arguments {
        [Value::String(text)] => Ok(text),
        [_] => Err(FuncError::UnableToConvertFromValue),
        _ => Err(FuncError::ExactlyXArgs(name.to_owned(), 1)),
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let shown = if start { c.to_ascii_uppercase() } else { c };
            start = !c.is_alphanumeric();
            shown
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(template: &str) -> Result<String, Failure> {
        let value = serde_json::json!({
            "Name": "quay.io/a/b", "Digest": "sha256:00", "Layers": ["x", "y"],
            "Labels": {"k": "<v>"}, "Env": null,
            "LayersData": [{"MIMEType": "m", "Digest": "x", "Size": 3, "Annotations": null}],
        });
        render(template, &value, &["Labels"])
    }

    #[test]
    fn templates_render_as_gos() {
        for (template, output) in [
            ("{{.Name}}", "quay.io/a/b\n"),
            ("{{.Name}} {{.Digest}}", "quay.io/a/b sha256:00\n"),
            (r"{{.Name}}\n", "quay.io/a/b\n"),
            ("{{range .Layers}}{{.}},{{end}}", "x,y,\n"),
            ("{{join .Layers \"-\"}}", "x-y\n"),
            ("{{json .Labels}}", "{\"k\":\"<v>\"}\n"),
            (
                "{{json .LayersData}}",
                "[{\"MIMEType\":\"m\",\"Digest\":\"x\",\"Size\":3,\"Annotations\":null}]\n",
            ),
            ("{{upper .Name}}", "QUAY.IO/A/B\n"),
            (
                "{{truncate .Name 4}}|{{pad .Name 1 2}}|",
                "quay| quay.io/a/b  |\n",
            ),
            ("{{len .Layers}}", "2\n"),
            ("{{index .Layers 1}}", "y\n"),
            ("table {{.Digest}} {{.Name}}", "sha256:00   quay.io/a/b\n"),
            ("{{if .Env}}a{{else}}b{{end}}", "b\n"),
        ] {
            assert_eq!(shown(template).ok().as_deref(), Some(output), "{template}");
        }
    }

    #[test]
    fn wrong_templates_are_errors() {
        for template in ["{{.Nope}}", "{{", "{{nofunc .}}", "{{truncate .Layers 3}}"] {
            assert!(shown(template).is_err(), "{template}");
        }
    }

    #[test]
    fn tags_are_listed_only_for_what_shows_them() {
        assert!(shows_tags("{{.RepoTags}}") && shows_tags("json") && shows_tags("{{json .}}"));
        assert!(shows_tags("{{.}}") && shows_tags("{{ . }}"));
        assert!(!shows_tags("{{.Digest}}") && !shows_tags("{{.Name}} v1.0"));
    }

    #[test]
    fn json_alone_means_the_whole() {
        assert!(
            is_json("json")
                && is_json("{{json .}}")
                && is_json("{{ json . }}")
                && is_json("{{json}}")
        );
        assert!(!is_json("{{json .Labels}}"));
    }
}
