//! registries.conf (containers-registries.conf(5)): which registries are blocked or insecure, where
//! their images really are, and which mirrors hold them.

mod endpoints;
mod load;
mod parse;
mod short_names;

pub use endpoints::PullEndpoint;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{ConfigError, ConfigFile, EnvSnapshot};

/// registries.conf with its drop-ins, merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// The `[[registry]]` tables, at most one for each prefix.
    pub entries: Vec<RegistryEntry>,
    /// The registries in which names without a registry are searched.
    pub unqualified_search: Vec<String>,
    /// Short names and what they stand for.
    pub aliases: BTreeMap<String, String>,
    /// Where credentials are looked for: `containers-auth.json` stands for the credential files,
    /// any other name for a credential helper.
    pub credential_helpers: Vec<String>,
    /// The files that were looked for, in order.
    pub files: Vec<ConfigFile>,
}

/// One `[[registry]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryEntry {
    /// What names begin with: `quay.io/team`, or `*.example.com`.
    pub prefix: String,
    /// What stands in place of the prefix; `None` only behind a wildcard prefix.
    pub location: Option<String>,
    /// Whether plain http and certificates that cannot be verified are accepted.
    pub insecure: bool,
    /// Whether every access is refused.
    pub blocked: bool,
    /// The mirrors, in the order in which they are tried.
    pub mirrors: Vec<Mirror>,
    /// The file it came from.
    pub file: PathBuf,
}

/// One `[[registry.mirror]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// What stands in place of the prefix.
    pub location: String,
    /// Whether plain http and certificates that cannot be verified are accepted.
    pub insecure: bool,
    /// Which references are read from it.
    pub pull: PullFromMirror,
}

/// Which references are read from a mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullFromMirror {
    /// All.
    #[default]
    All,
    /// Those with a digest.
    DigestOnly,
    /// Those without.
    TagOnly,
}

impl Registries {
    /// Loads the main file (`main` if given, else the user's, else the system's) and the drop-ins.
    ///
    /// # Errors
    /// When a file that is there cannot be read or makes no sense, or `main` is not there.
    pub fn load(environment: &EnvSnapshot, main: Option<&Path>) -> Result<Self, ConfigError> {
        load::Places::new(environment, main).load()
    }

    /// Returns the entry with the longest prefix of `name`: a repository, with or without tag or
    /// digest.
    pub fn find(&self, name: &str) -> Option<&RegistryEntry> {
        self.find_matching(name).map(|(entry, _)| entry)
    }

    /// Returns the entry with the longest match, and how many bytes of `name` it matches.
    fn find_matching(&self, name: &str) -> Option<(&RegistryEntry, usize)> {
        let matching = self.entries.iter().filter_map(|entry| {
            let length = entry.matches(name)?;
            // An exact prefix is closer than a wildcard of the same length.
            let exact = !entry.prefix.starts_with("*.");
            Some((entry, length, exact))
        });
        matching
            .max_by_key(|(_, length, exact)| (*length, *exact))
            .map(|(entry, length, _)| (entry, length))
    }
}

impl RegistryEntry {
    /// Returns how many bytes of `name` the prefix matches, if it does.
    fn matches(&self, name: &str) -> Option<usize> {
        let length = match self.prefix.strip_prefix('*') {
            None => name
                .starts_with(&self.prefix)
                .then_some(self.prefix.len())?,
            // COMPAT(skopeo): the first place in the host where the domain stands.
            Some(domain) => {
                let host = name.split('/').next().unwrap_or_default();
                host.find(domain)? + domain.len()
            }
        };
        // COMPAT(skopeo): a colon ends a name, so that `a.io` is a prefix of `a.io:5000/b`, too.
        let whole = matches!(name.as_bytes().get(length), None | Some(b'/' | b':' | b'@'));
        whole.then_some(length)
    }
}
