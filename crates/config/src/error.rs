//! What can be wrong with a configuration file.

use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("`{}` is not a valid {what}: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong, without quoting the file: it may hold secrets.
        why: String,
    },
    /// The file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A credential helper did not do what it should.
    #[error("the credential helper `{program}`, named in `{}`, {why}", named_in.display())]
    Helper {
        /// The name of the program.
        program: String,
        /// The file that names it.
        named_in: PathBuf,
        /// What it did, without quoting it: it may have told secrets.
        why: String,
    },
    /// The environment does not say what it should.
    #[error("the environment variable `{variable}` {why}")]
    Environment {
        /// The name of the variable.
        variable: &'static str,
        /// What is wrong.
        why: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// registries.conf forbids every access.
    #[error("registry `{prefix}` is blocked in `{}`", file.display())]
    Blocked {
        /// The prefix of the entry that says so.
        prefix: String,
        /// The file that says so.
        file: PathBuf,
    },
}

impl ConfigError {
    /// Returns what the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Helper {
                program, named_in, ..
            } => Some(format!(
                "see what `echo REGISTRY | {program} get` does, or remove the helper from `{}`",
                named_in.display()
            )),
            Self::Blocked { file, .. } => Some(format!(
                "remove `blocked = true` from `{}`, or name another registry",
                file.display()
            )),
            Self::Environment { hint, .. } => Some((*hint).to_owned()),
            Self::Invalid { path, .. } => Some(format!("correct `{}`", path.display())),
            Self::Read { .. } | Self::Write { .. } => None,
        }
    }

    pub(crate) fn invalid(path: &Path, what: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid {
            path: path.to_owned(),
            what,
            why: why.into(),
        }
    }

    /// Turns a parser's complaint into one that does not repeat the file's content.
    pub(crate) fn json(path: &Path, what: &'static str, error: &serde_json::Error) -> Self {
        let category = match error.classify() {
            serde_json::error::Category::Syntax => "the JSON is malformed",
            serde_json::error::Category::Eof => "the JSON ends too early",
            _ => "a value has the wrong type",
        };
        Self::invalid(
            path,
            what,
            format!(
                "{category} at line {}, column {}",
                error.line(),
                error.column()
            ),
        )
    }
}
