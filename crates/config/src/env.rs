//! The environment of the process, read once.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What `main` saw of the process's environment. Nothing else reads it.
#[derive(Clone, Debug, Default)]
pub struct EnvSnapshot {
    /// The environment variables that are valid UTF-8.
    pub variables: BTreeMap<String, String>,
    /// The user's id.
    pub user_id: u32,
}

impl EnvSnapshot {
    /// Returns a variable that is set to something.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Returns the user's home directory, if the environment names one.
    pub fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }
}
