//! Names of images in an engine.

use std::fmt;

use dhow_model::{Algorithm, Digest, Reference};
use dhow_transport::ParseError;

/// A name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The digest of its config.
    Id(Digest),
    /// A repository with a tag or a digest.
    Reference(Reference),
}

impl Name {
    /// Parses what stands behind `docker-daemon:`. COMPAT(skopeo): its words
    /// (image/docker/daemon/daemon_transport.go).
    pub(super) fn parse(text: &str) -> Result<Self, ParseError> {
        let shown = text.escape_debug();
        if let Ok(digest) = Digest::parse(text) {
            if digest.algorithm() != Algorithm::Sha256 {
                return Err(ParseError::new(format!(
                    "invalid docker-daemon: reference {shown}: only digest algorithm sha256 accepted"
                )));
            }
            return Ok(Self::Id(digest));
        }
        let reference = Reference::parse(text)
            .map_err(|error| ParseError::new(error.to_string()).hint("write `NAME:TAG`"))?;
        if familiar(&reference.repository.to_string()) == "sha256" {
            return Err(ParseError::new(format!(
                "invalid docker-daemon: reference {shown}: the sha256 repository name is reserved \
                 for (non-shortened) digest references"
            )));
        }
        match (&reference.tag, &reference.digest) {
            (None, None) => Err(ParseError::new(format!(
                "docker-daemon: reference {shown} has neither a tag nor a digest"
            ))
            .hint(format!("write `docker-daemon:{shown}:latest`"))),
            (Some(_), Some(_)) => Err(ParseError::new(
                "docker-daemon: references with both a tag and digest are currently not supported",
            )),
            _ => Ok(Self::Reference(reference)),
        }
    }

    pub(super) const fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Reference(reference) => Some(reference),
            Self::Id(_) => None,
        }
    }

    /// Returns the name, if it has a tag.
    pub(super) fn tagged(&self) -> Option<&Reference> {
        self.reference().filter(|reference| reference.tag.is_some())
    }

    /// Returns the name as the engine is asked for it.
    pub(super) fn asked(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(digest) => digest.fmt(f),
            Self::Reference(reference) => f.write_str(familiar(&reference.to_string())),
        }
    }
}

/// Returns a name as Docker's users write it.
fn familiar(name: &str) -> &str {
    let hub = name.strip_prefix("docker.io/").unwrap_or(name);
    match hub.strip_prefix("library/") {
        Some(short) if hub.len() < name.len() => short,
        _ => hub,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_and_shown_as_docker_shows_them() {
        let id = format!("sha256:{}", "0".repeat(64));
        let digest = format!("busybox@{id}");
        for (text, shown) in [
            ("busybox:latest", "busybox:latest"),
            ("docker.io/library/busybox:1", "busybox:1"),
            ("docker.io/user/app:1", "user/app:1"),
            ("quay.io/library/app:1", "quay.io/library/app:1"),
            (&digest, &digest),
            (&id, &id),
        ] {
            assert_eq!(Name::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn names_that_could_mean_two_things_are_refused() {
        let id = "0".repeat(64);
        for text in [
            "busybox".to_owned(),
            String::new(),
            "UPPER:1".to_owned(),
            format!("sha512:{id}{id}"),
            "sha256:abc".to_owned(),
            "sha256@sha256:".to_owned() + &id,
            format!("busybox:1@sha256:{id}"),
            id,
        ] {
            assert!(Name::parse(&text).is_err(), "{text}");
        }
    }
}
