//! What is said when the command line makes no sense: clap's words in dhow's voice, skopeo's words
//! in skopeo's.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::app::{Voice, command};
use crate::failure::Failure;

/// Returns the failure for a command line that clap refused. `name` is the command, if there is
/// one.
pub(crate) fn failure(error: &Error, voice: Voice, name: Option<&str>) -> Failure {
    match voice {
        Voice::Dhow => own(error, name),
        Voice::Skopeo => skopeo(error, name),
    }
}

/// Returns the failure for a command line without a command.
pub(crate) fn missing_command(voice: Voice) -> Failure {
    match voice {
        Voice::Dhow => Failure::usage("a command is missing").hint("see `dhow --help`"),
        Voice::Skopeo => Failure::usage(
            "Missing command 'skopeo COMMAND'\nTry 'skopeo --help' for more information",
        ),
    }
}

/// Returns clap's message, with its tips as hints.
fn own(error: &Error, name: Option<&str>) -> Failure {
    let mut failure = Failure::usage(first_paragraph(error));
    for line in error.to_string().lines() {
        if let Some(tip) = line.trim().strip_prefix("tip: ") {
            failure = failure.hint(tip);
        }
    }
    let name = name.map_or_else(String::new, |name| format!("{name} "));
    failure.hint(format!("see `dhow {name}--help`"))
}

fn skopeo(error: &Error, name: Option<&str>) -> Failure {
    let invalid = context(error, ContextKind::InvalidArg).unwrap_or_default();
    match (error.kind(), name) {
        (ErrorKind::InvalidSubcommand, _) => {
            let unknown = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let meant = context(error, ContextKind::SuggestedSubcommand)
                .map(|meant| format!("Did you mean this?\n\t{meant}\n\n"))
                .unwrap_or_default();
            Failure::usage(format!(
                "Unrecognized command `skopeo {unknown}`\n\n{meant}\
                 Try 'skopeo --help' for more information"
            ))
        }
        (ErrorKind::MissingRequiredArgument, Some(name)) => wrong_operands(name),
        (ErrorKind::UnknownArgument, Some(name)) if !invalid.starts_with('-') => {
            wrong_operands(name)
        }
        (ErrorKind::UnknownArgument, _) => Failure::usage(format!("unknown flag: {invalid}")),
        _ => Failure::usage(first_paragraph(error)),
    }
}

/// Returns what skopeo says when a command gets too few or too many operands.
fn wrong_operands(name: &str) -> Failure {
    let (message, with_help) = match name {
        "copy" | "sync" => ("Exactly two arguments expected", true),
        "list-tags" => ("Exactly one non-option argument expected", true),
        "inspect" => ("Exactly one argument expected", false),
        "delete" => ("Usage: delete imageReference", false),
        "manifest-digest" => ("Usage: skopeo manifest-digest manifest", false),
        _ => ("wrong number of arguments", true),
    };
    let failure = Failure::usage(message);
    let mut command = command(Voice::Skopeo);
    command.build();
    match command.find_subcommand_mut(name) {
        Some(command) if with_help => failure.with_help(command.render_help().to_string()),
        _ => failure,
    }
}

fn context(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// Returns clap's message on one line, without "error:" and usage.
fn first_paragraph(error: &Error) -> String {
    let text = error.to_string();
    let message = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = message.lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}
