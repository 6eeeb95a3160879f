//! `cargo xtask tidy`: the rules of the project that no compiler checks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use xtask::shell::root;

/// Checks the whole tree and reports everything that is wrong at once.
pub(crate) fn run() -> Result<(), String> {
    let root = root();
    let mut problems = Vec::new();
    for file in rust_files(&root.join("crates")) {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let shown = file
            .strip_prefix(&root)
            .unwrap_or(&file)
            .display()
            .to_string();
        problems.extend(check_file(&shown, &text));
    }
    problems.extend(check_crates(&root));
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE",
    ] {
        if !root.join(document).is_file() {
            problems.push(format!("{document} is missing"));
        }
    }
    if problems.is_empty() {
        println!("tidy: nothing to complain about");
        return Ok(());
    }
    Err(format!(
        "tidy: {} problems\n{}",
        problems.len(),
        problems.join("\n")
    ))
}

/// Which crates of the workspace a crate may use, besides in its tests. A new edge is a change of
/// this table, and needs a note in docs/decisions/.
const LAYERS: [(&str, &[&str]); 16] = [
    ("model", &[]),
    ("config", &["model"]),
    ("codec", &["model"]),
    ("transport", &["model"]),
    ("client", &["model", "config"]),
    ("layout", &["model"]),
    ("storage", &["model", "config"]),
    (
        "transports",
        &[
            "transport",
            "client",
            "layout",
            "storage",
            "codec",
            "config",
            "model",
        ],
    ),
    ("trust", &["model", "config", "transport", "client"]),
    ("copy", &["model", "codec", "transport", "trust"]),
    ("server", &["model", "layout"]),
    (
        "ops",
        &[
            "model",
            "config",
            "codec",
            "transport",
            "client",
            "layout",
            "storage",
            "transports",
            "trust",
            "copy",
            "server",
        ],
    ),
    ("cli", &["ops", "model", "config", "transport"]),
    ("testkit", &["model", "transport"]),
    ("workbench", &["testkit", "model", "xtask"]),
    ("xtask", &[]),
];

fn check_crates(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    let layers: BTreeMap<&str, &[&str]> = LAYERS.into_iter().collect();
    let mut names: Vec<String> = fs::read_dir(root.join("crates"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for name in names {
        let folder = root.join("crates").join(&name);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        let Some(allowed) = layers.get(name.as_str()) else {
            problems.push(format!("crates/{name} is not in the table of layers"));
            continue;
        };
        for used in dependencies(&manifest) {
            if !allowed.contains(&used.as_str()) {
                problems.push(format!("crates/{name} must not use {used}"));
            }
        }
        match fs::read_to_string(folder.join("README.md")) {
            Ok(text) if text.lines().count() <= 40 => {}
            Ok(_) => problems.push(format!("crates/{name}/README.md has more than 40 lines")),
            Err(_) => problems.push(format!("crates/{name}/README.md is missing")),
        }
    }
    problems
}

/// Returns the crates of the workspace under `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut in_table = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_table = line == "[dependencies]";
        } else if in_table && let Some(rest) = line.strip_prefix("dhow-") {
            let name = rest.split(['.', ' ', '=']).next().unwrap_or_default();
            found.push(name.to_owned());
        }
    }
    found
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn check_file(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let code = without_tests(text);
    let lines = code.lines().count();
    if lines > MAX_FILE_LINES {
        problems.push(format!(
            "{name}: {lines} lines without tests, more than {MAX_FILE_LINES}"
        ));
    }
    if !text.starts_with("//!") {
        problems.push(format!("{name}: does not begin with a module comment"));
    }
    for (start, length) in functions(text) {
        if length > MAX_FUNCTION_LINES {
            problems.push(format!(
                "{name}:{start}: a function of {length} lines, more than {MAX_FUNCTION_LINES}"
            ));
        }
    }
    let stem = Path::new(name)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    if BANNED_FILES.contains(&stem) {
        problems.push(format!(
            "{name}: a file is named after what it is for, not `{stem}`"
        ));
    }
    for (number, line) in code.lines().enumerate() {
        if let Some(word) = banned_type(line) {
            problems.push(format!(
                "{name}:{}: a type named `{word}` says nothing",
                number + 1
            ));
        }
    }
    if name.ends_with("/mod.rs") && code.lines().any(|line| line.contains("fn ")) {
        problems.push(format!(
            "{name}: holds code; mod.rs is for docs, `mod` and `use`"
        ));
    }
    problems
}

const MAX_FILE_LINES: usize = 800;
const MAX_FUNCTION_LINES: usize = 100;
const BANNED_FILES: [&str; 6] = ["utils", "util", "common", "misc", "helper", "helpers"];
const BANNED_ENDINGS: [&str; 5] = ["Manager", "Helper", "Handler", "Processor", "Util"];

fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests")
        .map_or(text, |end| &text[..end])
}

fn banned_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = ["pub(crate) ", "pub(super) ", "pub "]
        .iter()
        .find_map(|prefix| line.strip_prefix(prefix));
    let line = rest.unwrap_or(line);
    let name = ["struct ", "enum ", "trait "]
        .iter()
        .find_map(|word| line.strip_prefix(word))?;
    let name = name.split(|c: char| !c.is_alphanumeric()).next()?;
    BANNED_ENDINGS
        .iter()
        .any(|ending| name.ends_with(ending))
        .then_some(name)
}

/// Returns where each function begins (1-based) and how many lines it has, going by rustfmt's
/// indentation: a function ends at the first `}` as far left as its beginning.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let starts = [
            "fn ",
            "pub fn ",
            "async fn ",
            "pub async fn ",
            "pub(crate) fn ",
            "pub(crate) async fn ",
            "pub(super) fn ",
            "pub(super) async fn ",
            "const fn ",
            "pub const fn ",
        ]
        .iter()
        .any(|start| body.starts_with(start));
        if !starts || body.ends_with(';') {
            continue;
        }
        let indent = &line[..line.len() - body.len()];
        let end = format!("{indent}}}");
        let length = lines[number..].iter().position(|line| *line == end);
        if let Some(length) = length {
            found.push((number + 1, length + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_by_their_indentation() {
        let text = "fn a() {\n    x();\n}\n\nimpl T {\n    pub fn b() {\n        y();\n        z();\n    }\n    fn c();\n}\n";
        assert_eq!(functions(text), [(1, 3), (6, 4)]);
    }

    #[test]
    fn long_functions_and_bare_files_are_reported() {
        let text = format!("fn a() {{\n{}}}\n", "    x();\n".repeat(MAX_FUNCTION_LINES));
        assert_eq!(check_file("crates/x/src/a.rs", &text).len(), 2);
        assert_eq!(check_file("crates/x/src/utils.rs", "//! Doc.\n").len(), 1);
        assert_eq!(
            check_file("crates/x/src/a.rs", "//! Doc.\npub struct ThingManager;\n").len(),
            1
        );
        assert_eq!(
            check_file("crates/x/src/mod.rs", "//! Doc.\nmod a;\n").len(),
            0
        );
    }

    #[test]
    fn only_real_dependencies_count() {
        let manifest = "[dependencies]\ndhow-model.workspace = true\nbytes = \"1\"\n[dev-dependencies]\ndhow-testkit.workspace = true\n";
        assert_eq!(dependencies(manifest), ["model"]);
    }
}
