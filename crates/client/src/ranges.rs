//! Asking for the bytes of a blob from somewhere on (RFC 9110 §14), of the same blob each time.

use std::time::Duration;

use http::header::{ACCEPT_ENCODING, ETAG, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};

use crate::answer::Answer;
use crate::retry::Backoff;
use crate::{Error, ErrorKind, Session};

/// Asks for the bytes as they are stored.
pub(crate) fn ask_for_stored(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Asks for the bytes from `first` to `last` (0-based, both included), or to the end; those of
/// whatever has this entity tag, if one is known.
pub(crate) fn ask_for_range(
    headers: &mut HeaderMap,
    (first, last): (u64, Option<u64>),
    etag: Option<&HeaderValue>,
) -> Result<(), Error> {
    let last = last.map(|last| last.to_string()).unwrap_or_default();
    let range = HeaderValue::from_str(&format!("bytes={first}-{last}"));
    let range = range.map_err(|source| {
        Error::new(ErrorKind::Bug, "a range is not a header value").caused_by(source)
    })?;
    headers.insert(RANGE, range);
    if let Some(etag) = etag {
        // SPEC: RFC 9110 §13.1.5: what has changed meanwhile comes whole.
        headers.insert(IF_RANGE, etag.clone());
    }
    Ok(())
}

/// Returns the entity tag of an answer, if it is one that names bytes (RFC 9110 §8.8.1).
pub(crate) fn strong_etag(answer: &Answer) -> Option<HeaderValue> {
    let tag = answer.headers().get(ETAG);
    tag.filter(|tag| tag.as_bytes().starts_with(b"\"")).cloned()
}

/// Returns how long to wait before the rest is asked for, and counts the retry; `None`: give up.
pub(crate) fn pause(backoff: &mut Backoff, session: &Session, broken: &Error) -> Option<Duration> {
    let pause = backoff.next(broken.retry_after());
    let pause = pause.filter(|_| broken.is_retryable())?;
    session.note_retry();
    Some(pause)
}
