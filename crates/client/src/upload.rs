//! Uploads of blobs (OCI distribution-spec v1.1, *Pushing blobs*).
//!
//! ```text
//! POST  → mounted (201), or a session (202)
//! PUT   → the whole blob in one request, where size and digest are known
//! PATCH → the blob as one request, or in chunks, where PUT was refused or broke; then PUT
//! GET   → after a break: how many bytes the registry has
//! ```

mod start;

use std::io;

use dhow_model::Digest;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Method, StatusCode};
use url::Url;

use crate::answer::Answer;
use crate::feed::Feed;
use crate::host::Lane;
use crate::request::{Request, RequestBody};
use crate::{Content, Error, ErrorKind, RepositoryClient, UploadMethod, Uploaded};

/// The size of a chunk, in bytes, for registries that refuse larger requests.
const CHUNK: u64 = 16 * 1024 * 1024;

pub use start::UploadStart;

/// An upload session of a registry.
#[derive(Debug)]
pub struct Upload {
    client: RepositoryClient,
    location: Url,
    /// How many bytes the registry has, as far as it said.
    committed: u64,
    method: UploadMethod,
    min_chunk: u64,
}

impl Upload {
    /// Returns how many bytes the registry has of the blob, as far as it said.
    pub const fn committed(&self) -> u64 {
        self.committed
    }

    /// Returns the address where the registry continues. It can carry a secret.
    pub const fn location(&self) -> &Url {
        &self.location
    }

    /// Sets how the bytes are sent. A host that refused a method before is not asked again.
    #[must_use]
    pub const fn with_method(mut self, method: UploadMethod) -> Self {
        self.method = method;
        self
    }

    /// Sends a blob and closes the session. What the registry has already of `content` is read and
    /// dropped.
    ///
    /// # Errors
    /// `Content` when the bytes could not be read. When the connection broke, the error tells in
    /// [`Error::resume_offset`] how much the registry kept; sending again continues there.
    pub async fn send(&mut self, content: Content) -> Result<Uploaded, Error> {
        let Some(known) = self.committed.checked_sub(content.start) else {
            return Err(Error::new(
                ErrorKind::Bug,
                format!(
                    "an upload to `{}` lacks the bytes from {} to {}",
                    self.client.repository, self.committed, content.start
                ),
            ));
        };
        let hashes = content.digest.is_none();
        let feed = Feed::new(content.bytes, content.size, hashes).starting_at(content.start);
        feed.skip(known)
            .await
            .map_err(|source| self.content_error(source))?;
        let outcome = self.send_feed(&feed, content.size, content.digest).await;
        let error = match outcome {
            Ok(uploaded) => return Ok(uploaded),
            Err(error) => error,
        };
        let error = match feed.take_failure() {
            Some(source) => self.content_error(source),
            None if !error.is_retryable() => return Err(error),
            None => error,
        };
        if let Ok(offset) = self.status().await {
            return Err(error.resume_at(offset));
        }
        self.committed = 0;
        Err(error)
    }

    async fn send_feed(
        &mut self,
        feed: &Feed,
        size: Option<u64>,
        digest: Option<Digest>,
    ) -> Result<Uploaded, Error> {
        let method = self.choose_method();
        if let (UploadMethod::Put, 0, Some(size), Some(digest)) =
            (method, self.committed, size, digest)
        {
            self.put_whole(feed, size, &digest).await?;
            return Ok(Uploaded { digest, size });
        }
        match (method, size) {
            (UploadMethod::Chunks, Some(size)) => {
                let chunk = CHUNK.max(self.min_chunk);
                while self.committed < size {
                    let length = chunk.min(size - self.committed);
                    self.patch(feed, Some(length), true).await?;
                }
            }
            (_, Some(size)) if size == self.committed => {}
            (_, size) => {
                let resumes = self.committed > 0;
                let length = size.map(|size| size.saturating_sub(self.committed));
                self.patch(feed, length, resumes).await?;
            }
        }
        let size = feed.taken();
        let digest = digest.or_else(|| feed.digest()).ok_or_else(|| {
            Error::new(ErrorKind::Bug, "the digest of an upload was not computed")
        })?;
        self.close(&digest).await?;
        Ok(Uploaded { digest, size })
    }

    fn choose_method(&self) -> UploadMethod {
        let facts = self.client.channel.host().uploads();
        let known = if facts.needs_chunks() {
            UploadMethod::Chunks
        } else if facts.put_refused() {
            UploadMethod::Patch
        } else {
            UploadMethod::Put
        };
        self.method.max(known)
    }

    /// SPEC: *Pushing a blob monolithically*, POST then PUT.
    async fn put_whole(&mut self, feed: &Feed, size: u64, digest: &Digest) -> Result<(), Error> {
        let url = with_digest(&self.location, digest);
        let mut request = self.carrying(Method::PUT, url, feed, Some(size));
        // A length of 0 is not told by the body alone.
        request
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from(size));
        let answer = self.watched(request, feed, Some(size)).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        let status = answer.status();
        let error = self.refusal(answer, digest).await;
        let facts = self.client.channel.host().uploads();
        let unknown = error
            .refusal()
            .is_some_and(|one| one.has("BLOB_UPLOAD_UNKNOWN"));
        match status.as_u16() {
            // Registries that take PATCH only say so in many ways.
            405 | 411 | 415 | 501 => facts.refuse_put(),
            404 if !unknown => facts.refuse_put(),
            413 => facts.need_chunks(),
            404 => {}
            _ => return Err(error),
        }
        // The bytes are spent; whoever has them can send them again.
        Err(error.retryable(None))
    }

    async fn patch(
        &mut self,
        feed: &Feed,
        length: Option<u64>,
        with_range: bool,
    ) -> Result<(), Error> {
        let before = feed.taken();
        let mut request = self.carrying(Method::PATCH, self.location.clone(), feed, length);
        if let Some(length) = length {
            request
                .headers
                .insert(CONTENT_LENGTH, HeaderValue::from(length));
            if with_range && length > 0 {
                let last = self.committed + length - 1;
                let range = format!("{}-{last}", self.committed);
                request.headers.extend(
                    HeaderValue::from_str(&range)
                        .ok()
                        .map(|value| (CONTENT_RANGE, value)),
                );
            }
        }
        let answer = self.watched(request, feed, length).await?;
        if !answer.status().is_success() {
            if answer.status() == StatusCode::PAYLOAD_TOO_LARGE && length.is_some() {
                self.client.channel.host().uploads().need_chunks();
                let error = self.refusal_of_part(answer).await;
                return Err(match length {
                    Some(length) if length > CHUNK => error.retryable(None),
                    _ => error,
                });
            }
            return Err(self.refusal_of_part(answer).await);
        }
        self.location = answer.location()?;
        self.committed += feed.taken() - before;
        Ok(())
    }

    async fn close(&self, digest: &Digest) -> Result<(), Error> {
        let url = with_digest(&self.location, digest);
        let mut request = self.request(Method::PUT, url);
        request
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let answer = self.client.channel.send(request).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(self.refusal(answer, digest).await)
    }

    /// Asks the registry how many bytes it has of the blob.
    pub async fn status(&mut self) -> Result<u64, Error> {
        let request = self.request(Method::GET, self.location.clone());
        let answer = self.client.channel.send(request).await?;
        if !answer.status().is_success() {
            let what = format!("the upload to `{}` is lost", self.client.repository);
            return Err(self.client.refusal(answer, what).await);
        }
        if let Ok(location) = answer.location() {
            self.location = location;
        }
        let range = answer.header(RANGE).unwrap_or_default();
        let last = range
            .trim_start_matches("bytes=")
            .split_once('-')
            .and_then(|(_, last)| last.trim().parse::<u64>().ok());
        // `0-0` is what registries say both for one byte and for none; none is safe to assume.
        self.committed = match last {
            Some(last) if last > 0 => last + 1,
            _ => 0,
        };
        Ok(self.committed)
    }

    /// Gives the session up, so that the registry need not keep what it has.
    pub async fn cancel(self) {
        let request = self.request(Method::DELETE, self.location.clone());
        // The registry forgets it by itself some day.
        if let Err(error) = self.client.channel.send(request).await {
            tracing::debug!(%error, "an upload could not be cancelled");
        }
    }

    fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::to_url(method, url, Lane::Small);
        request.scopes = self.client.scopes();
        request
    }

    fn carrying(&self, method: Method, url: Url, feed: &Feed, length: Option<u64>) -> Request {
        let mut request = self.request(method, url);
        request.lane = Lane::Bulk;
        request.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        request.body = RequestBody::Once(Some(feed.body(length)));
        request
    }

    /// Sends a request that carries a part of the feed, and gives up when nothing moves.
    async fn watched(
        &self,
        request: Request,
        feed: &Feed,
        length: Option<u64>,
    ) -> Result<Answer, Error> {
        let timeouts = *self.client.channel.session().timeouts();
        let end = length.map(|length| feed.taken() + length);
        let sending = self.client.channel.send(request);
        tokio::pin!(sending);
        let mut before = feed.taken();
        loop {
            let all_sent = feed.ended() || end.is_some_and(|end| feed.taken() >= end);
            let patience = if all_sent {
                timeouts.commit
            } else {
                // Registries pause while they move what they have to their store.
                timeouts.stall * 2
            };
            match tokio::time::timeout(patience, &mut sending).await {
                Ok(outcome) => return outcome,
                Err(_) if feed.taken() > before => before = feed.taken(),
                Err(_) => {
                    return Err(Error::new(
                        ErrorKind::Timeout,
                        format!(
                            "the upload to `{}` stood still for {} seconds",
                            self.client.repository,
                            patience.as_secs()
                        ),
                    )
                    .retryable(None));
                }
            }
        }
    }

    async fn refusal(&self, answer: Answer, digest: &Digest) -> Error {
        let what = format!(
            "blob `{digest}` cannot be stored in `{}`",
            self.client.repository
        );
        self.client.refusal(answer, what).await
    }

    async fn refusal_of_part(&self, answer: Answer) -> Error {
        let what = format!(
            "a part of a blob cannot be stored in `{}`",
            self.client.repository
        );
        self.client.refusal(answer, what).await
    }

    fn content_error(&self, source: io::Error) -> Error {
        Error::new(
            ErrorKind::Content,
            format!(
                "the bytes to store in `{}` cannot be read",
                self.client.repository
            ),
        )
        .caused_by(source)
    }
}

fn with_digest(location: &Url, digest: &Digest) -> Url {
    let mut url = location.clone();
    url.query_pairs_mut()
        .append_pair("digest", &digest.to_string());
    url
}
