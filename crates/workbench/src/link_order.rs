//! `cargo xtask link-order`: finds out which functions daily commands run, and writes their names down
//! for the linker, which puts them side by side (docs/decisions/0018-functions-side-by-side.md).
//!
//! ```text
//! release with symbols ─▶ the demo and more, under valgrind ─▶ names ─▶ crates/cli/link/used.txt
//! ```

mod more;
mod names;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::demo;
use xtask::shell;

/// Writes the list, or says how much of the present one a build has.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    match arguments {
        [] => record(),
        [flag] if flag == "--check" => check(),
        _ => Err("usage: cargo xtask link-order [--check]".to_owned()),
    }
}

fn record() -> Result<(), String> {
    let dhow = build()?;
    let folder = tempfile::tempdir().map_err(|error| format!("cannot begin: {error}"))?;
    let wrapper = wrap(&dhow, folder.path())?;
    demo::play(&wrapper, more::play)?;
    let defined = symbols(&dhow)?;
    let mut list = names::List::default();
    for path in recordings(folder.path())? {
        let text = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        list.add(&String::from_utf8_lossy(&text), &defined);
    }
    fs::write(list_path(), list.to_string())
        .map_err(|error| format!("cannot write {}: {error}", list_path().display()))?;
    println!("{}: {} functions", list_path().display(), list.len());
    Ok(())
}

/// Says how many of the listed functions a build of today has: after many changes, or with another
/// compiler, it is time to record again.
fn check() -> Result<(), String> {
    let defined = symbols(&build()?)?;
    let path = list_path();
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (known, all) = names::known(&text, &defined);
    println!("{known} of {all} listed functions are in this build");
    if known * 10 < all * 9 {
        return Err("the list is old: run `cargo xtask link-order`".to_owned());
    }
    Ok(())
}

/// Builds dhow as it is released, with the names of its functions.
fn build() -> Result<PathBuf, String> {
    shell::run(
        &shell::cargo(),
        &[
            "rustc",
            "--release",
            "--locked",
            "--package",
            "dhow-cli",
            "--bin",
            "dhow",
            "--",
            "-C",
            "strip=none",
        ],
    )?;
    Ok(shell::released_dhow())
}

/// Writes a program that records what dhow runs.
fn wrap(dhow: &Path, folder: &Path) -> Result<PathBuf, String> {
    let valgrind = shell::find("valgrind").ok_or("this needs valgrind")?;
    let path = folder.join("dhow");
    // A usual environment has more than the demo's two variables, and more of them are sorted in another way.
    let text = format!(
        "#!/bin/sh\nfor n in $(seq 30); do export USUAL_$n=; done\n\
         exec {} --quiet --tool=callgrind --demangle=no --callgrind-out-file={}/%p.{RECORDING} {} \"$@\"\n",
        valgrind.display(),
        folder.display(),
        dhow.display()
    );
    fs::write(&path, text)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}

/// Returns the recordings, one of each command.
fn recordings(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == RECORDING))
        .collect();
    found.sort();
    Ok(found)
}

/// Returns the names of all functions of a program.
fn symbols(program: &Path) -> Result<Vec<String>, String> {
    let output = Command::new("nm")
        .arg(program)
        .output()
        .map_err(|error| format!("cannot run nm: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let functions = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let kind = words.next()?;
        words.next().filter(|_| kind.eq_ignore_ascii_case("t"))
    });
    let functions: Vec<String> = functions.map(str::to_owned).collect();
    if functions.is_empty() {
        return Err(format!("{} has no symbols", program.display()));
    }
    Ok(functions)
}

fn list_path() -> PathBuf {
    shell::root().join("crates/cli/link/used.txt")
}

/// How the files with recordings end.
const RECORDING: &str = "callgrind";
