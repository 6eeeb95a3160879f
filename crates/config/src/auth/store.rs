//! Changing what is kept: `login` and `logout`.
//!
//! Files are replaced whole (a new file, renamed over the old one) under a lock, so that neither a
//! crash nor a second login at the same moment loses an entry. What dhow does not know in a file
//! stays as it is.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::AuthFiles;
use super::document::{Document, Form};
use super::keys::{HUB, LoginKey, normalized};
use super::program::CredentialProgram;
use crate::file::read_if_present;
use crate::{ConfigError, Secret};

/// Which file is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The file of this login session, or the one that was named with `--authfile`.
    Own,
    /// A config.json as Docker writes it.
    Docker(PathBuf),
}

/// Where credentials are kept now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In this file.
    File(PathBuf),
    /// By this helper.
    Helper(String),
}

/// What `logout` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// The entry is gone.
    Yes,
    /// There was none.
    NotThere,
}

const WHAT: &str = "credential file";

impl AuthFiles {
    /// Keeps a user name and a password.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a helper does not do what it should.
    pub fn store(
        &self,
        key: &LoginKey,
        username: &str,
        password: &Secret,
        target: &Target,
    ) -> Result<Stored, ConfigError> {
        if *target == Target::Own
            && let Some(name) = self.first_helper()?
        {
            let helper = CredentialProgram::new(&name, Path::new("registries.conf"));
            helper.store(self.environment(), key.registry(), username, password)?;
            return Ok(Stored::Helper(helper.program()));
        }
        let path = self.target_path(target)?;
        let written = written_key(key, target, &path)?;
        let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
        let auth = STANDARD.encode(pair.as_bytes());
        let mut stored = Stored::File(path.clone());
        change(&path, |document, file| {
            if let Some(name) = document.helper_of(key.as_str()) {
                let helper = CredentialProgram::new(name, &path);
                helper.store(self.environment(), &written, username, password)?;
                stored = Stored::Helper(helper.program());
                return Ok(false);
            }
            let auths = auths(file, &path)?;
            let mut entry = auths
                .get(&written)
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default();
            entry.insert("auth".to_owned(), json!(auth));
            // What was there for another user does not hold for this one.
            for other in ["identitytoken", "username", "password"] {
                entry.remove(other);
            }
            auths.insert(written.clone(), Value::Object(entry));
            sort(auths);
            Ok(true)
        })?;
        Ok(stored)
    }

    /// Forgets the credentials of a key.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a helper does not do what it should.
    pub fn remove(&self, key: &LoginKey, target: &Target) -> Result<Removed, ConfigError> {
        let mut removed = Removed::NotThere;
        if *target == Target::Own
            && let Some(name) = self.first_helper()?
        {
            let helper = CredentialProgram::new(&name, Path::new("registries.conf"));
            if helper.erase(self.environment(), key.registry())? {
                removed = Removed::Yes;
            }
        }
        let path = self.target_path(target)?;
        if !path.exists() {
            return Ok(removed);
        }
        let written = written_key(key, target, &path)?;
        change(&path, |document, file| {
            if let Some(name) = document.helper_of(key.as_str()) {
                let helper = CredentialProgram::new(name, &path);
                if helper.erase(self.environment(), &written)? {
                    removed = Removed::Yes;
                }
            }
            let auths = auths(file, &path)?;
            let same: Vec<String> = auths
                .keys()
                .filter(|known| **known == written || normalized(known) == key.as_str())
                .cloned()
                .collect();
            for known in &same {
                auths.shift_remove(known);
                removed = Removed::Yes;
            }
            Ok(!same.is_empty())
        })?;
        Ok(removed)
    }

    /// Forgets all credentials of the file, and what its helpers keep for its keys.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a helper does not do what it should.
    pub fn remove_all(&self, target: &Target) -> Result<(), ConfigError> {
        let path = self.target_path(target)?;
        if !path.exists() {
            return Ok(());
        }
        change(&path, |document, file| {
            for (key, name) in document.helpers() {
                CredentialProgram::new(name, &path).erase(self.environment(), key)?;
            }
            auths(file, &path)?.clear();
            Ok(true)
        })
    }

    /// Returns the file that `target` stands for.
    ///
    /// # Errors
    /// When the directory that the environment names for it does not exist.
    pub fn target_path(&self, target: &Target) -> Result<PathBuf, ConfigError> {
        if let Target::Docker(path) = target {
            return Ok(path.clone());
        }
        if let Some(path) = self.explicit() {
            return Ok(path);
        }
        // COMPAT(skopeo): with DOCKER_CONFIG, login keeps credentials there.
        if let Some(directory) = self.environment().variable("DOCKER_CONFIG") {
            return Ok(Path::new(directory).join("config.json"));
        }
        if let Some(directory) = self.environment().variable("XDG_RUNTIME_DIR")
            && !Path::new(directory).is_dir()
        {
            return Err(ConfigError::Write {
                path: PathBuf::from(directory),
                source: io::Error::new(
                    io::ErrorKind::NotFound,
                    "the directory set by $XDG_RUNTIME_DIR does not exist; create it, or unset \
                     $XDG_RUNTIME_DIR",
                ),
            });
        }
        Ok(self.session_file())
    }

    /// Returns the helper that registries.conf names before the files.
    fn first_helper(&self) -> Result<Option<String>, ConfigError> {
        if self.explicit().is_some() {
            return Ok(None);
        }
        let helpers = &self.config.registries()?.credential_helpers;
        let first = helpers
            .first()
            .filter(|name| *name != "containers-auth.json");
        Ok(first.cloned())
    }
}

/// Returns the key as the target writes it.
fn written_key(key: &LoginKey, target: &Target, path: &Path) -> Result<String, ConfigError> {
    match target {
        Target::Docker(_) if key.is_namespaced() => Err(ConfigError::invalid(
            path,
            "place for this login",
            format!(
                "a file in Docker's form keeps credentials of whole registries, not of `{key}`"
            ),
        )),
        Target::Docker(_) if key.as_str() == "docker.io" => Ok(HUB.to_owned()),
        Target::Own | Target::Docker(_) => Ok(key.as_str().to_owned()),
    }
}

/// Reads a file, lets `edit` change it, and writes it if that says so; under a lock.
fn change(
    path: &Path,
    edit: impl FnOnce(&Document, &mut Map<String, Value>) -> Result<bool, ConfigError>,
) -> Result<(), ConfigError> {
    let wrap = |source| ConfigError::Write {
        path: path.to_owned(),
        source,
    };
    // A link stays a link: what it leads to is replaced.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(wrap)?;
    let lock = File::open(folder).map_err(wrap)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| wrap(error.into()))?;
    let text = Zeroizing::new(read_if_present(path)?.unwrap_or_default());
    let document = Document::parse(&text, path, Form::Object)?;
    let mut file: Map<String, Value> = if text.trim().is_empty() {
        Map::new()
    } else {
        serde_json::from_str(&text).map_err(|error| ConfigError::json(path, WHAT, &error))?
    };
    if edit(&document, &mut file)? {
        write(path, folder, &file).map_err(wrap)?;
    }
    Ok(())
}

fn write(path: &Path, folder: &Path, file: &Map<String, Value>) -> io::Result<()> {
    // COMPAT(skopeo): tabs, and no line feed at the end.
    let text = dhow_model::json::to_vec_indented(file, "\t").map(Zeroizing::new)?;
    // Only its owner can read a temporary file, and what it is renamed to.
    let mut temporary = tempfile::Builder::new()
        .prefix(".auth")
        .tempfile_in(folder)?;
    temporary.write_all(&text)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    File::open(folder)?.sync_all()
}

fn auths<'a>(
    file: &'a mut Map<String, Value>,
    path: &Path,
) -> Result<&'a mut Map<String, Value>, ConfigError> {
    let auths = file.entry("auths").or_insert_with(|| json!({}));
    if auths.is_null() {
        *auths = json!({});
    }
    auths
        .as_object_mut()
        .ok_or_else(|| ConfigError::invalid(path, WHAT, "`auths` is not an object"))
}

/// COMPAT(skopeo): entries are sorted, as Go sorts maps.
fn sort(map: &mut Map<String, Value>) {
    let mut entries: Vec<_> = std::mem::take(map).into_iter().collect();
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    map.extend(entries);
}
