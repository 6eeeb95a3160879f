//! Removing a tag and nothing else.
//!
//! Deleting by tag came late to the distribution-spec, and many registries refuse it. Deleting the
//! manifest by digest would take its other tags along. There, the tag is first moved to an index that
//! lists nothing and is like no other, and that is deleted by digest.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use bytes::Bytes;
use dhow_client::{ErrorKind, ManifestRef, RepositoryClient};
use dhow_model::{MediaType, RawManifest, Tag};
use dhow_transport::{Error, Result};

use super::error::convert;

/// Removes a tag. The manifest it stands for keeps its other tags, and stays.
pub(super) async fn delete_tag(client: &RepositoryClient, tag: &Tag) -> Result<()> {
    let refused = match client.delete_tag(tag).await {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => error,
    };
    if matches!(
        refused.kind(),
        ErrorKind::Unauthorized | ErrorKind::Denied | ErrorKind::Unreachable | ErrorKind::Timeout
    ) {
        return Err(convert(refused));
    }
    tracing::debug!(%tag, error = %refused, "the registry deletes no tags");
    let stand_in = stand_in()?;
    let stored = client
        .put_manifest(&ManifestRef::Tag(tag.clone()), &stand_in)
        .await;
    if stored.is_err() {
        // What it said first is what the user should hear.
        return Err(convert(refused));
    }
    client
        .delete_manifest(&stand_in.digest())
        .await
        .map_err(convert)
}

/// Returns an index that lists nothing, with a digest that no other manifest has.
fn stand_in() -> Result<RawManifest> {
    let random = || RandomState::new().build_hasher().finish();
    let number = format!("{:016x}{:016x}", random(), random());
    let text = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\
         \"manifests\":[],\"annotations\":{{\"org.dhow.removed\":\"{number}\"}}}}"
    );
    let claimed = MediaType::OCI_INDEX;
    RawManifest::new(Bytes::from(text), Some(&claimed)).map_err(|error| {
        Error::new(
            dhow_transport::Kind::Bug,
            "an index that lists nothing is none",
        )
        .caused_by(error)
    })
}
