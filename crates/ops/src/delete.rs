//! Delete: the image that a name stands for.

use dhow_transport::Deletion;

use crate::{Error, ImageName, RetryOptions, Session};

/// What to delete.
#[derive(Clone, Debug)]
pub struct DeleteRequest {
    /// The image.
    pub image: ImageName,
    /// Trying again.
    pub retry: RetryOptions,
}

/// Deletes. In a registry, all tags of the manifest go with it.
pub async fn delete(session: &Session, request: &DeleteRequest) -> Result<(), Error> {
    let location = session.location(&request.image, "source")?;
    let Some(catalog) = location.catalog() else {
        return Err(Error::Unsupported {
            message: format!(
                "deleting images is not implemented for `{}:`",
                location.transport()
            ),
            hint: "remove its files".to_owned(),
        });
    };
    request
        .retry
        .run(async || {
            let deleted = catalog.delete(Deletion::Named).await;
            deleted.map_err(|source| Error::place("delete", &location, source))
        })
        .await
}
