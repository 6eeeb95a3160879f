//! One credential file: what it says of a key.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::keys::{LoginKey, normalized};
use crate::{ConfigError, Credentials, Secret};

/// What a credential file says.
#[derive(Default, Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default, rename = "credHelpers")]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "credsStore")]
    creds_store: Option<String>,
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

/// What a file answers to the question for a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// These credentials, under this key.
    Entry(Credentials, String),
    /// Ask the helper of this name for this key.
    Helper { name: String, key: String },
}

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An object with `auths`.
    Object,
    /// The whole file is the map of entries (`.dockercfg`).
    Bare,
}

const WHAT: &str = "credential file";

impl Document {
    pub(super) fn parse(text: &str, path: &Path, form: Form) -> Result<Self, ConfigError> {
        let json = |error: serde_json::Error| ConfigError::json(path, WHAT, &error);
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        match form {
            Form::Object => serde_json::from_str(text).map_err(json),
            Form::Bare => Ok(Self {
                auths: Some(serde_json::from_str(text).map_err(json)?),
                ..Self::default()
            }),
        }
    }

    /// Returns where the credentials of `key` are, if this file says so. Helpers of a key come
    /// before its entry, and the store of the whole file after all entries.
    pub(super) fn answer(
        &self,
        key: &LoginKey,
        path: &Path,
    ) -> Result<Option<Answer>, ConfigError> {
        for candidate in key.candidates() {
            if let Some((written, name)) = lookup(self.cred_helpers.as_ref(), candidate) {
                return Ok(Some(Answer::Helper {
                    name: name.clone(),
                    key: written.clone(),
                }));
            }
            let Some((written, entry)) = lookup(self.auths.as_ref(), candidate) else {
                continue;
            };
            let credentials = entry.credentials().map_err(|why| {
                ConfigError::invalid(path, WHAT, format!("the entry `{written}` {why}"))
            })?;
            // Docker leaves an empty entry beside the store that holds the credentials.
            if credentials != Credentials::Anonymous {
                return Ok(Some(Answer::Entry(credentials, written.clone())));
            }
        }
        Ok(None)
    }

    /// Returns the helper that keeps all credentials of this file.
    pub(super) fn store(&self) -> Option<&str> {
        self.creds_store.as_deref().filter(|name| !name.is_empty())
    }

    /// Returns the helper of exactly this key.
    pub(super) fn helper_of(&self, key: &str) -> Option<&str> {
        lookup(self.cred_helpers.as_ref(), key).map(|(_, name)| name.as_str())
    }

    /// Returns the keys that have helpers, with these.
    pub(super) fn helpers(&self) -> impl Iterator<Item = (&str, &str)> {
        let helpers = self.cred_helpers.iter().flatten();
        helpers.map(|(key, name)| (key.as_str(), name.as_str()))
    }
}

/// Finds a key as it is meant, before the forms that Docker wrote over the years.
fn lookup<'a, T>(map: Option<&'a BTreeMap<String, T>>, key: &str) -> Option<(&'a String, &'a T)> {
    let map = map?;
    map.get_key_value(key)
        .or_else(|| map.iter().find(|(written, _)| normalized(written) == key))
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
    use dhow_model::Repository;

    use super::*;

    fn look(text: &str, repository: &str) -> Result<Option<Answer>, ConfigError> {
        let path = Path::new("/auth.json");
        let key = LoginKey::of(&Repository::parse(repository).unwrap());
        Document::parse(text, path, Form::Object)?.answer(&key, path)
    }

    fn user(text: &str, repository: &str) -> Option<String> {
        match look(text, repository).unwrap()? {
            Answer::Entry(Credentials::Basic { username, .. }, _) => Some(username),
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
    fn a_helper_of_a_key_comes_before_its_entry() {
        let text = r#"{"auths":{"quay.io":{"auth":"aG9zdDpw"},"quay.io/team":{"auth":"dGVhbTpw"}},
            "credHelpers":{"quay.io":"pass","https://index.docker.io/v1/":"hub"}}"#;
        let helper = |name: &str, key: &str| {
            Some(Answer::Helper {
                name: name.to_owned(),
                key: key.to_owned(),
            })
        };
        assert_eq!(
            look(text, "quay.io/a/b").unwrap(),
            helper("pass", "quay.io")
        );
        assert_eq!(user(text, "quay.io/team/b").as_deref(), Some("team"));
        assert_eq!(
            look(text, "centos").unwrap(),
            helper("hub", "https://index.docker.io/v1/")
        );
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
        let expected = Answer::Entry(
            Credentials::IdentityToken(Secret::new("t")),
            "a.io".to_owned(),
        );
        assert_eq!(look(text, "a.io/b").unwrap(), Some(expected));
    }
}
