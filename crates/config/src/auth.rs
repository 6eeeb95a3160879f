//! Credential files: auth.json of Podman, skopeo and CRI-O (containers-auth.json(5)), config.json
//! of Docker, and its forerunner `.dockercfg`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dhow_model::Repository;
use serde::Deserialize;

use crate::file::read_if_present;
use crate::{ConfigError, Credentials, EnvSnapshot, FoundCredentials, Secret};

/// The files in which credentials are looked for, in order.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    files: Vec<AuthFile>,
}

#[derive(Clone, Debug)]
struct AuthFile {
    path: PathBuf,
    /// The whole file is the map of entries (`.dockercfg`).
    bare: bool,
}

impl AuthFiles {
    /// Decides which files count: `authfile` or `REGISTRY_AUTH_FILE` alone if given, else those of
    /// Podman and then those of Docker. Reads nothing.
    pub fn new(environment: &EnvSnapshot, authfile: Option<&Path>) -> Self {
        let file = |path| AuthFile { path, bare: false };
        let explicit = authfile.map(Path::to_owned).or_else(|| {
            environment
                .variable("REGISTRY_AUTH_FILE")
                .map(PathBuf::from)
        });
        if let Some(path) = explicit {
            return Self {
                files: vec![file(path)],
            };
        }
        let runtime = environment.variable("XDG_RUNTIME_DIR").map_or_else(
            || PathBuf::from(format!("/run/containers/{}", environment.user_id)),
            |directory| Path::new(directory).join("containers"),
        );
        let mut files = vec![file(runtime.join("auth.json"))];
        if let Some(directory) = environment.config_home() {
            files.push(file(directory.join("containers/auth.json")));
        }
        let docker = environment
            .variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| environment.home().map(|home| home.join(".docker")));
        if let Some(directory) = docker {
            files.push(file(directory.join("config.json")));
        }
        if let Some(home) = environment.home() {
            files.push(AuthFile {
                path: home.join(".dockercfg"),
                bare: true,
            });
        }
        Self { files }
    }

    /// Returns the credentials for `repository`: in each file the most specific key wins, and the
    /// first file that has one.
    ///
    /// # Errors
    /// When a file that is there cannot be read or makes no sense: going on without it could show
    /// somebody else's credentials to the registry.
    pub fn find(&self, repository: &Repository) -> Result<FoundCredentials, ConfigError> {
        for file in &self.files {
            let Some(text) = read_if_present(&file.path)? else {
                continue;
            };
            if let Some(found) = find_in(&text, file, repository)? {
                return Ok(found);
            }
        }
        let looked: Vec<String> = self
            .files
            .iter()
            .map(|file| format!("`{}`", file.path.display()))
            .collect();
        Ok(FoundCredentials {
            credentials: Credentials::Anonymous,
            origin: format!("no entry for the registry in {}", looked.join(", ")),
        })
    }
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default, rename = "credHelpers")]
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<Secret>,
    #[serde(default)]
    identitytoken: Option<Secret>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<Secret>,
}

fn find_in(
    text: &str,
    file: &AuthFile,
    repository: &Repository,
) -> Result<Option<FoundCredentials>, ConfigError> {
    const WHAT: &str = "credential file";
    let json = |error: serde_json::Error| ConfigError::json(&file.path, WHAT, &error);
    if text.trim().is_empty() {
        return Ok(None);
    }
    let document = if file.bare {
        Document {
            auths: Some(serde_json::from_str(text).map_err(json)?),
            cred_helpers: None,
        }
    } else {
        serde_json::from_str(text).map_err(json)?
    };
    let entries = document.auths.unwrap_or_default();
    let helpers = document.cred_helpers.unwrap_or_default();
    for key in keys(repository) {
        if let Some(helper) = helpers.get(&key) {
            return Err(ConfigError::invalid(
                &file.path,
                "source of credentials here",
                format!(
                    "`{key}` is served by the credential helper `{helper}`, and helpers are not supported yet"
                ),
            ));
        }
        // The key as it is meant comes before the forms that Docker wrote over the years.
        let entry = entries.get_key_value(&key).or_else(|| {
            entries
                .iter()
                .find(|(written, _)| normalized(written) == key)
        });
        if let Some((written, entry)) = entry {
            let credentials = entry.credentials().map_err(|why| {
                ConfigError::invalid(&file.path, WHAT, format!("the entry `{written}` {why}"))
            })?;
            // Docker leaves an empty entry beside the store that holds the credentials.
            if credentials == Credentials::Anonymous {
                continue;
            }
            let origin = format!("`{}` (entry `{written}`)", file.path.display());
            return Ok(Some(FoundCredentials {
                credentials,
                origin,
            }));
        }
    }
    Ok(None)
}

/// Returns the keys under which an entry may stand, the most specific first.
fn keys(repository: &Repository) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = repository.path();
    loop {
        keys.push(format!("{}/{path}", repository.registry()));
        match path.rsplit_once('/') {
            Some((parent, _)) => path = parent,
            None => break,
        }
    }
    keys.push(repository.registry().to_owned());
    keys
}

/// Turns the forms that Docker wrote over the years (`https://index.docker.io/v1/`) into keys.
fn normalized(key: &str) -> String {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    // Behind a scheme, a path is an API version and no namespace.
    let key = bare.map_or(key, |bare| bare.split('/').next().unwrap_or_default());
    let key = key.trim_end_matches('/');
    match key.split_once('/') {
        None => match key {
            "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
            _ => key.to_owned(),
        },
        Some(("index.docker.io", path)) => format!("docker.io/{path}"),
        Some(_) => key.to_owned(),
    }
}

impl Entry {
    fn credentials(&self) -> Result<Credentials, &'static str> {
        let set =
            |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.expose().is_empty());
        if let Some(token) = set(&self.identitytoken) {
            return Ok(Credentials::IdentityToken(token));
        }
        if let Some(auth) = set(&self.auth) {
            return decode(&auth);
        }
        match (&self.username, set(&self.password)) {
            (Some(username), Some(password)) if !username.is_empty() => Ok(Credentials::Basic {
                username: username.clone(),
                password,
            }),
            _ => Ok(Credentials::Anonymous),
        }
    }
}

fn decode(auth: &Secret) -> Result<Credentials, &'static str> {
    let bytes = STANDARD
        .decode(auth.expose().trim().as_bytes())
        .map_err(|_| "has an `auth` that is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "has an `auth` that is not UTF-8")?;
    let (username, password) = text
        .split_once(':')
        .ok_or("has an `auth` without a colon between user and password")?;
    Ok(Credentials::Basic {
        username: username.to_owned(),
        password: Secret::new(password.trim_end_matches('\0')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str, repository: &str) -> Result<Option<FoundCredentials>, ConfigError> {
        let file = AuthFile {
            path: PathBuf::from("/auth.json"),
            bare: false,
        };
        find_in(text, &file, &Repository::parse(repository).unwrap())
    }

    fn user(text: &str, repository: &str) -> Option<String> {
        match look(text, repository).unwrap()?.credentials {
            Credentials::Basic { username, .. } => Some(username),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_most_specific_entry_wins() {
        // base64 of `host:p`, `team:p`, `repo:p`
        let text = r#"{"auths":{
            "quay.io":{"auth":"aG9zdDpw"},
            "quay.io/team":{"auth":"dGVhbTpw"},
            "quay.io/team/app":{"auth":"cmVwbzpw"}}}"#;
        assert_eq!(user(text, "quay.io/other/x").as_deref(), Some("host"));
        assert_eq!(user(text, "quay.io/team/x").as_deref(), Some("team"));
        assert_eq!(user(text, "quay.io/team/app").as_deref(), Some("repo"));
        assert_eq!(user(text, "quay.io:443/team/app"), None);
        assert_eq!(user(text, "evil.quay.io/team/app"), None);
    }

    #[test]
    fn dockers_names_of_its_hub_are_understood() {
        for key in [
            "https://index.docker.io/v1/",
            "docker.io",
            "index.docker.io",
        ] {
            let text = format!(r#"{{"auths":{{"{key}":{{"auth":"aG9zdDpw"}}}}}}"#);
            assert_eq!(user(&text, "centos").as_deref(), Some("host"), "{key}");
        }
    }

    #[test]
    fn a_broken_file_is_an_error_that_names_it_and_not_its_content() {
        for text in [
            "{",
            r#"{"auths":3}"#,
            r#"{"auths":{"quay.io":{"auth":"s3cr3t!"}}}"#,
        ] {
            let error = look(text, "quay.io/a/b").unwrap_err().to_string();
            assert!(
                error.contains("/auth.json") && !error.contains("s3cr3t"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_helper_is_never_passed_over() {
        let text = r#"{"auths":{"quay.io":{"auth":"aG9zdDpw"}},"credHelpers":{"quay.io":"pass"}}"#;
        assert!(look(text, "quay.io/a/b").is_err());
        assert_eq!(look(text, "other.io/a/b").unwrap(), None);
    }

    #[test]
    fn an_empty_entry_gives_way_to_the_next_one() {
        let text = r#"{"auths":{"quay.io/team":{},"quay.io":{"auth":"aG9zdDpw"}}}"#;
        assert_eq!(user(text, "quay.io/team/x").as_deref(), Some("host"));
        assert_eq!(
            look(r#"{"auths":{"quay.io":{}}}"#, "quay.io/a").unwrap(),
            None
        );
    }

    #[test]
    fn an_exact_key_comes_before_its_older_forms() {
        let text =
            r#"{"auths":{"http://quay.io":{"auth":"dGVhbTpw"},"quay.io":{"auth":"aG9zdDpw"}}}"#;
        assert_eq!(user(text, "quay.io/a").as_deref(), Some("host"));
    }

    #[test]
    fn identity_tokens_come_before_passwords() {
        let text = r#"{"auths":{"a.io":{"auth":"aG9zdDpw","identitytoken":"t"}}}"#;
        let found = look(text, "a.io/b").unwrap().unwrap();
        assert_eq!(
            found.credentials,
            Credentials::IdentityToken(Secret::new("t"))
        );
    }
}
