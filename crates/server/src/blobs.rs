//! Pulling and deleting blobs (OCI distribution-spec v1.1, *Pulling blobs*, *Deleting Blobs*).

use std::sync::Arc;

use dhow_model::{Digest, MediaType};
use http::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE};
use http::{HeaderMap, StatusCode};

use crate::answer::{Answer, DOCKER_CONTENT_DIGEST, Refusal, empty, set};
use crate::body::{Body, FileBody};
use crate::registry::{Registry, unknown_blob};
use crate::service::blocking;
use crate::store::Content;

/// Answers with a blob or the part of it that `Range` names.
pub(crate) async fn fetch(
    registry: &Arc<Registry>,
    digest: Digest,
    headers: &HeaderMap,
) -> Result<Answer, Refusal> {
    let registry = Arc::clone(registry);
    let content = blocking(move || {
        registry
            .store
            .open_blob(&digest)?
            .ok_or_else(|| unknown_blob(&digest))
    })
    .await?;
    let size = match &content {
        Content::File { size, .. } => *size,
        Content::Bytes(bytes) => bytes.len() as u64,
    };
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let (start, length, status) = match wanted(range, size) {
        Wanted::All => (0, size, StatusCode::OK),
        Wanted::Part { start, length } => (start, length, StatusCode::PARTIAL_CONTENT),
        Wanted::Nothing => {
            return Err(Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "SIZE_INVALID",
                format!("the blob has {size} bytes"),
            )
            .header(CONTENT_RANGE, format!("bytes */{size}")));
        }
    };
    let mut answer = empty(status);
    *answer.body_mut() = match content {
        Content::File { file, .. } => Body::File(FileBody::new(file, start, length)),
        Content::Bytes(bytes) => {
            let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
            Body::Bytes(bytes.slice(at(start)..at(start + length)))
        }
    };
    set(&mut answer, CONTENT_TYPE, MediaType::OCTET_STREAM.as_str());
    set(&mut answer, ACCEPT_RANGES, "bytes");
    set(&mut answer, ETAG, format!("\"{digest}\""));
    set(&mut answer, DOCKER_CONTENT_DIGEST, digest.to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        let last = start + length - 1;
        set(
            &mut answer,
            CONTENT_RANGE,
            format!("bytes {start}-{last}/{size}"),
        );
    }
    Ok(answer)
}

/// Removes a blob that no manifest needs.
pub(crate) async fn delete(registry: &Arc<Registry>, digest: Digest) -> Result<Answer, Refusal> {
    let registry = Arc::clone(registry);
    blocking(move || registry.remove_blob(&digest)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part { start: u64, length: u64 },
    Nothing,
}

/// Reads a `Range` of one part. What is not understood counts as not there, as HTTP wants it.
// SPEC: RFC 9110, 14.2.
fn wanted(range: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) = range
        .and_then(|range| range.trim().strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Wanted::All;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let (start, end) = match (first, number(first), last, number(last)) {
        ("", _, _, Some(0)) => return Wanted::Nothing,
        ("", _, _, Some(length)) => (size.saturating_sub(length), size),
        (_, Some(start), "", _) => (start, size),
        (_, Some(start), _, Some(last)) if last >= start => {
            (start, last.saturating_add(1).min(size))
        }
        _ => return Wanted::All,
    };
    if start >= size {
        return Wanted::Nothing;
    }
    Wanted::Part {
        start,
        length: end - start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_blob() {
        let part = |start, length| Wanted::Part { start, length };
        for (range, size, expected) in [
            (None, 10, Wanted::All),
            (Some("bytes=0-"), 10, part(0, 10)),
            (Some("bytes=3-"), 10, part(3, 7)),
            (Some("bytes=3-5"), 10, part(3, 3)),
            (Some("bytes=3-99"), 10, part(3, 7)),
            (Some("bytes=3-99999999999999999999999"), 10, part(3, 7)),
            (Some("bytes=-4"), 10, part(6, 4)),
            (Some("bytes=-40"), 10, part(0, 10)),
            (Some("bytes=10-"), 10, Wanted::Nothing),
            (Some("bytes=99999999999999999999999-"), 10, Wanted::Nothing),
            (Some("bytes=-0"), 10, Wanted::Nothing),
            (Some("bytes=0-"), 0, Wanted::Nothing),
            (Some("bytes=5-3"), 10, Wanted::All),
            (Some("bytes=0-1,3-4"), 10, Wanted::All),
            (Some("bytes=a-b"), 10, Wanted::All),
            (Some("bytes=+1-2"), 10, Wanted::All),
            (Some("lines=1-2"), 10, Wanted::All),
            (Some("bytes=-"), 10, Wanted::All),
        ] {
            assert_eq!(wanted(range, size), expected, "{range:?}");
        }
    }
}
