//! A program that enters a user namespace and then does what its arguments say; the tests of
//! `userns` run it. `enter sh -c 'cat /proc/self/uid_map'` is like `podman unshare`.

#![expect(clippy::print_stderr, reason = "this is a program, not a library")]

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use dhow_config::EnvSnapshot;
use dhow_storage::userns::{self, Entry};

fn main() -> ExitCode {
    let environment = EnvSnapshot::capture();
    let arguments: Vec<_> = std::env::args_os().collect();
    if userns::needed() {
        let entry = Entry {
            environment: &environment,
            arguments: &arguments,
        };
        let mut tell = |fault: &userns::Fault| {
            eprintln!("warning: {}\nhint: {}", fault.message, fault.hint);
        };
        return match userns::enter(&entry, &mut tell) {
            Ok(status) => ExitCode::from(userns::exit_code(status)),
            Err(error) => {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                eprintln!("error: {error}{cause}");
                if let Some(hint) = error.hint() {
                    eprintln!("hint: {hint}");
                }
                ExitCode::from(125)
            }
        };
    }
    let Some((program, rest)) = arguments.get(1..).and_then(<[_]>::split_first) else {
        eprintln!("usage: enter PROGRAM [ARGUMENT…]");
        return ExitCode::from(2);
    };
    // In place of this program, so that whatever ends this one ends that one.
    let error = Command::new(program).args(rest).exec();
    eprintln!("error: {error}");
    ExitCode::from(127)
}
