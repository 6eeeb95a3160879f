//! The dhow command line: a thin shell around `dhow_ops`.

mod app;
mod arenas;
mod commands;
mod failure;
mod namespace;
mod options;
mod power;
mod render;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    arenas::share();
    let environment = dhow_config::EnvSnapshot::capture();
    let arguments: Vec<_> = std::env::args_os().collect();
    app::main(&arguments, environment)
}
