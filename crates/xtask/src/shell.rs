//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Returns the root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Runs a program in the root of the workspace, says how long that took, and fails when it does.
pub fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    println!("+ {program} {}", arguments.join(" "));
    let started = Instant::now();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    if in_ci() {
        // Nobody builds there twice.
        command.env("CARGO_INCREMENTAL", "0");
    }
    let status = command
        .status()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    println!("  {:.0} s", started.elapsed().as_secs_f64());
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program} {}: {status}", arguments.join(" ")))
    }
}

/// Says what went wrong, and returns how the program ends.
pub fn report(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether this is a machine of CI.
#[expect(clippy::disallowed_methods, reason = "CI says so in the environment")]
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some()
}

/// Returns whether a program can be found.
pub fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Returns where a program is on the search path.
#[expect(clippy::disallowed_methods, reason = "this is no library")]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(program));
    places.find(|place| place.is_file())
}

/// Returns the cargo that runs this program.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo says so in the environment"
)]
pub fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Returns where cargo builds.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo is told so in the environment"
)]
fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Builds dhow as it is released and returns where it is.
pub fn build_dhow() -> Result<PathBuf, String> {
    run(
        &cargo(),
        &["build", "--release", "--locked", "--package", "dhow-cli"],
    )?;
    Ok(released_dhow())
}

/// Returns where a dhow is that was built as it is released.
pub fn released_dhow() -> PathBuf {
    target_directory().join("release/dhow")
}
