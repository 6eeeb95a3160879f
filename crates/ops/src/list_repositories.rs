//! List repositories: the catalog of a registry.

use dhow_model::Repository;
use futures_util::TryStreamExt as _;
use serde::Serialize;

use crate::{EndpointOptions, Error, RetryOptions, Session, TagRegex};

/// Which repositories to list.
#[derive(Clone, Debug)]
pub struct ListRepositoriesRequest {
    /// The registry, and perhaps a path: `registry.local:5000/team`. `docker://` may stand before it.
    pub name: String,
    /// How it is reached.
    pub endpoint: EndpointOptions,
    /// Only repositories whose path matches somewhere.
    pub regex: Option<TagRegex>,
    /// Trying again.
    pub retry: RetryOptions,
}

/// The repositories, in the order of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RepositoryList {
    /// The registry.
    pub registry: String,
    /// The paths of its repositories.
    pub repositories: Vec<String>,
}

/// Lists.
pub async fn list_repositories(
    session: &Session,
    request: &ListRepositoriesRequest,
) -> Result<RepositoryList, Error> {
    let (registry, below) = registry_and_path(&request.name);
    let endpoint = request.endpoint.parts(session).endpoint;
    let found: Vec<Repository> = request
        .retry
        .run(async || Ok(endpoint.catalog(registry).try_collect().await?))
        .await?;
    let paths = found.iter().map(Repository::path);
    let meant = paths.filter(|path| {
        is_below(path, below)
            && request
                .regex
                .as_ref()
                .is_none_or(|regex| regex.is_match(path))
    });
    Ok(RepositoryList {
        registry: registry.to_owned(),
        repositories: meant.map(str::to_owned).collect(),
    })
}

/// Takes the name of a part of a registry apart.
pub(crate) fn registry_and_path(name: &str) -> (&str, &str) {
    let bare = name
        .strip_prefix("docker://")
        .unwrap_or(name)
        .trim_end_matches('/');
    bare.split_once('/').unwrap_or((bare, ""))
}

/// Returns whether a path is this one, or below it. Everything is below nothing.
pub(crate) fn is_below(path: &str, parent: &str) -> bool {
    parent.is_empty()
        || path
            .strip_prefix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_registry_end_at_slashes() {
        assert_eq!(registry_and_path("docker://r.io:5/a/b/"), ("r.io:5", "a/b"));
        assert_eq!(registry_and_path("r.io"), ("r.io", ""));
        for (path, parent, below) in [
            ("a/b", "", true),
            ("a/b", "a", true),
            ("a", "a", true),
            ("ab", "a", false),
            ("a", "a/b", false),
        ] {
            assert_eq!(is_below(path, parent), below, "{path} {parent}");
        }
    }
}
