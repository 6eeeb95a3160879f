//! Reading a part of a blob: one range, and nothing beyond it (RFC 9110 §14).

use bytes::Bytes;
use dhow_model::{Descriptor, Digest};
use futures_util::stream::{self, StreamExt as _};
use http::header::CONTENT_RANGE;
use http::{HeaderValue, Method, StatusCode};

use crate::answer::Answer;
use crate::blob::BlobStream;
use crate::host::Lane;
use crate::origin::redacted;
use crate::retry::Backoff;
use crate::{Error, ErrorKind, RepositoryClient, ranges};

impl RepositoryClient {
    /// Opens a part of a blob that the registry itself has: `length` bytes from `offset` (0-based) on.
    /// A registry that sends more than it was asked for is not listened to: that is an error of the
    /// kind [`ErrorKind::Unsupported`].
    pub async fn blob_part(
        &self,
        blob: &Descriptor,
        offset: u64,
        length: u64,
    ) -> Result<BlobStream, Error> {
        let end = offset.checked_add(length).filter(|end| *end <= blob.size);
        let Some(end) = end.filter(|_| length > 0) else {
            let why = format!("blob `{}` has no such part", blob.digest);
            return Err(Error::new(ErrorKind::Bug, why));
        };
        let mut part = Part {
            client: self.clone(),
            digest: blob.digest,
            total: blob.size,
            position: offset,
            end,
            etag: None,
            answer: None,
            backoff: Backoff::new(self.channel.session().retries()),
        };
        part.request().await?;
        let bytes = stream::try_unfold(part, |mut part| async move {
            let piece = part.next().await?;
            Ok(piece.map(|piece| (piece, part)))
        });
        Ok(BlobStream {
            size: Some(length),
            bytes: bytes.boxed(),
        })
    }
}

/// A part that is being read.
#[derive(Debug)]
struct Part {
    client: RepositoryClient,
    digest: Digest,
    /// The size of the whole blob, in bytes.
    total: u64,
    /// The next byte to be handed out.
    position: u64,
    end: u64,
    /// The strong entity tag of the first answer.
    etag: Option<HeaderValue>,
    answer: Option<Answer>,
    backoff: Backoff,
}

impl Part {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.position < self.end {
            let Some(answer) = &mut self.answer else {
                self.request().await?;
                continue;
            };
            let broken = match answer.chunk().await {
                Ok(Some(piece)) if piece.is_empty() => continue,
                Ok(Some(piece)) => return self.take(piece).map(Some),
                Ok(None) => {
                    let why = format!("the part ended {} bytes early", self.end - self.position);
                    Error::new(ErrorKind::SizeMismatch, why).retryable(None)
                }
                Err(error) => error,
            };
            self.mend(broken).await?;
        }
        Ok(None)
    }

    fn take(&mut self, piece: Bytes) -> Result<Bytes, Error> {
        self.position += piece.len() as u64;
        if self.position > self.end {
            let why = "the part has more bytes than were announced";
            return Err(self.during(Error::new(ErrorKind::SizeMismatch, why)));
        }
        Ok(piece)
    }

    /// Waits before the rest is asked for, or gives up.
    async fn mend(&mut self, broken: Error) -> Result<(), Error> {
        self.answer = None;
        let session = self.client.channel.session();
        let Some(pause) = ranges::pause(&mut self.backoff, session, &broken) else {
            return Err(self.during(broken));
        };
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Asks for what is left of the part.
    async fn request(&mut self) -> Result<(), Error> {
        let path = self.client.path(&format!("blobs/{}", self.digest));
        let mut request = self.client.request_to(Method::GET, path);
        request.lane = Lane::for_answer(self.end - self.position);
        let headers = &mut request.headers;
        ranges::ask_for_stored(headers);
        let range = (self.position, Some(self.end - 1));
        ranges::ask_for_range(headers, range, self.etag.as_ref())?;
        let sent = self.client.channel.send(request).await;
        let answer = sent.map_err(|error| self.during(error))?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {}
            // The body is not read: whoever needs the whole asks for it.
            StatusCode::OK => {
                let why = format!("`{}` sends blobs only whole", redacted(answer.url()));
                return Err(self.during(Error::new(ErrorKind::Unsupported, why)));
            }
            _ => return Err(self.client.refusal(answer, self.what()).await),
        }
        answer
            .check_encoding()
            .and_then(|()| self.check_range(&answer))
            .map_err(|error| self.during(error))?;
        if self.etag.is_none() {
            self.etag = ranges::strong_etag(&answer);
        }
        self.answer = Some(answer);
        Ok(())
    }

    /// Checks that an answer is the part that was asked for.
    fn check_range(&self, answer: &Answer) -> Result<(), Error> {
        let last = self.end - 1;
        let header = answer.header(CONTENT_RANGE).unwrap_or_default();
        let fits = header.trim().strip_prefix("bytes ").is_some_and(|range| {
            let asked = format!("{}-{last}/", self.position);
            let total = range.trim().strip_prefix(&asked);
            total.is_some_and(|total| total == "*" || total.parse() == Ok(self.total))
        });
        if fits {
            return Ok(());
        }
        Err(Error::protocol(format!(
            "`{}` was asked for the bytes {}-{last} and sent others",
            redacted(answer.url()),
            self.position
        )))
    }

    fn what(&self) -> String {
        format!(
            "a part of blob `{}` of `{}` cannot be read",
            self.digest, self.client.repository
        )
    }

    fn during(&self, error: Error) -> Error {
        error.during(self.what())
    }
}
