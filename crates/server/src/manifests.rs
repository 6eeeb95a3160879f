//! Pulling, pushing and deleting manifests (OCI distribution-spec v1.1, *Pulling manifests*,
//! *Pushing Manifests*, *Deleting Manifests*).

use std::sync::Arc;

use dhow_model::{ManifestError, MediaType, RawManifest};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, StatusCode};

use crate::answer::{Answer, DOCKER_CONTENT_DIGEST, OCI_SUBJECT, Refusal, document, empty, set};
use crate::body::Received;
use crate::registry::{ManifestName, Registry};
use crate::service::{blocking, lost};

pub(crate) async fn fetch(
    registry: &Arc<Registry>,
    repository: String,
    name: ManifestName,
) -> Result<Answer, Refusal> {
    let registry = Arc::clone(registry);
    let raw = blocking(move || registry.manifest(&repository, &name)).await?;
    let mut answer = document(raw.media_type().as_str(), raw.bytes().clone());
    set(&mut answer, ETAG, format!("\"{}\"", raw.digest()));
    set(&mut answer, DOCKER_CONTENT_DIGEST, raw.digest().to_string());
    Ok(answer)
}

pub(crate) async fn put(
    registry: &Arc<Registry>,
    repository: String,
    name: ManifestName,
    headers: &HeaderMap,
    body: &mut Received,
) -> Result<Answer, Refusal> {
    let claimed = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(MediaType::new);
    let bytes = body
        .collect(RawManifest::MAX_SIZE)
        .await
        .map_err(|error| lost(&error))?
        .ok_or_else(|| {
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "MANIFEST_INVALID",
                ManifestError::TooLarge.to_string(),
            )
        })?;
    let registry = Arc::clone(registry);
    blocking(move || {
        let raw = match &name {
            ManifestName::Tag(_) => RawManifest::new(bytes, claimed.as_ref()),
            ManifestName::Digest(digest) => RawManifest::verified(bytes, claimed.as_ref(), digest),
        };
        let raw = raw.map_err(|error| match error {
            ManifestError::Digest { .. } => Refusal::bad("DIGEST_INVALID", error.to_string()),
            _ => Refusal::bad("MANIFEST_INVALID", error.to_string()),
        })?;
        if raw.kind().is_docker1() {
            // Its digest is not that of its bytes, so that it has no place in a layout.
            return Err(Refusal::bad(
                "MANIFEST_INVALID",
                "schema 1 manifests cannot be stored",
            ));
        }
        let subject = registry.put_manifest(&repository, &name, &raw)?;
        let mut answer = empty(StatusCode::CREATED);
        let digest = raw.digest().to_string();
        set(
            &mut answer,
            LOCATION,
            format!("/v2/{repository}/manifests/{digest}"),
        );
        set(&mut answer, DOCKER_CONTENT_DIGEST, digest);
        if let Some(subject) = subject {
            set(&mut answer, OCI_SUBJECT, subject.to_string());
        }
        Ok(answer)
    })
    .await
}

pub(crate) async fn delete(
    registry: &Arc<Registry>,
    repository: String,
    name: ManifestName,
) -> Result<Answer, Refusal> {
    let registry = Arc::clone(registry);
    blocking(move || registry.remove_manifest(&repository, &name)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
