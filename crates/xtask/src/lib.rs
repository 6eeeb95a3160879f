//! What every tool of the project's own needs: where the workspace is, and running other programs.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its programs talk to developers"
)]

pub mod shell;
