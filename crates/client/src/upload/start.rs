//! How an upload begins: anew, or with the question whether the registry can take the blob from one of
//! its repositories.

use dhow_model::{Digest, Repository};
use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use url::{Url, form_urlencoded};

use super::Upload;
use crate::repository::scope;
use crate::request::Request;
use crate::upload_facts::{OwnMounts, UploadFacts};
use crate::{Access, Error, ErrorKind, RepositoryClient, UploadMethod};

const MIN_CHUNK: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// What a registry did when it was asked to take a blob.
#[derive(Debug)]
pub enum UploadStart {
    /// It has the blob now, from the other repository.
    Mounted,
    /// It waits for the bytes.
    Session(Upload),
}

impl RepositoryClient {
    /// Starts an upload.
    pub async fn start_upload(&self) -> Result<Upload, Error> {
        let request = self.request(Method::POST, "blobs/uploads/");
        match self.started(request).await? {
            UploadStart::Session(upload) => Ok(upload),
            UploadStart::Mounted => Err(Error::protocol(
                "the registry answers as if a blob had been mounted, and none was named",
            )),
        }
    }

    /// Starts an upload of a blob, unless the repository has it: the registry is asked to mount it
    /// from the very repository, which it can do (201) only where it is.
    pub async fn start_upload_of(&self, digest: &Digest) -> Result<UploadStart, Error> {
        let facts = self.channel.host().uploads();
        if facts.own_mounts() == OwnMounts::Refuses {
            return Ok(UploadStart::Session(self.start_upload().await?));
        }
        let request = self.mount_request(digest, &self.repository);
        match self.started(request).await {
            Ok(start) => {
                if matches!(start, UploadStart::Mounted) {
                    facts.answer();
                }
                Ok(start)
            }
            // COMPAT(registries): the spec has no such refusal, and says so of no `from`.
            Err(error) if is_refused(&error) => {
                tracing::debug!(%digest, %error, "no mount from the same repository");
                facts.know_own_mounts(OwnMounts::Refuses);
                Ok(UploadStart::Session(self.start_upload().await?))
            }
            Err(error) => Err(error),
        }
    }

    /// Finds out what the host makes of that question, with a blob that is there; once for each host.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub async fn probe_own_mounts(&self, present: &Digest) -> Result<(), Error> {
        let facts = self.channel.host().uploads();
        if !facts.may_probe() {
            return Ok(());
        }
        let start = self.start_upload_of(present).await?;
        if let UploadStart::Session(upload) = start {
            if facts.own_mounts() != OwnMounts::Refuses {
                facts.know_own_mounts(OwnMounts::Ignores);
            }
            upload.cancel().await;
        }
        Ok(())
    }

    /// Goes on with an upload that an earlier process has begun, at the address that it had then.
    ///
    /// # Errors
    /// When the registry does not know it any more.
    pub async fn continue_upload(&self, location: &str) -> Result<Upload, Error> {
        let location = Url::parse(location).map_err(|source| {
            Error::new(ErrorKind::Settings, "the address of an upload is not a URL")
                .caused_by(source)
        })?;
        let mut upload = Upload {
            client: self.clone(),
            location,
            committed: 0,
            method: UploadMethod::Put,
            min_chunk: 0,
        };
        upload.status().await?;
        Ok(upload)
    }

    /// Returns what the registry has shown of how it takes uploads.
    pub fn host_facts(&self) -> &UploadFacts {
        self.channel.host().uploads()
    }

    /// Asks the registry to take a blob from another of its repositories. A registry that cannot
    /// do that begins an upload instead.
    pub async fn mount(&self, digest: &Digest, from: &Repository) -> Result<UploadStart, Error> {
        self.started(self.mount_request(digest, from)).await
    }

    fn mount_request(&self, digest: &Digest, from: &Repository) -> Request {
        let source: String = form_urlencoded::byte_serialize(from.path().as_bytes()).collect();
        let query = format!("blobs/uploads/?from={source}&mount={digest}");
        let mut request = self.request(Method::POST, &query);
        if *from != self.repository {
            request.scopes.insert(scope(from, Access::Pull));
        }
        request
    }

    async fn started(&self, mut request: Request) -> Result<UploadStart, Error> {
        request
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let answer = self.channel.send(request).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(UploadStart::Mounted),
            StatusCode::ACCEPTED => {
                let min_chunk = answer
                    .header(MIN_CHUNK)
                    .and_then(|text| text.trim().parse().ok())
                    .unwrap_or(0);
                Ok(UploadStart::Session(Upload {
                    location: answer.location()?,
                    client: self.clone(),
                    committed: 0,
                    method: UploadMethod::Put,
                    min_chunk,
                }))
            }
            _ => {
                let what = format!("no upload to `{}` can be started", self.repository);
                Err(self.refusal(answer, what).await)
            }
        }
    }
}

/// Returns whether a registry does not do what it was asked for, and may do something like it.
fn is_refused(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::Rejected | ErrorKind::Unsupported
    )
}
