//! One file of registries.conf: TOML to tables, with everything checked that can be wrong in it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Mirror, PullFromMirror, RegistryEntry};
use crate::ConfigError;

/// What one file says. What it does not say is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) entries: Vec<RegistryEntry>,
    pub(super) unqualified_search: Option<Vec<String>>,
    pub(super) credential_helpers: Option<Vec<String>>,
    pub(super) aliases: BTreeMap<String, String>,
}

/// Which forms of the file are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The present one, and that of version 1.
    Main,
    /// The present one.
    DropIn,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    unqualified_search_registries: Option<Vec<String>>,
    credential_helpers: Option<Vec<String>>,
    short_name_mode: Option<String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    registry: Vec<Table>,
    registries: Option<Version1>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Table {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    pull_from_mirror: Option<String>,
    mirror: Vec<MirrorTable>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct MirrorTable {
    location: String,
    insecure: bool,
    pull_from_mirror: Option<String>,
}

/// The form of before 2019: three lists.
#[derive(Deserialize)]
struct Version1 {
    #[serde(default)]
    search: List,
    #[serde(default)]
    insecure: List,
    #[serde(default)]
    block: List,
}

#[derive(Default, Deserialize)]
struct List {
    #[serde(default)]
    registries: Vec<String>,
}

/// Parses a file. `path` is for messages.
pub(super) fn parse(text: &str, path: &Path, form: Form) -> Result<Parsed, ConfigError> {
    let document: Document = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        invalid(path, &format!("line {line}: {}", error.message().trim()))
    })?;
    if let Some(mode) = document.short_name_mode.as_deref()
        && !["", "enforcing", "permissive", "disabled"].contains(&mode)
    {
        return Err(invalid(path, &format!("invalid short-name mode: {mode:?}")));
    }
    let version1 = document
        .registries
        .filter(|lists| !lists.is_empty())
        .map(|lists| lists.parsed(path));
    if let Some(parsed) = version1 {
        let mixed =
            !document.registry.is_empty() || document.unqualified_search_registries.is_some();
        if mixed || form == Form::DropIn {
            return Err(invalid(path, "mixing sysregistry v1/v2 is not supported"));
        }
        return parsed;
    }
    let entries = document
        .registry
        .into_iter()
        .map(|table| table.entry(path))
        .collect::<Result<Vec<_>, _>>()?;
    check_conflicts(&entries, path)?;
    Ok(Parsed {
        entries,
        unqualified_search: document.unqualified_search_registries,
        credential_helpers: document.credential_helpers,
        aliases: document.aliases,
    })
}

impl Table {
    fn entry(self, path: &Path) -> Result<RegistryEntry, ConfigError> {
        let wrong = |why: String| Err(invalid(path, &why));
        if let Some(value) = &self.pull_from_mirror {
            return wrong(format!(
                "pull-from-mirror must not be set for a non-mirror registry {:?} ({value:?})",
                self.prefix
            ));
        }
        let location = place(&self.location, path)?;
        let mut prefix = place(&self.prefix, path)?;
        match (prefix.is_empty(), location.is_empty()) {
            (true, true) => {
                return wrong("invalid condition: both location and prefix are unset".to_owned());
            }
            (true, false) => prefix.clone_from(&location),
            (false, true) if !prefix.starts_with("*.") => {
                return wrong(format!(
                    "invalid condition: location is unset and prefix is not in the format: \
                     *.example.com ({prefix:?})"
                ));
            }
            (false, _) => {}
        }
        let rest = prefix.strip_prefix("*.").unwrap_or(&prefix);
        if rest.contains('*') || rest.is_empty() {
            return wrong(format!(
                "Wildcarded prefix should be in the format: *.example.com. Current prefix \
                 {prefix:?} is incorrectly formatted"
            ));
        }
        let mirrors = self
            .mirror
            .into_iter()
            .map(|mirror| mirror.mirror(&prefix, self.mirror_by_digest_only, path))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(RegistryEntry {
            prefix,
            location: (!location.is_empty()).then_some(location),
            insecure: self.insecure,
            blocked: self.blocked,
            mirrors,
            file: path.to_owned(),
        })
    }
}

impl MirrorTable {
    fn mirror(
        self,
        prefix: &str,
        by_digest_only: bool,
        path: &Path,
    ) -> Result<Mirror, ConfigError> {
        let location = place(&self.location, path)?;
        if location.is_empty() {
            let why = format!("invalid condition: mirror location is unset ({prefix:?})");
            return Err(invalid(path, &why));
        }
        let pull = match self.pull_from_mirror.as_deref() {
            None | Some("") if by_digest_only => PullFromMirror::DigestOnly,
            None | Some("" | "all") if !by_digest_only => PullFromMirror::All,
            Some("digest-only") if !by_digest_only => PullFromMirror::DigestOnly,
            Some("tag-only") if !by_digest_only => PullFromMirror::TagOnly,
            Some("all" | "digest-only" | "tag-only") => {
                let why = format!(
                    "cannot set mirror usage mirror-by-digest-only for the registry ({prefix:?}) \
                     and pull-from-mirror for per-mirror ({location:?}) at the same time"
                );
                return Err(invalid(path, &why));
            }
            other => {
                let why = format!(
                    "unsupported pull-from-mirror value {:?} for mirror {location:?}",
                    other.unwrap_or_default()
                );
                return Err(invalid(path, &why));
            }
        };
        Ok(Mirror {
            location,
            insecure: self.insecure,
            pull,
        })
    }
}

impl Version1 {
    const fn is_empty(&self) -> bool {
        self.search.registries.is_empty()
            && self.insecure.registries.is_empty()
            && self.block.registries.is_empty()
    }

    fn parsed(self, path: &Path) -> Result<Parsed, ConfigError> {
        let mut entries: Vec<RegistryEntry> = Vec::new();
        let mut entry = |name: &str| -> Result<usize, ConfigError> {
            let prefix = place(name, path)?;
            if let Some(at) = entries.iter().position(|entry| entry.prefix == prefix) {
                return Ok(at);
            }
            entries.push(RegistryEntry {
                location: Some(prefix.clone()),
                prefix,
                insecure: false,
                blocked: false,
                mirrors: Vec::new(),
                file: path.to_owned(),
            });
            Ok(entries.len() - 1)
        };
        let mut marks = Vec::new();
        for name in &self.insecure.registries {
            marks.push((entry(name)?, true));
        }
        for name in &self.block.registries {
            marks.push((entry(name)?, false));
        }
        for (at, insecure) in marks {
            if insecure {
                entries[at].insecure = true;
            } else {
                entries[at].blocked = true;
            }
        }
        Ok(Parsed {
            entries,
            unqualified_search: Some(self.search.registries),
            ..Parsed::default()
        })
    }
}

/// One registry may be behind several prefixes, but it is either insecure or not.
fn check_conflicts(entries: &[RegistryEntry], path: &Path) -> Result<(), ConfigError> {
    let mut known: BTreeMap<&str, &RegistryEntry> = BTreeMap::new();
    for entry in entries {
        let name = entry.location.as_deref().unwrap_or(&entry.prefix);
        let first = *known.entry(name).or_insert(entry);
        for (setting, differs) in [
            ("insecure", first.insecure != entry.insecure),
            ("blocked", first.blocked != entry.blocked),
        ] {
            if differs {
                let why = format!(
                    "registry '{name}' is defined multiple times with conflicting '{setting}' \
                     setting"
                );
                return Err(invalid(path, &why));
            }
        }
    }
    Ok(())
}

/// Returns a prefix or location without the slash at its end.
fn place(text: &str, path: &Path) -> Result<String, ConfigError> {
    let trimmed = text.trim_end_matches('/');
    if trimmed.starts_with("http://") || trimmed.starts_with("https://") {
        let why = format!("invalid location '{text}': URI schemes are not supported");
        return Err(invalid(path, &why));
    }
    Ok(trimmed.to_owned())
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count() + 1
}

fn invalid(path: &Path, why: &str) -> ConfigError {
    ConfigError::invalid(path, "registries configuration", why)
}
