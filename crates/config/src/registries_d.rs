//! registries.d (containers-registries.d(5)): where signatures of images are kept beside the
//! registry.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dhow_model::Reference;
use serde::Deserialize;

use crate::file::read_if_present;
use crate::{ConfigError, ConfigFile, EnvSnapshot};

/// The settings of registries.d, merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignatureStorage {
    /// What holds where no namespace says otherwise.
    pub default: Option<StorageEntry>,
    /// Settings by namespace: `quay.io/team`, `*.example.com`.
    pub namespaces: BTreeMap<String, StorageEntry>,
    /// The files that were read.
    pub files: Vec<ConfigFile>,
}

/// Where the signatures of a namespace are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct StorageEntry {
    /// The base of the addresses for reading.
    #[serde(alias = "sigstore")]
    pub lookaside: Option<String>,
    /// The base of the addresses for writing, if it is another one.
    #[serde(alias = "sigstore-staging")]
    pub lookaside_staging: Option<String>,
    /// Whether signatures are read and written as attachments in the registry.
    pub use_sigstore_attachments: Option<bool>,
    /// The file that says so.
    #[serde(skip)]
    pub file: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Document {
    default_docker: Option<StorageEntry>,
    docker: BTreeMap<String, StorageEntry>,
}

const WHAT: &str = "signature storage configuration";

impl SignatureStorage {
    /// Loads the `*.yaml` files of `directory`, or of the user's directory if it is there, or of
    /// the system's.
    ///
    /// # Errors
    /// When a file cannot be read or makes no sense, or two files speak about the same namespace.
    pub fn load(environment: &EnvSnapshot, directory: Option<&Path>) -> Result<Self, ConfigError> {
        let user = environment
            .config_home()
            .map(|home| home.join("containers/registries.d"));
        let chosen = match directory {
            Some(directory) => directory.to_owned(),
            None => user
                .filter(|directory| directory.is_dir())
                .unwrap_or_else(|| PathBuf::from("/etc/containers/registries.d")),
        };
        let mut storage = Self::default();
        for path in documents(&chosen, directory.is_some())? {
            if let Some(text) = read_if_present(&path)? {
                storage.add(&text, &path)?;
            }
            storage.files.push(ConfigFile { path, found: true });
        }
        Ok(storage)
    }

    /// Returns the base of the addresses from which signatures of `reference` are read.
    pub fn lookaside(&self, reference: &Reference) -> Option<&str> {
        self.setting(reference, |entry| entry.lookaside.as_deref())
    }

    /// Returns the base of the addresses to which signatures of `reference` are written.
    pub fn lookaside_for_writing(&self, reference: &Reference) -> Option<&str> {
        self.setting(reference, |entry| entry.lookaside_staging.as_deref())
            .or_else(|| self.lookaside(reference))
    }

    /// Returns whether signatures of `reference` are attachments in the registry.
    pub fn uses_sigstore_attachments(&self, reference: &Reference) -> bool {
        self.setting(reference, |entry| entry.use_sigstore_attachments)
            .unwrap_or_default()
    }

    /// COMPAT(skopeo): each setting by itself is searched from the most specific namespace on,
    /// whatever the manual says.
    fn setting<'a, T>(
        &'a self,
        reference: &Reference,
        of: impl Fn(&'a StorageEntry) -> Option<T>,
    ) -> Option<T> {
        let mut names = vec![reference.to_string()];
        let repository = reference.repository.to_string();
        let mut rest = repository.as_str();
        names.push(rest.to_owned());
        while let Some((parent, _)) = rest.rsplit_once('/') {
            names.push(parent.to_owned());
            rest = parent;
        }
        let mut host = rest.split(':').next().unwrap_or(rest);
        while let Some((_, parent)) = host.split_once('.') {
            names.push(format!("*.{parent}"));
            host = parent;
        }
        names
            .iter()
            .filter_map(|name| self.namespaces.get(name))
            .chain(&self.default)
            .find_map(of)
    }

    fn add(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let invalid = |why: String| ConfigError::invalid(path, WHAT, why);
        if text.trim().is_empty() {
            return Ok(());
        }
        let document: Document = serde_saphyr::from_str(text).map_err(|error| {
            invalid(
                error
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            )
        })?;
        let twice = |what: String, known: &StorageEntry| {
            invalid(format!(
                "{what} is defined in `{}`, too",
                known.file.display()
            ))
        };
        if let Some(mut entry) = document.default_docker {
            if let Some(known) = &self.default {
                return Err(twice("`default-docker`".to_owned(), known));
            }
            path.clone_into(&mut entry.file);
            entry.check().map_err(invalid)?;
            self.default = Some(entry);
        }
        for (namespace, mut entry) in document.docker {
            if let Some(known) = self.namespaces.get(&namespace) {
                return Err(twice(format!("`docker` namespace `{namespace}`"), known));
            }
            path.clone_into(&mut entry.file);
            entry.check().map_err(invalid)?;
            self.namespaces.insert(namespace, entry);
        }
        Ok(())
    }
}

impl StorageEntry {
    fn check(&self) -> Result<(), String> {
        for base in [&self.lookaside, &self.lookaside_staging]
            .into_iter()
            .flatten()
        {
            let known = ["file:///", "http://", "https://"];
            if !known.iter().any(|scheme| base.starts_with(scheme)) {
                return Err(format!(
                    "`{base}` is no place for signatures: it begins with none of file:///, \
                     http://, https://"
                ));
            }
        }
        Ok(())
    }
}

fn documents(directory: &Path, required: bool) -> Result<Vec<PathBuf>, ConfigError> {
    let wrap = |source| ConfigError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(wrap(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(wrap)?.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<SignatureStorage, ConfigError> {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(place.path().join(name), text).unwrap();
        }
        SignatureStorage::load(&EnvSnapshot::default(), Some(place.path()))
    }

    #[test]
    fn each_setting_is_searched_from_the_most_specific_namespace_on() {
        let storage = load(&[
            (
                "a.yaml",
                "default-docker:\n  lookaside: https://d.io/s\n  use-sigstore-attachments: true\n",
            ),
            (
                "b.yaml",
                "docker:\n  a.io/team:\n    sigstore: file:///old\n    lookaside-staging: file:///w\n  \
                 a.io/team/app:\n    use-sigstore-attachments: false\n  '*.wild.io':\n    lookaside: http://w.io\n",
            ),
            ("c.txt", "neither: yaml: nor read"),
        ])
        .unwrap();
        for (name, read, written, attached) in [
            ("a.io/team/app:1", "file:///old", "file:///w", false),
            ("a.io/team/x:1", "file:///old", "file:///w", true),
            ("a.io/x:1", "https://d.io/s", "https://d.io/s", true),
            ("x.wild.io/x:1", "http://w.io", "http://w.io", true),
        ] {
            let reference = Reference::parse(name).unwrap();
            assert_eq!(storage.lookaside(&reference), Some(read), "{name}");
            assert_eq!(storage.lookaside_for_writing(&reference), Some(written));
            assert_eq!(storage.uses_sigstore_attachments(&reference), attached);
        }
        assert_eq!(storage.files.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_file() {
        let entry = "docker:\n  a.io:\n    lookaside: file:///x\n";
        for (files, why) in [
            (&[("x.yaml", entry), ("y.yaml", entry)][..], "x.yaml"),
            (&[("x.yaml", "docker: [")], "x.yaml"),
            (
                &[("x.yaml", "default-docker:\n  lookaside: ../x\n")],
                "file:///",
            ),
        ] {
            let error = load(files).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(load(&[("empty.yaml", "")]).is_ok());
    }
}
