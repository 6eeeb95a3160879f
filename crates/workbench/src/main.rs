//! What developers do with dhow: `cargo xtask demo`, `bench`, `link-order` and `simulate`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program talks to developers"
)]

mod bench;
mod demo;
mod link_order;
mod simulate;

use std::process::ExitCode;

use xtask::shell;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("demo") => demo::run(),
        Some("bench") => bench::run(&arguments[1..]),
        Some("link-order") => link_order::run(&arguments[1..]),
        Some("simulate") => simulate::run(&arguments[1..]),
        Some(bench::MEASURE) => bench::measure(&arguments[1..]),
        _ => Err("usage: cargo xtask demo|bench|link-order|simulate".to_owned()),
    };
    shell::report(result)
}
