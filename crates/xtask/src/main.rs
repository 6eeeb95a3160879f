//! Project automation: `cargo xtask demo`, `test`, `tidy`, `bench`, `link-order` and `simulate`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program talks to developers"
)]

mod bench;
mod demo;
mod link_order;
mod packages;
mod shell;
mod simulate;
mod test;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("demo") => demo::run(),
        Some("test") => test::run(&arguments[1..]),
        Some("tidy") => tidy::run(),
        Some("bench") => bench::run(&arguments[1..]),
        Some("link-order") => link_order::run(&arguments[1..]),
        Some("simulate") => simulate::run(&arguments[1..]),
        Some(bench::MEASURE) => bench::measure(&arguments[1..]),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
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
