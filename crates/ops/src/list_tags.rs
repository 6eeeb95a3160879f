//! List tags: of a repository, or the names in a layout.

use std::collections::HashSet;

use dhow_copy::Select;
use dhow_transport::{Catalog, Location};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::Serialize;

use crate::created::{Chosen, is_new, later};
use crate::select::by_version;
use crate::{Error, ImageName, RetryOptions, Session, Since, TagFilter};

/// Whose tags to list.
#[derive(Clone, Debug)]
pub struct ListTagsRequest {
    /// The repository, without tag and digest, or the layout.
    pub image: ImageName,
    /// Which tags.
    pub filter: TagFilter,
    /// Trying again.
    pub retry: RetryOptions,
}

/// The tags, in the order of the place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagList {
    /// The repository, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The tags.
    pub tags: Vec<String>,
}

/// Lists.
pub async fn list_tags(session: &Session, request: &ListTagsRequest) -> Result<TagList, Error> {
    let location = session.location(&request.image, "image")?;
    let Some(catalog) = location.catalog() else {
        return Err(Error::Unsupported {
            message: format!(
                "unsupported transport `{}` for tag listing",
                location.transport()
            ),
            hint: "name a repository (`docker://…`), a layout (`oci:…`) or an archive (`docker-archive:…`)".to_owned(),
        });
    };
    let tags = all(&*location, catalog, request.retry).await?;
    let repository = catalog.repository().map(ToString::to_string);
    let tags = match request.filter.newer_than {
        Some(since) => newer(session, request, tags, since).await,
        None => request.filter.apply(tags),
    };
    Ok(TagList { repository, tags })
}

/// Returns the tags of images that were made since then, in the order of the list.
async fn newer(
    session: &Session,
    request: &ListTagsRequest,
    mut tags: Vec<String>,
    since: Since,
) -> Vec<String> {
    let since = since.moment(Timestamp::now());
    tags.retain(|tag| request.filter.admits(tag));
    let is_new = |tag: &str| -> BoxFuture<'_, bool> {
        let mut image = request.image.clone();
        image.name = format!("{}:{tag}", image.name);
        Box::pin(async move {
            let chosen = Chosen {
                select: &Select::System,
                platform: &session.platform,
            };
            match session.location(&image, "image") {
                Ok(location) => is_new(&*location, chosen, since).await,
                Err(_) => true,
            }
        })
    };
    let ranked = by_version(tags.clone());
    let newest = request.filter.newest.unwrap_or(usize::MAX);
    let new: HashSet<String> = later(ranked, is_new).take(newest).collect().await;
    tags.retain(|tag| new.contains(tag));
    tags
}

/// Reads a whole list of tags, or of the names that stand in their place.
async fn all(
    location: &dyn Location,
    catalog: &dyn Catalog,
    retry: RetryOptions,
) -> Result<Vec<String>, Error> {
    retry
        .run(async || {
            let tags = catalog.tags().try_collect().await;
            tags.map_err(|source| Error::place("list the tags of", &location, source))
        })
        .await
}
