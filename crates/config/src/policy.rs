//! policy.json (containers-policy.json(5)): which images may be used.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::file::read_if_present;
use crate::{ConfigError, EnvSnapshot};

/// A policy: requirements by transport and scope, and those for everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The file it came from; `None` for the built-in one.
    pub path: Option<PathBuf>,
    /// What applies where no scope does.
    pub default: Vec<Requirement>,
    /// Requirements by transport and scope; the scope `""` is the transport's own default.
    pub transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

/// What an image must satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing.
    AcceptAnything,
    /// What cannot be satisfied.
    Reject,
    /// A requirement that this version of dhow cannot check. It is never taken as satisfied.
    Unsupported {
        /// The `type` in the file.
        kind: String,
    },
}

impl Policy {
    /// Returns the policy that accepts everything.
    pub fn accept_all() -> Self {
        Self {
            path: None,
            default: vec![Requirement::AcceptAnything],
            transports: BTreeMap::new(),
        }
    }

    /// Loads the policy: from `path` if given, else the user's file, else the system's. Where none
    /// of these is there, everything is accepted.
    pub fn load(environment: &EnvSnapshot, path: Option<&Path>) -> Result<Self, ConfigError> {
        if let Some(path) = path {
            let text = read_if_present(path)?.ok_or_else(|| ConfigError::Read {
                path: path.to_owned(),
                source: std::io::ErrorKind::NotFound.into(),
            })?;
            return Self::parse(&text, path);
        }
        let system = PathBuf::from("/etc/containers/policy.json");
        let user = environment
            .config_home()
            .map(|home| home.join("containers/policy.json"));
        for path in user.into_iter().chain([system]) {
            if let Some(text) = read_if_present(&path)? {
                return Self::parse(&text, &path);
            }
        }
        tracing::debug!("no policy.json found, accepting every image");
        Ok(Self::accept_all())
    }

    /// Parses a policy file.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        const WHAT: &str = "policy";
        let document: Document = serde_json::from_str(text).map_err(|error| {
            // A policy holds no secrets: the parser's own words help most.
            ConfigError::invalid(path, WHAT, error.to_string())
        })?;
        let default = document
            .default
            .ok_or_else(|| ConfigError::invalid(path, WHAT, "`default` is missing"))?;
        let convert = |written: Vec<Written>, place: &str| {
            if written.is_empty() {
                let why = format!("the list of requirements of {place} is empty");
                return Err(ConfigError::invalid(path, WHAT, why));
            }
            written
                .into_iter()
                .map(|one| {
                    one.requirement()
                        .map_err(|why| ConfigError::invalid(path, WHAT, why))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let mut transports = BTreeMap::new();
        for (transport, scopes) in document.transports.unwrap_or_default().0 {
            let mut table = BTreeMap::new();
            for (scope, written) in scopes.0 {
                let place = format!("`{transport}` scope `{scope}`");
                table.insert(scope, convert(written, &place)?);
            }
            transports.insert(transport, table);
        }
        let default = convert(default, "`default`")?;
        Ok(Self {
            path: Some(path.to_owned()),
            default,
            transports,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    default: Option<Vec<Written>>,
    #[serde(default)]
    transports: Option<Unique<Unique<Vec<Written>>>>,
}

/// A requirement as written; its keys depend on its type.
#[derive(Deserialize)]
struct Written {
    r#type: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Written {
    fn requirement(self) -> Result<Requirement, String> {
        let simple = match self.r#type.as_str() {
            "insecureAcceptAnything" => Requirement::AcceptAnything,
            "reject" => Requirement::Reject,
            "signedBy" | "signedBaseLayer" | "sigstoreSigned" => {
                return Ok(Requirement::Unsupported { kind: self.r#type });
            }
            other => return Err(format!("`{other}` is not a type of requirement")),
        };
        match self.rest.keys().next() {
            Some(key) => Err(format!(
                "a requirement of type `{}` has no `{key}`",
                self.r#type
            )),
            None => Ok(simple),
        }
    }
}

/// A map in which no key may stand twice: a reader that takes the other one would see another
/// policy.
struct Unique<T>(BTreeMap<String, T>);

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Unique<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<T>, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if all.contains_key(&key) {
                        return Err(serde::de::Error::custom(format!("`{key}` stands twice")));
                    }
                    all.insert(key, value);
                }
                Ok(Unique(all))
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_by_transport_and_scope() {
        let text = r#"{"default":[{"type":"reject"}],"transports":{
            "docker":{"quay.io":[{"type":"insecureAcceptAnything"}],
                      "a.io":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]}}}"#;
        let policy = Policy::parse(text, Path::new("/p")).unwrap();
        assert_eq!(policy.default, [Requirement::Reject]);
        assert_eq!(
            policy.transports["docker"]["quay.io"],
            [Requirement::AcceptAnything]
        );
        let kind = "signedBy".to_owned();
        assert_eq!(
            policy.transports["docker"]["a.io"],
            [Requirement::Unsupported { kind }]
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for bad in [
            "",
            "{}",
            r#"{"default":[]}"#,
            r#"{"default":[{"type":"accept"}]}"#,
            r#"{"default":[{"type":"reject","x":1}]}"#,
            r#"{"default":[{"type":"reject"}],"Key":1}"#,
            r#"{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}"#,
            r#"{"default":[{"type":"reject"}],"transports":{"a":{},"a":{}}}"#,
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{"a":[]}}}"#,
        ] {
            assert!(Policy::parse(bad, Path::new("/p")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let missing = Some(Path::new("/nonexistent/policy.json"));
        assert!(Policy::load(&EnvSnapshot::default(), missing).is_err());
    }
}
