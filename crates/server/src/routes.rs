//! Which endpoint a path means (OCI distribution-spec v1.1, *Endpoints*).

use dhow_model::{Digest, Tag};
use http::{Method, StatusCode, Uri};

use crate::answer::Refusal;
use crate::naming::is_repository;
use crate::registry::ManifestName;

/// An endpoint with its parameters.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    Base,
    Token,
    Catalog,
    Manifest {
        repository: String,
        name: ManifestName,
    },
    Blob {
        repository: String,
        digest: Digest,
    },
    Uploads {
        repository: String,
    },
    Upload {
        repository: String,
        id: String,
    },
    Tags {
        repository: String,
    },
    Referrers {
        repository: String,
        digest: Digest,
    },
}

impl Route {
    /// Reads a path. Names and digests are checked here, so that nothing strange gets further.
    pub(crate) fn parse(method: &Method, path: &str) -> Result<Self, Refusal> {
        if path == TOKEN_PATH {
            return Ok(Self::Token);
        }
        let rest = match path.strip_prefix("/v2/") {
            Some(rest) => rest,
            None if path == "/v2" => "",
            None => return Err(no_such_endpoint()),
        };
        match rest {
            "" => return Ok(Self::Base),
            "_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        // Colons of digests may come encoded; nothing else has a reason to be.
        let rest = rest.replace("%3A", ":").replace("%3a", ":");
        let segments: Vec<&str> = rest.split('/').collect();
        let name = |end: usize| {
            let repository = segments.get(..end).unwrap_or_default().join("/");
            if is_repository(&repository) {
                Ok(repository)
            } else {
                Err(Refusal::bad(
                    "NAME_INVALID",
                    "the repository's name is invalid",
                ))
            }
        };
        let count = segments.len();
        match segments.as_slice() {
            [_, .., "blobs", "uploads"] | [_, .., "blobs", "uploads", ""] => Ok(Self::Uploads {
                repository: name(count - 2 - usize::from(segments.last() == Some(&"")))?,
            }),
            [_, .., "blobs", "uploads", id] => Ok(Self::Upload {
                repository: name(count - 3)?,
                id: (*id).to_owned(),
            }),
            [_, .., "blobs", digest] => Ok(Self::Blob {
                repository: name(count - 2)?,
                digest: parse_digest(digest)?,
            }),
            [_, .., "manifests", text] => {
                let repository = name(count - 2)?;
                let name = manifest_name(method, text)?;
                Ok(Self::Manifest { repository, name })
            }
            [_, .., "tags", "list"] => Ok(Self::Tags {
                repository: name(count - 2)?,
            }),
            [_, .., "referrers", digest] => Ok(Self::Referrers {
                repository: name(count - 2)?,
                digest: parse_digest(digest)?,
            }),
            _ => Err(no_such_endpoint()),
        }
    }

    /// Returns the repository, where there is one.
    pub(crate) fn repository(&self) -> Option<&str> {
        match self {
            Self::Base | Self::Token | Self::Catalog => None,
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Uploads { repository }
            | Self::Upload { repository, .. }
            | Self::Tags { repository }
            | Self::Referrers { repository, .. } => Some(repository),
        }
    }
}

fn manifest_name(method: &Method, text: &str) -> Result<ManifestName, Refusal> {
    if text.contains(':') {
        return parse_digest(text).map(ManifestName::Digest);
    }
    Tag::parse(text).map(ManifestName::Tag).map_err(|error| {
        // What cannot be a tag cannot be there either.
        if *method == Method::GET || *method == Method::HEAD {
            Refusal::not_found("MANIFEST_UNKNOWN", error.to_string())
        } else {
            Refusal::bad("TAG_INVALID", error.to_string())
        }
    })
}

pub(crate) fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    Digest::parse(text).map_err(|error| Refusal::bad("DIGEST_INVALID", error.to_string()))
}

fn no_such_endpoint() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "UNSUPPORTED",
        "there is no such endpoint",
    )
}

/// Returns the first value of a parameter of the query.
pub(crate) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    url::form_urlencoded::parse(uri.query()?.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// Where tokens are asked for, as in OpenShift.
pub(crate) const TOKEN_PATH: &str = "/openshift/token";

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> String {
        match Route::parse(&Method::PUT, path) {
            Ok(route) => {
                format!("{route:?}")
                    .split([' ', '{'])
                    .next()
                    .unwrap()
                    .to_owned()
                    + " "
                    + route.repository().unwrap_or_default()
            }
            Err(refusal) => refusal.status.as_u16().to_string(),
        }
    }

    #[test]
    fn paths_are_told_apart_from_behind() {
        let digest = Digest::sha256(b"");
        for (path, expected) in [
            ("/v2/".to_owned(), "Base "),
            ("/v2".to_owned(), "Base "),
            ("/v2/_catalog".to_owned(), "Catalog "),
            ("/v2/a/manifests/latest".to_owned(), "Manifest a"),
            ("/v2/a/b/c/manifests/latest".to_owned(), "Manifest a/b/c"),
            (format!("/v2/a/manifests/{digest}"), "Manifest a"),
            (
                format!("/v2/a/manifests/sha256%3A{}", digest.hex()),
                "Manifest a",
            ),
            (format!("/v2/blobs/blobs/{digest}"), "Blob blobs"),
            (
                "/v2/manifests/manifests/manifests".to_owned(),
                "Manifest manifests",
            ),
            ("/v2/a/blobs/uploads/".to_owned(), "Uploads a"),
            ("/v2/a/blobs/uploads".to_owned(), "Uploads a"),
            ("/v2/a/blobs/uploads/0f".to_owned(), "Upload a"),
            (
                "/v2/a/blobs/uploads/tags/list".to_owned(),
                "Tags a/blobs/uploads",
            ),
            ("/v2/tags/tags/list".to_owned(), "Tags tags"),
            (format!("/v2/a/referrers/{digest}"), "Referrers a"),
        ] {
            assert_eq!(shown(&path), expected, "{path}");
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        for (path, status) in [
            ("/", "404"),
            ("/v1/", "404"),
            ("/v2/a", "404"),
            ("/v2//manifests/x", "400"),
            ("/v2/../manifests/x", "400"),
            ("/v2/%2e%2e/manifests/x", "400"),
            ("/v2/A/manifests/x", "400"),
            ("/v2/a/../b/manifests/x", "400"),
            ("/v2/a/manifests/..", "400"),
            ("/v2/a/manifests/%2e%2e", "400"),
            ("/v2/a/blobs/sha256:../../x", "404"),
            ("/v2/a/blobs/sha256:abc", "400"),
            ("/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", "400"),
        ] {
            assert_eq!(shown(path), status, "{path}");
        }
    }
}
