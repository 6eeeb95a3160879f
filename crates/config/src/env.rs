//! The environment of the process, read once.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What `main` saw of the process's environment. Nothing else reads it.
#[derive(Clone, Default)]
pub struct EnvSnapshot {
    /// The environment variables that are valid UTF-8.
    pub variables: BTreeMap<String, String>,
    /// The user's id.
    pub user_id: u32,
}

impl EnvSnapshot {
    /// Reads the environment of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads it"
    )]
    pub fn capture() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            variables,
            user_id: rustix::process::getuid().as_raw(),
        }
    }

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

    /// Returns the directory of the user's configuration files.
    pub fn config_home(&self) -> Option<PathBuf> {
        self.variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| self.home().map(|home| home.join(".config")))
    }

    /// Returns the directory of what programs keep for the user.
    pub fn data_home(&self) -> Option<PathBuf> {
        self.variable("XDG_DATA_HOME")
            .map(PathBuf::from)
            .or_else(|| self.home().map(|home| home.join(".local/share")))
    }

    /// Returns the directory of what can be found out anew.
    pub fn cache_home(&self) -> Option<PathBuf> {
        self.variable("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| self.home().map(|home| home.join(".cache")))
    }
}

impl std::fmt::Debug for EnvSnapshot {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvSnapshot")
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .field("user_id", &self.user_id)
            .finish()
    }
}
