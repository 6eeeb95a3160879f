//! Image references: `registry/repository[:tag][@digest]`, and the short forms that Docker made
//! popular (`centos:7` is `docker.io/library/centos:7`).
//!
//! The grammar is that of distribution's reference package: path components
//! `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, tags `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`, host labels, an
//! IPv6 address in brackets, an optional port.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// A repository of a registry, normalized: `docker.io/library/centos`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    path: String,
}

impl Repository {
    /// Parses a name without tag and digest, normalizing short forms.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let reference = Reference::parse(text)?;
        match (&reference.tag, &reference.digest) {
            (None, None) => Ok(reference.repository),
            _ => Err(ReferenceError::new(
                text,
                "a repository is named without tag and digest",
            )),
        }
    }

    /// Returns the registry as users name it: host and optional port, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the path below the registry: `library/centos`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the repository at `path` of exactly this registry, also where a host of one word would
    /// be taken for a part of a path on Docker Hub.
    pub fn at(registry: &str, path: &str) -> Result<Self, ReferenceError> {
        if registry.contains(['.', ':', '[']) || registry == "localhost" {
            return Self::parse(&format!("{registry}/{path}"));
        }
        // With a port it is a host beyond doubt.
        let named = Self::parse(&format!("{registry}:1/{path}"))?;
        Ok(Self {
            registry: registry.to_owned(),
            path: named.path,
        })
    }

    /// Returns the repository at `path` of the same registry.
    pub fn sibling(&self, path: &str) -> Result<Self, ReferenceError> {
        Self::at(&self.registry, path)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// A tag, 1 to 128 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// Parses a tag.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        let valid = match text.as_bytes() {
            [first, rest @ ..] => {
                word(*first)
                    && rest.len() <= 127
                    && rest.iter().all(|c| word(*c) || matches!(c, b'.' | b'-'))
            }
            [] => false,
        };
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(ReferenceError::new(
                text,
                "a tag has 1 to 128 letters, digits, `_`, `.` and `-`",
            ))
        }
    }

    /// Returns the tag that a reference without tag and digest means.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A repository with, optionally, a tag and a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The tag, if one was written.
    pub tag: Option<Tag>,
    /// The digest, if one was written.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalizes a reference. A tag that is not there is not added: see
    /// [`Reference::with_default_tag`].
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let fail = |why| ReferenceError::new(text, why);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = Digest::parse(digest).map_err(|_| {
                    fail("behind `@` stands `sha256:` or `sha512:` and lower-case hex")
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
        // A colon before the last slash belongs to the port.
        let (name, tag) = match rest[name_end..].find(':') {
            Some(colon) => {
                let (name, tag) = rest.split_at(name_end + colon);
                (
                    name,
                    Some(Tag::parse(&tag[1..]).map_err(|error| fail(error.why))?),
                )
            }
            None => (rest, None),
        };
        Ok(Self {
            repository: parse_name(text, name)?,
            tag,
            digest,
        })
    }

    /// Returns the reference with `latest` as its tag when it has neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(Tag::latest());
        }
        self
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A string that is not a reference, or not the kind of reference that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference format: `{text}`: {why}")]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

impl ReferenceError {
    fn new(text: &str, why: &'static str) -> Self {
        let text = text
            .chars()
            .take(300)
            .flat_map(char::escape_debug)
            .collect();
        Self { text, why }
    }
}

fn parse_name(whole: &str, name: &str) -> Result<Repository, ReferenceError> {
    let fail = |why| Err(ReferenceError::new(whole, why));
    if name.is_empty() {
        return fail("the name is empty");
    }
    if name.len() == 64 && name.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
        return fail("64 hex characters are an image ID, not a name");
    }
    let (registry, path) = split_registry(name);
    if !is_registry(registry) {
        return fail("the registry is not a host name or address with an optional port");
    }
    let path = if registry == "docker.io" && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    if path.split('/').any(|component| !is_component(component)) {
        return fail(if path.bytes().any(|c| c.is_ascii_uppercase()) {
            "repository name must be lowercase"
        } else {
            "a path component has lower-case letters and digits, with `.`, `_`, `__` or `-` between"
        });
    }
    if registry.len() + 1 + path.len() > 255 {
        return fail("repository name must not be more than 255 characters");
    }
    Ok(Repository {
        registry: registry.to_owned(),
        path,
    })
}

/// Splits off the registry. The first component is one when it could not be a path component:
/// it has a dot or a colon, is `localhost`, or has an upper-case letter.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|c| c.is_ascii_uppercase()) =>
        {
            (
                if first == "index.docker.io" {
                    "docker.io"
                } else {
                    first
                },
                rest,
            )
        }
        _ => ("docker.io", name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = if text.starts_with('[') {
        match text.split_once(']') {
            Some((host, "")) => (&host[1..], None),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (&host[1..], Some(port)),
                None => return false,
            },
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with('+')) {
        return false;
    }
    if text.starts_with('[') {
        return host.parse::<std::net::Ipv6Addr>().is_ok();
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9');
    let bytes = text.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric)
        || !bytes.last().copied().is_some_and(alphanumeric)
    {
        return false;
    }
    // Every run between two alphanumerics is one separator.
    bytes
        .split(|c| alphanumeric(*c))
        .filter(|run| !run.is_empty())
        .all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|c| *c == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_one_word_is_not_taken_for_docker_hub_when_it_is_named_as_a_host() {
        for (registry, path) in [
            ("myhost", "a/b"),
            ("r.io:5", "a"),
            ("localhost", "a"),
            ("[::1]:5", "a"),
        ] {
            let repository = Repository::at(registry, path).unwrap();
            assert_eq!((repository.registry(), repository.path()), (registry, path));
            assert_eq!(repository.sibling("c").unwrap().registry(), registry);
        }
        assert_eq!(
            Repository::at("docker.io", "centos").unwrap().path(),
            "library/centos"
        );
        for registry in ["", "a/b", "my host", "u@h"] {
            assert!(Repository::at(registry, "a").is_err(), "{registry}");
        }
    }

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_normalized() {
        for (written, normal) in [
            ("centos", "docker.io/library/centos"),
            ("centos:7", "docker.io/library/centos:7"),
            ("docker.io/centos:7", "docker.io/library/centos:7"),
            ("index.docker.io/centos:7", "docker.io/library/centos:7"),
            ("foo/bar", "docker.io/foo/bar"),
            ("localhost/bar", "localhost/bar"),
            ("localhost:5000/bar:x", "localhost:5000/bar:x"),
            ("127.0.0.1:5000/a/b/c:V1.0", "127.0.0.1:5000/a/b/c:V1.0"),
            ("[::1]:5000/a", "[::1]:5000/a"),
            ("[2001:db8::1]/a:b", "[2001:db8::1]/a:b"),
            ("Foo/bar", "Foo/bar"),
            ("quay.io/a__b/c-d/e.f_g--h:1", "quay.io/a__b/c-d/e.f_g--h:1"),
        ] {
            assert_eq!(Reference::parse(written).unwrap().to_string(), normal);
        }
        let digested = format!("quay.io/a/b:t@sha256:{HEX}");
        assert_eq!(Reference::parse(&digested).unwrap().to_string(), digested);
    }

    #[test]
    fn wrong_references_are_refused() {
        for bad in [
            "",
            ":tag",
            "@sha256:00",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:b:c",
            "quay.io/A/b",
            "docker.io/Foo",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a_.b",
            "quay.io:port/a",
            "quay.io:99999/a",
            "ho_st.io/a",
            "[::1/a",
            "[zz]:1/a",
            "a:.b",
            "a/b@sha256:abc",
            "quay.io/a\n/b",
            "a b",
            "é/b",
            HEX,
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
        assert!(Reference::parse(&format!("a:{}", "x".repeat(128))).is_ok());
        assert!(Reference::parse(&format!("a:{}", "x".repeat(129))).is_err());
        assert!(Reference::parse(&"a/".repeat(130)).is_err());
    }

    #[test]
    fn latest_is_added_only_when_nothing_else_is_there() {
        let tagged = |text: &str| {
            Reference::parse(text)
                .unwrap()
                .with_default_tag()
                .to_string()
        };
        assert_eq!(tagged("a.io/b"), "a.io/b:latest");
        assert_eq!(tagged("a.io/b:c"), "a.io/b:c");
        assert_eq!(
            tagged(&format!("a.io/b@sha256:{HEX}")),
            format!("a.io/b@sha256:{HEX}")
        );
    }
}
