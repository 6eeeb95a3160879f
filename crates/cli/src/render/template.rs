//! Go templates for `inspect --format`, with the functions that skopeo adds.

use dhow_model::ImageConfig;
use dhow_ops::ImageSummary;
use gtmpl_ng::{Context, ExecError, Func, FuncError, Template, Value};
use serde::Serialize;

use super::go_struct::{self, Struct};
use super::tabs;
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
    shows_everything(template)
}

/// Renders a template over a summary.
pub(crate) fn summary(template: &str, summary: &ImageSummary) -> Result<String, Failure> {
    render(template, &go_struct::SUMMARY, &tree(summary)?)
}

/// Renders a template over a config, whose fields have Go's names.
pub(crate) fn config(template: &str, config: &ImageConfig) -> Result<String, Failure> {
    render(template, &go_struct::CONFIG, &tree(config)?)
}

fn tree<T: Serialize>(value: &T) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(value)
        .map_err(|error| Failure::new(Exit::General, "cannot show the image").caused_by(&error))
}

fn render(template: &str, structure: &Struct, json: &serde_json::Value) -> Result<String, Failure> {
    let fail = |why: String| {
        Failure::new(
            Exit::Usage,
            "the template given with `--format` cannot be rendered",
        )
        .because(why)
        .hint("the fields are those that `inspect` prints, such as {{.Digest}} or {{.Labels}}")
    };
    let mut text = template.replace("\\n", "\n").replace("\\t", "\t");
    let table = text.strip_prefix("table ").map(str::to_owned);
    if let Some(rest) = &table {
        text = separate_fields(rest.trim());
    }
    let data = structure.value(json);
    // COMPAT(skopeo): the data is a list of one, and the template is what is done for each of its
    // items, unless it says so itself.
    let data = if ranges_itself(&text) {
        Value::Array(vec![data])
    } else {
        data
    };
    let mut parsed = Template::with_name("inspect");
    parsed.add_funcs(FUNCTIONS);
    parsed
        .parse(text.as_str())
        .map_err(|error| fail(error.to_string()))?;
    let mut output = parsed
        .render(&Context::from(data))
        .map_err(|error| fail(explain(&error, &text)))?;
    if !output.ends_with('\n') {
        output.push('\n');
    }
    Ok(if table.is_some() {
        tabs::align(&output)
    } else {
        output
    })
}

/// Returns what went wrong and where, on one line and without the data.
fn explain(error: &ExecError, template: &str) -> String {
    let Some(error) = error.as_structured() else {
        return error.to_string();
    };
    // The crate's message ends with all of the data.
    let message = match error.message.strip_prefix("no field `") {
        Some(rest) => {
            let name = rest.split('`').next().unwrap_or_default();
            format!("there is no field `{name}`")
        }
        None => error.message.clone(),
    };
    let context = &error.context;
    let line = template.lines().nth(context.line.saturating_sub(1));
    let expression = line.and_then(|line| {
        line.get(context.col.saturating_sub(1)..)?
            .get(..context.len)
    });
    match expression {
        Some(expression) if !expression.is_empty() => format!("`{expression}`: {message}"),
        _ => message,
    }
}

/// Turns the blanks between the fields of a table into tabs.
fn separate_fields(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find("}}") {
        let (field, tail) = rest.split_at(at + 2);
        out.push_str(field);
        let next = tail.trim_start_matches(' ');
        if next.len() < tail.len() && next.starts_with("{{") {
            out.push('\t');
            rest = next;
        } else {
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

fn ranges_itself(body: &str) -> bool {
    actions(body).any(|action| action.split_whitespace().eq(["range", "."]))
}

/// Returns the text of the actions (`{{…}}`) of a template, without trim markers.
fn actions(body: &str) -> impl Iterator<Item = &str> {
    body.split("{{").skip(1).filter_map(|rest| {
        let (action, _) = rest.split_once("}}")?;
        let action = action.strip_prefix('-').unwrap_or(action);
        Some(action.strip_suffix('-').unwrap_or(action).trim())
    })
}

/// Returns whether a template uses the data as a whole (`{{.}}`, `{{json .}}`, `$`) rather than
/// single fields. May say yes too often, never no.
fn shows_everything(body: &str) -> bool {
    // For each open block: whether dot is the data as a whole in it.
    let mut blocks = vec![true];
    for action in actions(body) {
        let whole = blocks.last().copied().unwrap_or(true);
        let mut words = action
            .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '|'))
            .filter(|word| !word.is_empty());
        let keyword = words.next().unwrap_or_default();
        let operands: Vec<&str> = words.collect();
        let uses_whole = |words: &[&str]| {
            words
                .iter()
                .any(|word| *word == "$" || (whole && *word == "."))
        };
        match keyword {
            "range" | "with" => {
                let same = operands.as_slice() == ["."];
                if !same && uses_whole(&operands) {
                    return true;
                }
                blocks.push(whole && same);
            }
            "if" => {
                if uses_whole(&operands) {
                    return true;
                }
                blocks.push(whole);
            }
            "end" => {
                blocks.pop();
            }
            // Rare enough that listing the tags for nothing does not matter.
            "define" | "block" | "template" => return true,
            "else" => {
                if let Some(last) = blocks.last_mut() {
                    *last = true;
                }
            }
            _ if uses_whole(&[keyword]) || uses_whole(&operands) => return true,
            _ => {}
        }
    }
    false
}

const FUNCTIONS: &[(&str, Func)] = &[
    ("json", json),
    ("index", index),
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
    let out = match arguments {
        [Value::String(text)] => {
            let time = go_struct::rfc3339(text);
            serde_json::Value::String(time.unwrap_or_else(|| text.clone()))
        }
        [value] => go_struct::json(value),
        _ => return Err(FuncError::ExactlyXArgs("json".to_owned(), 1)),
    };
    Ok(Value::String(out.to_string()))
}

/// Go's `index`: a key that a map of texts does not have is the empty text.
fn index(arguments: &[Value]) -> Result<Value, FuncError> {
    match (arguments, gtmpl_ng::funcs::index(arguments)?) {
        ([Value::Map(_), _], Value::NoValue) => Ok(Value::String(String::new())),
        (_, value) => Ok(value),
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
        [Value::String(text), Value::String(separator)] if separator.is_empty() => {
            let characters = text.chars().map(|c| Value::String(c.to_string()));
            Ok(Value::Array(characters.collect()))
        }
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
            "Labels": {"k": "<v>"}, "Env": null, "Os": "linux", "RepoTags": ["v1", "v2"],
            "Created": "2024-01-02T03:04:05Z",
            "LayersData": [{"MIMEType": "m", "Digest": "x", "Size": 3, "Annotations": null}],
        });
        render(template, &go_struct::SUMMARY, &value)
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
            ("{{range .Env}}{{.}}{{end}}", "\n"),
            ("{{range .}}{{.Name}}{{end}}", "quay.io/a/b\n"),
            ("{{json .Created}}", "\"2024-01-02T03:04:05Z\"\n"),
            ("{{.Created}}", "2024-01-02 03:04:05 +0000 UTC\n"),
            ("{{.Labels.none}}", "<no value>\n"),
            ("{{index .Labels \"none\"}}", "\n"),
            ("{{index .Labels \"k\"}}{{.Tag}}", "<v>\n"),
            ("{{index (split .Name \"/\") 1}}", "a\n"),
            (
                "{{.Os | title}} {{printf \"%s-%d\" .Os 5}}",
                "Linux linux-5\n",
            ),
        ] {
            assert_eq!(shown(template).ok().as_deref(), Some(output), "{template}");
        }
    }

    #[test]
    fn wrong_templates_are_errors_without_the_data() {
        for template in [
            "{{.Nope}}",
            "{{.Name.Nope}}",
            "{{",
            "{{.Name",
            "{{end}}",
            "{{nofunc .}}",
            "{{truncate .Layers 3}}",
            "{{pad .Os -1 2}}",
            "{{pad .Os 1 99999999}}",
            "{{index .Layers 9}}",
        ] {
            let failure = shown(template).unwrap_err();
            assert!(!format!("{failure:?}").contains("sha256:00"), "{template}");
        }
    }

    #[test]
    fn a_config_has_the_names_of_gos_struct() {
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Env": ["A=1"], "WorkingDir": "/w"},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:aa"]},
            "history": [{"created_by": "x", "empty_layer": true}],
        });
        for (template, output) in [
            (
                "{{.OS}}{{.Variant}} {{.Config.WorkingDir}} {{.Config.User}}",
                "linux /w \n",
            ),
            ("{{.RootFS.DiffIDs}}", "[sha256:aa]\n"),
            (
                "{{range .History}}{{.CreatedBy}} {{.EmptyLayer}}{{end}}",
                "x true\n",
            ),
            (
                "{{json .RootFS}}",
                "{\"type\":\"layers\",\"diff_ids\":[\"sha256:aa\"]}\n",
            ),
            (
                "{{json .Config}}",
                "{\"Env\":[\"A=1\"],\"WorkingDir\":\"/w\"}\n",
            ),
        ] {
            let shown = render(template, &go_struct::CONFIG, &config).unwrap();
            assert_eq!(shown, output, "{template}");
        }
    }

    #[test]
    fn a_dot_inside_a_loop_is_not_the_whole() {
        for (template, whole) in [
            ("{{range .Layers}}{{.}}{{end}}", false),
            ("{{with .Labels}}{{.}}{{end}}{{.Os}}", false),
            ("{{range .}}{{.Name}}{{end}}", false),
            ("{{range .}}{{.}}{{end}}", true),
            ("{{range .Layers}}{{.}}{{else}}{{.}}{{end}}", true),
            ("{{range .Layers}}{{$}}{{end}}", true),
            ("{{ printf \"%v\" . }}", true),
            ("{{- . | json -}}", true),
        ] {
            assert_eq!(shows_tags(template), whole, "{template}");
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
