//! The body of a blob, mended when the connection breaks: the rest is asked for with `Range`
//! (OCI distribution-spec v1.1, *Pulling blobs*; RFC 9110 §14).

use bytes::{Buf as _, Bytes};
use dhow_model::{Descriptor, Digest};
use futures_util::stream::{self, StreamExt as _};
use http::header::CONTENT_RANGE;
use http::{HeaderValue, Method, StatusCode};
use url::Url;

use crate::answer::Answer;
use crate::blob::BlobStream;
use crate::channel::Channel;
use crate::host::Lane;
use crate::origin::redacted;
use crate::request::Request;
use crate::retry::Backoff;
use crate::{Error, ErrorKind, RepositoryClient, Session, ranges};

/// How many bytes must come between two breaks for the count of breaks to begin anew.
const PROGRESS: u64 = 1024 * 1024;

/// A blob that is being read.
#[derive(Debug)]
pub(crate) struct Download {
    place: Place,
    digest: Digest,
    /// The size of the whole blob in bytes, where it is known.
    size: Option<u64>,
    /// The position of the next byte to be handed out.
    position: u64,
    answer: Option<Answer>,
    /// How many bytes the present answer repeats.
    skip: u64,
    /// The strong entity tag of the first answer.
    etag: Option<HeaderValue>,
    backoff: Backoff,
    since_break: u64,
}

#[derive(Debug)]
enum Place {
    Registry(RepositoryClient, String),
    Elsewhere(Channel, Url),
}

impl Place {
    fn session(&self) -> &Session {
        match self {
            Self::Registry(client, _) => client.channel.session(),
            Self::Elsewhere(channel, _) => channel.session(),
        }
    }
}

impl Download {
    pub(crate) fn from_registry(client: RepositoryClient, path: String, blob: &Descriptor) -> Self {
        Self::new(Place::Registry(client, path), blob)
    }

    pub(crate) fn from_elsewhere(channel: Channel, url: Url, blob: &Descriptor) -> Self {
        Self::new(Place::Elsewhere(channel, url), blob)
    }

    fn new(place: Place, blob: &Descriptor) -> Self {
        // Schema 1 manifests do not say sizes: then there is a 0 that cannot be true.
        let unknown = blob.size == 0 && !blob.digest.matches(b"");
        let backoff = Backoff::new(place.session().retries());
        Self {
            place,
            digest: blob.digest,
            size: (!unknown).then_some(blob.size),
            position: 0,
            answer: None,
            skip: 0,
            etag: None,
            backoff,
            since_break: 0,
        }
    }

    /// Sends the first request and returns the stream of what follows.
    pub(crate) async fn open(mut self, offset: u64) -> Result<BlobStream, Error> {
        self.position = offset;
        self.request().await?;
        let size = self.size.map(|size| size.saturating_sub(offset));
        let bytes = stream::try_unfold(self, |mut download| async move {
            let chunk = download.next().await?;
            Ok(chunk.map(|chunk| (chunk, download)))
        });
        Ok(BlobStream {
            size,
            bytes: bytes.boxed(),
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let broken = match &mut self.answer {
                None => match self.request().await {
                    Ok(()) => continue,
                    Err(error) => return Err(error),
                },
                Some(answer) => match answer.chunk().await {
                    Ok(Some(chunk)) => match self.take(chunk)? {
                        Some(chunk) => return Ok(Some(chunk)),
                        None => continue,
                    },
                    Ok(None) if self.is_complete() => return Ok(None),
                    Ok(None) => Error::new(
                        ErrorKind::SizeMismatch,
                        format!(
                            "the body ended after {} of {} bytes",
                            self.position,
                            self.size.unwrap_or_default()
                        ),
                    )
                    .retryable(None),
                    // All of it is here; how the connection ends does not matter.
                    Err(_) if self.size == Some(self.position) => return Ok(None),
                    Err(error) => error,
                },
            };
            self.mend(broken).await?;
        }
    }

    /// Returns the part of a piece that is new.
    fn take(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>, Error> {
        if self.skip > 0 {
            let repeated = usize::try_from(self.skip)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            chunk.advance(repeated);
            self.skip -= repeated as u64;
        }
        if chunk.is_empty() {
            return Ok(None);
        }
        self.position += chunk.len() as u64;
        self.since_break += chunk.len() as u64;
        if let Some(size) = self.size
            && self.position > size
        {
            return Err(self.during(Error::new(
                ErrorKind::SizeMismatch,
                format!("the body has more than the {size} bytes that the manifest says"),
            )));
        }
        Ok(Some(chunk))
    }

    fn is_complete(&self) -> bool {
        self.skip == 0 && self.size.is_none_or(|size| size == self.position)
    }

    /// Waits before the rest is asked for, or gives up.
    async fn mend(&mut self, broken: Error) -> Result<(), Error> {
        self.answer = None;
        if self.since_break >= PROGRESS {
            self.backoff = Backoff::new(self.place.session().retries());
        }
        self.since_break = 0;
        let Some(pause) = ranges::pause(&mut self.backoff, self.place.session(), &broken) else {
            return Err(self.during(broken));
        };
        tracing::debug!(
            digest = %self.digest,
            position = self.position,
            cause = %broken,
            "asking for the rest of a blob"
        );
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Returns which connections the blob comes on. For a config the one that brought the manifest is
    /// the nearest.
    fn lane(&self) -> Lane {
        self.size.map_or(Lane::Bulk, Lane::for_answer)
    }

    /// Asks for the blob from the present position on.
    async fn request(&mut self) -> Result<(), Error> {
        let mut request = match &self.place {
            Place::Registry(client, path) => client.request_to(Method::GET, path.clone()),
            Place::Elsewhere(_, url) => Request::to_url(Method::GET, url.clone(), Lane::Bulk),
        };
        request.lane = self.lane();
        ranges::ask_for_stored(&mut request.headers);
        if self.position > 0 {
            let range = (self.position, None);
            ranges::ask_for_range(&mut request.headers, range, self.etag.as_ref())?;
        }
        let sent = match &self.place {
            Place::Registry(client, _) => client.channel.send(request).await,
            Place::Elsewhere(channel, _) => channel.send_elsewhere(request).await,
        };
        let answer = sent.map_err(|error| self.during(error))?;
        self.skip = match answer.status() {
            StatusCode::OK => self.position,
            StatusCode::PARTIAL_CONTENT if self.position > 0 => {
                self.check_range(&answer)?;
                0
            }
            _ => {
                return Err(match &self.place {
                    Place::Registry(client, _) => client.refusal(answer, self.what()).await,
                    Place::Elsewhere(..) => answer.into_error().await.during(self.what()),
                });
            }
        };
        answer
            .check_encoding()
            .map_err(|error| self.during(error))?;
        self.check_length(&answer)?;
        if self.etag.is_none() {
            self.etag = ranges::strong_etag(&answer);
        }
        self.answer = Some(answer);
        Ok(())
    }

    /// Checks that a partial answer is the part that was asked for.
    fn check_range(&self, answer: &Answer) -> Result<(), Error> {
        let header = answer.header(CONTENT_RANGE).unwrap_or_default();
        let range = header.strip_prefix("bytes ").and_then(parse_range);
        let fits = range.is_some_and(|(start, total)| {
            start == self.position && total.is_none_or(|total| self.size.is_none_or(|s| s == total))
        });
        if fits {
            return Ok(());
        }
        Err(self.during(Error::protocol(format!(
            "`{}` was asked for the bytes from {} on and sent others",
            redacted(answer.url()),
            self.position
        ))))
    }

    /// Compares the announced length with the size; learns the size where it is not known.
    fn check_length(&mut self, answer: &Answer) -> Result<(), Error> {
        let Some(announced) = answer.announced_length() else {
            return Ok(());
        };
        let total = self.position - self.skip + announced;
        match self.size {
            None => self.size = Some(total),
            Some(size) if size != total => {
                return Err(self.during(Error::new(
                    ErrorKind::SizeMismatch,
                    format!("the body has {total} bytes where the manifest says {size}"),
                )));
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn what(&self) -> String {
        match &self.place {
            Place::Registry(client, _) => format!(
                "blob `{}` of `{}` cannot be read",
                self.digest, client.repository
            ),
            Place::Elsewhere(_, url) => {
                format!(
                    "blob `{}` cannot be read from `{}`",
                    self.digest,
                    redacted(url)
                )
            }
        }
    }

    fn during(&self, error: Error) -> Error {
        error.during(self.what())
    }
}

/// Parses `START-END/TOTAL`, where the total may be `*`.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = match total.trim() {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    Some((start.trim().parse().ok()?, total))
}
