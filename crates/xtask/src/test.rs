//! `cargo xtask test`: every check there is, in the order in which they fail fastest.

use xtask::shell::{self, cargo, has};

use crate::{packages, tidy};

/// Runs the checks.
fn run_in(install: bool) -> Result<(), String> {
    let in_ci = shell::in_ci();
    packages::provide(install || in_ci)?;
    let cargo = cargo();
    let cargo = cargo.as_str();
    shell::run(cargo, &["fmt", "--all", "--check"])?;
    tidy::run()?;
    shell::run(
        cargo,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    // As users build it: the other steps build crates with the features that only tests want, too.
    shell::run(cargo, &["check", "--workspace", "--locked", "--quiet"])?;
    shell::run(
        cargo,
        &["test", "--workspace", "--locked", "--quiet", "--doc"],
    )?;
    if has("cargo-nextest") {
        let profile = if in_ci { "ci" } else { "default" };
        shell::run(
            cargo,
            &[
                "nextest",
                "run",
                "--workspace",
                "--locked",
                "--profile",
                profile,
            ],
        )
    } else {
        shell::run(cargo, &["test", "--workspace", "--locked", "--all-targets"])
    }
}

/// Runs the checks with the arguments of the command line.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    match arguments {
        [] => run_in(false),
        [flag] if flag == "--install" => run_in(true),
        _ => Err("usage: cargo xtask test [--install]".to_owned()),
    }
}
