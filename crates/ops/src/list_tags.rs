//! List tags: of a repository, or the names in a layout.

use dhow_transport::{Catalog, Location};
use futures_util::TryStreamExt as _;
use serde::Serialize;

use crate::{Error, ImageName, RetryOptions, Session, TagFilter};

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
    let tags = request.filter.apply(tags);
    Ok(TagList { repository, tags })
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
