//! The dhow command line: a thin shell around `dhow_ops`.

mod app;
mod commands;
mod failure;
mod options;
mod render;

use std::process::ExitCode;

fn main() -> ExitCode {
    let environment = dhow_config::EnvSnapshot::capture();
    app::main(std::env::args_os().collect(), environment)
}
