//! The keys under which credentials are kept: a registry, or a part of its repositories.

use std::fmt;

use dhow_model::Repository;

/// What credentials are for: `quay.io`, `localhost:5000/team`, `quay.io/team/app`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoginKey(String);

impl LoginKey {
    /// Parses what a user gives to `login`: a scheme in front, and what Docker writes for its Hub,
    /// are understood.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let key = normalized(text.trim());
        if key.is_empty() {
            return Err("the name of the registry is empty".to_owned());
        }
        let shown = text.escape_debug();
        if key.contains(|c: char| c.is_control() || c.is_whitespace() || "?#@\\".contains(c)) {
            return Err(format!(
                "`{shown}` is not the name of a registry or repository"
            ));
        }
        // Every part has to be what it is in the name of an image.
        let whole = if key.contains('/') {
            key.clone()
        } else {
            format!("{key}/x")
        };
        match Repository::parse(&whole) {
            Ok(repository) if repository.registry() == host_of(&key) => Ok(Self(key)),
            // A host without dot or port is no registry in the name of an image, but may be one.
            _ if !key.contains(['/', ':']) => Ok(Self(key)),
            _ => Err(format!(
                "`{shown}` is not the name of a registry or repository"
            )),
        }
    }

    /// Returns the key of a whole repository.
    pub fn of(repository: &Repository) -> Self {
        Self(format!("{}/{}", repository.registry(), repository.path()))
    }

    /// Returns the key as it is written into files.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the registry: host and optional port.
    pub fn registry(&self) -> &str {
        host_of(&self.0)
    }

    /// Returns whether the key is for a part of a registry.
    pub fn is_namespaced(&self) -> bool {
        self.0.contains('/')
    }

    /// Returns the keys under which credentials may be found, the most specific first.
    pub(super) fn candidates(&self) -> Vec<&str> {
        let mut keys = vec![self.0.as_str()];
        let mut rest = self.0.as_str();
        while let Some((parent, _)) = rest.rsplit_once('/') {
            keys.push(parent);
            rest = parent;
        }
        keys
    }
}

impl fmt::Display for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn host_of(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

/// The key of Docker's Hub in files that Docker writes.
pub(super) const HUB: &str = "https://index.docker.io/v1/";

/// Turns the forms that Docker wrote over the years (`https://index.docker.io/v1/`) into keys.
pub(super) fn normalized(key: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_registries_or_parts_of_them() {
        for (text, expected) in [
            ("quay.io", Some("quay.io")),
            ("https://quay.io", Some("quay.io")),
            ("https://quay.io/v2/", Some("quay.io")),
            ("http://localhost:5000", Some("localhost:5000")),
            ("quay.io/team", Some("quay.io/team")),
            ("quay.io/team/app", Some("quay.io/team/app")),
            ("https://index.docker.io/v1/", Some("docker.io")),
            ("registry", Some("registry")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("", None),
            ("a.io\nhost=evil.io", None),
            ("a.io/UPPER", None),
            ("a.io/b:tag", None),
            ("user@a.io", None),
        ] {
            let got = LoginKey::parse(text).ok();
            assert_eq!(got.as_ref().map(LoginKey::as_str), expected, "{text}");
        }
    }

    #[test]
    fn the_most_specific_key_comes_first() {
        let key = LoginKey::parse("quay.io/team/app").unwrap();
        assert_eq!(
            key.candidates(),
            ["quay.io/team/app", "quay.io/team", "quay.io"]
        );
        assert_eq!(key.registry(), "quay.io");
    }
}
