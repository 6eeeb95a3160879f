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
