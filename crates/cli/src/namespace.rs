//! Podman's storage of a user who is not root: the program runs again in a user namespace.

use std::ffi::OsString;
use std::process::ExitCode;

use dhow_config::EnvSnapshot;
use dhow_ops::userns::{self, Entry, Fault};

use crate::app::Voice;
use crate::failure::{Exit, Failure};
use crate::render::streams;

/// Runs the program again where it can write the storage, if it is to and could not. Returns how
/// that ended; `None`: go on here. There is no other thread yet.
pub(crate) fn enter(
    arguments: &[OsString],
    environment: &EnvSnapshot,
    voice: Voice,
) -> Result<Option<ExitCode>, Failure> {
    if !names_storage(arguments) || !userns::needed() {
        return Ok(None);
    }
    let entry = Entry {
        environment,
        arguments,
    };
    let mut tell = |fault: &Fault| {
        let level = match voice {
            Voice::Dhow => "warning",
            Voice::Skopeo => "WARN",
        };
        streams::eprint(&format!("{level}: {}\nhint: {}", fault.message, fault.hint));
    };
    match userns::enter(&entry, &mut tell) {
        Ok(status) => Ok(Some(ExitCode::from(userns::exit_code(status)))),
        Err(error) => {
            let failure = Failure::new(
                Exit::Local,
                "cannot use the storage of a user who is not root",
            );
            let failure = failure.caused_by(&error);
            Err(match error.hint() {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
    }
}

/// Returns whether an argument is an image of the storage, or says that images are there.
fn names_storage(arguments: &[OsString]) -> bool {
    let mut arguments = arguments.iter().skip(1).filter_map(|text| text.to_str());
    arguments.any(|text| {
        let value = text.split_once('=').map_or(text, |(_, value)| value);
        [text, value].iter().any(|text| {
            *text == STORAGE
                || text
                    .strip_prefix(STORAGE)
                    .is_some_and(|rest| rest.starts_with(':'))
        })
    })
}

const STORAGE: &str = "containers-storage";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_that_name_the_storage_need_a_namespace() {
        let named = |text: &str| {
            let arguments: Vec<OsString> = text.split(' ').map(OsString::from).collect();
            names_storage(&arguments)
        };
        assert!(named("dhow copy docker://a containers-storage:a"));
        assert!(named(
            "dhow sync --src docker --dest containers-storage a b"
        ));
        assert!(named("dhow sync --dest=containers-storage a b"));
        assert!(!named("dhow copy docker://a oci:containers-storage"));
        assert!(!named("containers-storage: inspect docker://a"));
        assert!(!named("dhow copy docker://containers-storage-tool:1 dir:x"));
    }
}
