//! Programs of others that tests compare with.

use std::path::Path;
use std::process::Command;

use crate::dhow::{Desk, outcome};

/// Returns whether a program is installed. Where all must be, under `CI=true`, its absence fails
/// the test.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "CI says so in the environment, and who runs tests wants to know"
)]
#[track_caller]
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([
            Path::new("/usr/sbin").to_owned(),
            Path::new("/sbin").to_owned(),
        ])
        .any(|directory| directory.join(program).is_file());
    if !found {
        assert!(
            std::env::var_os("CI").is_none(),
            "{program} is not installed"
        );
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Returns whether tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns skopeo, ready for arguments.
pub(crate) fn skopeo(desk: &Desk) -> Command {
    let mut command = desk.dressed("skopeo");
    command.args(["--insecure-policy", "--override-os=linux"]);
    command
}

/// Runs skopeo and returns what it printed.
#[track_caller]
pub(crate) fn run_skopeo(desk: &Desk, arguments: &[&str]) -> String {
    outcome(skopeo(desk).args(arguments)).ok()
}
