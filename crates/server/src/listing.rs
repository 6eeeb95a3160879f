//! Lists: tags, repositories and referrers (OCI distribution-spec v1.1, *Content Discovery*).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use dhow_model::{Digest, MediaType};
use http::Uri;
use http::header::LINK;
use serde_json::json;

use crate::answer::{Answer, OCI_FILTERS_APPLIED, Refusal, document, json, set};
use crate::registry::{Registry, unknown_repository};
use crate::routes::parameter;
use crate::service::blocking;

/// Answers with the tags of a repository, in lexical order.
pub(crate) async fn tags(
    registry: &Arc<Registry>,
    repository: String,
    uri: &Uri,
) -> Result<Answer, Refusal> {
    let page = Page::parse(uri)?;
    let registry = Arc::clone(registry);
    blocking(move || {
        let view = registry.catalog.view()?;
        let known = view
            .repositories
            .get(&repository)
            .ok_or_else(|| unknown_repository(&repository))?;
        let (tags, next) = page.cut(&known.tags);
        let mut answer = json(&json!({"name": repository, "tags": tags}));
        page.link(&mut answer, &format!("/v2/{repository}/tags/list"), next);
        Ok(answer)
    })
    .await
}

/// Answers with the names of all repositories, in lexical order.
pub(crate) async fn catalog(registry: &Arc<Registry>, uri: &Uri) -> Result<Answer, Refusal> {
    let page = Page::parse(uri)?;
    let registry = Arc::clone(registry);
    blocking(move || {
        let view = registry.catalog.view()?;
        let (repositories, next) = page.cut(&view.repositories);
        let mut answer = json(&json!({"repositories": repositories}));
        page.link(&mut answer, "/v2/_catalog", next);
        Ok(answer)
    })
    .await
}

/// Answers with an index of the manifests that refer to `subject`.
pub(crate) async fn referrers(
    registry: &Arc<Registry>,
    repository: String,
    subject: Digest,
    uri: &Uri,
) -> Result<Answer, Refusal> {
    let filter = parameter(uri, "artifactType").filter(|kind| !kind.is_empty());
    let registry = Arc::clone(registry);
    blocking(move || {
        let mut manifests = registry.referrers(&repository, &subject)?;
        if let Some(filter) = &filter {
            manifests.retain(|entry| entry.artifact_type.as_ref() == Some(filter));
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_INDEX.as_str(),
            "manifests": manifests,
        });
        let mut answer = document(
            MediaType::OCI_INDEX.as_str(),
            Bytes::from(index.to_string()),
        );
        if filter.is_some() {
            set(&mut answer, OCI_FILTERS_APPLIED, "artifactType");
        }
        Ok(answer)
    })
    .await
}

/// Which part of a list is wanted.
#[derive(Debug)]
struct Page {
    count: usize,
    last: Option<String>,
}

impl Page {
    fn parse(uri: &Uri) -> Result<Self, Refusal> {
        let count = match parameter(uri, "n") {
            None => UNASKED,
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| {
                    Refusal::bad(
                        "PAGINATION_NUMBER_INVALID",
                        "`n` is not a number of entries",
                    )
                })?
                .min(MOST),
        };
        Ok(Self {
            count,
            last: parameter(uri, "last").filter(|last| !last.is_empty()),
        })
    }

    /// Returns the part, and its last name if there are more behind it.
    fn cut<'a, V>(&self, names: &'a BTreeMap<String, V>) -> (Vec<&'a str>, Option<&'a str>) {
        let from = match &self.last {
            Some(last) => Bound::Excluded(last.as_str()),
            None => Bound::Unbounded,
        };
        let names = names.range::<str, _>((from, Bound::Unbounded));
        let mut names = names.map(|(name, _)| name.as_str());
        let part: Vec<&str> = names.by_ref().take(self.count).collect();
        let next = part.last().copied().filter(|_| names.next().is_some());
        (part, next)
    }

    fn link(&self, answer: &mut Answer, path: &str, last: Option<&str>) {
        if let Some(last) = last {
            // Names and tags need no escaping in a query but the slash, which may stand as it is.
            let url = format!("<{path}?n={}&last={last}>; rel=\"next\"", self.count);
            set(answer, LINK, url);
        }
    }
}

/// How many names are listed at once, at most.
const MOST: usize = 1000;

/// How many names are listed when nobody said how many: not every client follows links.
const UNASKED: usize = 10_000;
