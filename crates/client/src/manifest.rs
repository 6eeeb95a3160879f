//! Manifests: fetch, put, delete (OCI distribution-spec v1.1, *Pulling manifests*, *Pushing
//! Manifests*, *Deleting Manifests*).

use std::time::Duration;

use bytes::Bytes;
use dhow_model::{Digest, ManifestError, ManifestKind, MediaType, RawManifest, Tag};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::answer::Answer;
use crate::near;
use crate::request::RequestBody;
use crate::{Error, ErrorKind, ManifestRef, RepositoryClient};

pub(crate) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// What a registry tells of a manifest without sending it. Not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// The digest, where the registry says it.
    pub digest: Option<Digest>,
    /// The size in bytes, likewise.
    pub size: Option<u64>,
    /// The media type, likewise.
    pub media_type: Option<MediaType>,
}

/// What a registry told of a manifest that it has stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// The subject that the registry has listed the manifest under. When this is `None` for a
    /// manifest with a subject, the registry has no referrers API.
    pub subject: Option<Digest>,
}

impl RepositoryClient {
    /// Fetches a manifest. Its digest is verified when it was asked for by digest, and compared
    /// with what the registry announces when it was asked for by tag.
    ///
    /// # Errors
    /// `NotFound` with the nearest tags as a hint, `DigestMismatch`, `Protocol` for what is no
    /// manifest.
    pub async fn manifest(&self, reference: &ManifestRef) -> Result<RawManifest, Error> {
        let what = || {
            format!(
                "manifest `{reference}` of `{}` cannot be read",
                self.repository
            )
        };
        let answer = self.manifest_request(Method::GET, reference).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(self.no_manifest(answer, reference).await),
            _ => return Err(self.refusal(answer, what()).await),
        }
        let claimed = claimed_type(answer.header(CONTENT_TYPE));
        let announced = announced_digest(answer.headers());
        let bytes = answer
            .bytes(RawManifest::MAX_SIZE)
            .await
            .map_err(|error| error.during(what()))?;
        accept(&bytes, claimed.as_ref(), reference, announced).map_err(|error| error.during(what()))
    }

    /// Asks for the digest, size and type of a manifest; `None` when there is no such manifest.
    pub async fn head_manifest(
        &self,
        reference: &ManifestRef,
    ) -> Result<Option<ManifestHead>, Error> {
        let answer = self.manifest_request(Method::HEAD, reference).await?;
        match answer.status() {
            StatusCode::OK => Ok(Some(ManifestHead {
                digest: announced_digest(answer.headers()),
                size: answer.announced_length(),
                media_type: claimed_type(answer.header(CONTENT_TYPE)),
            })),
            StatusCode::NOT_FOUND => Ok(None),
            _ => {
                let what = format!(
                    "manifest `{reference}` of `{}` cannot be read",
                    self.repository
                );
                Err(self.refusal(answer, what).await)
            }
        }
    }

    /// Stores a manifest under a tag or its digest.
    ///
    /// # Errors
    /// `ManifestRejected` when the registry does not take this kind of manifest.
    pub async fn put_manifest(
        &self,
        reference: &ManifestRef,
        manifest: &RawManifest,
    ) -> Result<StoredManifest, Error> {
        let what = format!(
            "manifest `{reference}` cannot be stored in `{}`",
            self.repository
        );
        let mut tries = 1;
        let answer = loop {
            let answer = self.put(reference, manifest).await?;
            if answer.status().is_success() {
                break answer;
            }
            let error = self.refusal(answer, what.clone()).await;
            if is_read_too_early(&error) && tries < TRIES {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            return Err(if is_format_refused(&error) {
                error.of_kind(ErrorKind::ManifestRejected)
            } else {
                error
            });
        };
        if let Some(stored) = announced_digest(answer.headers())
            && stored != manifest.digest()
            && !stored.matches(manifest.bytes())
        {
            return Err(Error::new(
                ErrorKind::DigestMismatch,
                format!(
                    "the registry stored `{stored}` where `{}` was sent",
                    manifest.digest()
                ),
            )
            .during(what));
        }
        let subject = answer.header(SUBJECT);
        Ok(StoredManifest {
            subject: subject.and_then(|text| Digest::parse(text.trim()).ok()),
        })
    }

    async fn put(&self, reference: &ManifestRef, manifest: &RawManifest) -> Result<Answer, Error> {
        let mut request = self.request(Method::PUT, &format!("manifests/{reference}"));
        request
            .headers
            .insert(CONTENT_TYPE, header_value(&manifest.media_type())?);
        request.body = RequestBody::Bytes(manifest.bytes().clone());
        self.channel.send(request).await
    }

    /// Deletes a manifest with all its tags.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<(), Error> {
        self.delete(&ManifestRef::Digest(*digest)).await
    }

    /// Deletes a tag, and nothing else, where the registry can do that.
    pub async fn delete_tag(&self, tag: &Tag) -> Result<(), Error> {
        self.delete(&ManifestRef::Tag(tag.clone())).await
    }

    async fn delete(&self, reference: &ManifestRef) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &format!("manifests/{reference}"));
        let answer = self.channel.send(request).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        let what = format!(
            "manifest `{reference}` of `{}` cannot be deleted",
            self.repository
        );
        let error = self.refusal(answer, what).await;
        Err(match error.kind() {
            ErrorKind::Unsupported => error.hint("allow deletion in the registry's configuration"),
            _ => error,
        })
    }

    pub(crate) async fn manifest_request(
        &self,
        method: Method,
        reference: &ManifestRef,
    ) -> Result<Answer, Error> {
        let mut request = self.request(method, &format!("manifests/{reference}"));
        for kind in ManifestKind::ALL {
            // COMPAT(skopeo): one header each; registries exist that read only the first of a list.
            request
                .headers
                .append(ACCEPT, header_value(&kind.media_type())?);
        }
        self.channel.send(request).await
    }

    /// Returns the error for a manifest that is not there.
    async fn no_manifest(&self, answer: Answer, reference: &ManifestRef) -> Error {
        let refusal = answer.into_error().await;
        let unknown_name = refusal
            .refusal()
            .is_some_and(|refusal| refusal.has("NAME_UNKNOWN"));
        let repository = &self.repository;
        let tag = match reference {
            ManifestRef::Digest(digest) => {
                return refusal.during(format!(
                    "repository `{repository}` has no manifest `{digest}`"
                ));
            }
            ManifestRef::Tag(_) if unknown_name => {
                return refusal.during(format!("there is no repository `{repository}`"));
            }
            ManifestRef::Tag(tag) => tag,
        };
        let error = refusal.during(format!("repository `{repository}` has no tag `{tag}`"));
        match near::hint(self, tag).await {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Checks the bytes of a manifest against everything that is known of them.
fn accept(
    bytes: &Bytes,
    claimed: Option<&MediaType>,
    reference: &ManifestRef,
    announced: Option<Digest>,
) -> Result<RawManifest, Error> {
    let checked = match reference {
        ManifestRef::Digest(digest) => RawManifest::verified(bytes.clone(), claimed, digest),
        ManifestRef::Tag(_) => RawManifest::new(bytes.clone(), claimed),
    };
    let manifest = checked.map_err(|source| {
        let kind = match source {
            ManifestError::Digest { .. } => ErrorKind::DigestMismatch,
            // What makes no sense and is not what was announced was spoiled on its way.
            _ if announced.is_some_and(|announced| !announced.matches(bytes)) => {
                ErrorKind::DigestMismatch
            }
            _ => ErrorKind::Protocol,
        };
        Error::new(kind, "the registry sent what was not asked for").caused_by(source)
    })?;
    match (reference, announced) {
        (ManifestRef::Tag(_), Some(announced))
            if announced != manifest.digest() && !announced.matches(manifest.bytes()) =>
        {
            Err(Error::new(
                ErrorKind::DigestMismatch,
                format!(
                    "the registry announced `{announced}` and sent `{}`",
                    manifest.digest()
                ),
            ))
        }
        _ => Ok(manifest),
    }
}

/// Returns the media type of a manifest, if the registry says one that means something. Some say
/// `text/plain` or `application/json` for everything: then the bytes tell.
fn claimed_type(content_type: Option<&str>) -> Option<MediaType> {
    content_type
        .map(MediaType::new)
        .filter(|claimed| claimed.manifest_kind().is_some())
}

fn announced_digest(headers: &HeaderMap) -> Option<Digest> {
    let text = headers.get(DIGEST)?.to_str().ok()?;
    // An algorithm that cannot be verified proves nothing.
    Digest::parse(text.trim()).ok()
}

fn is_format_refused(error: &Error) -> bool {
    error.refusal().is_some_and(|refusal| {
        refusal.status().is_client_error()
            && (refusal.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE
                || ["MANIFEST_INVALID", "TAG_INVALID", "UNSUPPORTED"]
                    .iter()
                    .any(|code| refusal.has(code)))
    })
}

/// Returns whether a digest is called wrong that is right: it was taken of the bytes that are sent.
// COMPAT(docker-registry): the link of a blob is written in place, when another client mounts the
// blob, too; a manifest that is checked meanwhile finds an empty digest in it.
fn is_read_too_early(error: &Error) -> bool {
    error
        .refusal()
        .is_some_and(|refusal| refusal.status().is_client_error() && refusal.has("DIGEST_INVALID"))
}

/// How often a manifest is sent that is read too early, and how long that is waited for.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

fn header_value(media_type: &MediaType) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(media_type.as_str()).map_err(|source| {
        Error::new(ErrorKind::Bug, "a media type is not a header value").caused_by(source)
    })
}
