//! Project automation: `cargo xtask demo`, `test`, `tidy`, `bench`, `link-order` and `simulate`.
#![expect(clippy::print_stdout, reason = "this program talks to developers")]

mod packages;
mod test;
mod tidy;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use xtask::shell;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("test") => test::run(&arguments[1..]),
        Some("tidy") => tidy::run(),
        Some("demo" | "bench" | "link-order" | "simulate") => Err(become_workbench(&arguments)),
        _ => Err(USAGE.to_owned()),
    };
    shell::report(result)
}

/// Builds the workbench and becomes it. Returns what went wrong.
fn become_workbench(arguments: &[String]) -> String {
    let package = ["run", "--quiet", "--package", "dhow-workbench", "--"];
    let mut cargo = Command::new(shell::cargo());
    let error = cargo.args(package).args(arguments).exec();
    format!("cannot run cargo: {error}")
}

const USAGE: &str = "usage: cargo xtask COMMAND

  demo             build dhow and play the walkthrough on two embedded registries
  test [--install] run every check; with --install (or CI=true) install the Debian packages
                   that the end-to-end tests use
  tidy             check sizes, names, layering and documents
  bench [OPTION]   measure dhow beside other tools; --help shows the options
  link-order [--check]
                   record which functions daily commands run, for the linker (needs valgrind); with
                   --check say whether the record is still good
  simulate [OPTION]
                   estimate what a mirror costs, in virtual time; --help shows the options";
