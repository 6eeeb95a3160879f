//! The examples of the documents use commands and flags that exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::dhow::Desk;

/// Returns the documents that show commands.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs/user")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
    found
}

/// Returns the command lines that begin with `dhow ` inside of the shell blocks of a document.
fn examples(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            let line = line.strip_prefix("$ ").unwrap_or(line);
            if line.starts_with("dhow ") {
                found.push(line.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_example_uses_commands_and_flags_that_exist() {
    let desk = Desk::new();
    let mut help: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = 0;
    for document in documents() {
        for example in examples(&fs::read_to_string(&document).unwrap()) {
            seen += 1;
            let shown = format!("{}: {example}", document.display());
            let mut words = example.split_whitespace().skip(1);
            let verb = words
                .by_ref()
                .find(|word| !word.starts_with('-'))
                .expect("it names a command");
            let help = help
                .entry(verb.to_owned())
                .or_insert_with(|| desk.dhow(&[verb, "--help"]).ok());
            for flag in example
                .split_whitespace()
                .filter(|word| word.starts_with("--"))
            {
                let flag = flag.split('=').next().unwrap_or(flag);
                assert!(help.contains(flag), "{shown}: there is no {flag}");
            }
        }
    }
    assert!(seen >= 10, "the documents show only {seen} commands");
}
