//! Pushing blobs (OCI distribution-spec v1.1, *Pushing blobs*): in one request, in pieces, and
//! by mounting.
//!
//! ```text
//! POST uploads/ ── mount? digest? ──> 201
//!       └ 202 session ── PATCH* ──> PUT ?digest ──> 201
//! ```

use std::sync::Arc;

use bytes::Bytes;
use dhow_model::Digest;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use http::{HeaderMap, StatusCode, Uri};
use tokio::task::JoinHandle;

use crate::answer::{Answer, DOCKER_CONTENT_DIGEST, DOCKER_UPLOAD_UUID, Refusal, empty, set};
use crate::body::Received;
use crate::registry::Registry;
use crate::routes::{parameter, parse_digest};
use crate::service::{blocking, lost};
use crate::sessions::{Open, Session, Sessions};

/// Starts an upload, or ends it at once.
pub(crate) async fn start(
    registry: &Arc<Registry>,
    sessions: &Sessions,
    repository: &str,
    uri: &Uri,
    body: &mut Received,
) -> Result<Answer, Refusal> {
    if let Some(digest) = parameter(uri, "mount") {
        let digest = parse_digest(&digest)?;
        let store = Arc::clone(&registry.store);
        // Blobs are shared: from which repository it comes does not matter.
        if blocking(move || Ok(store.blob_size(&digest)))
            .await?
            .is_some()
        {
            return Ok(created(repository, &digest));
        }
    }
    if let Some(digest) = parameter(uri, "digest") {
        let digest = parse_digest(&digest)?;
        // Not among the sessions: there is nothing to resume, and dropping it removes it.
        let mut open = Session::new(repository).open().await?;
        open = receive(registry, open, body).await?;
        finish(registry, open, digest).await?;
        return Ok(created(repository, &digest));
    }
    let id = sessions.start(repository)?;
    Ok(accepted(StatusCode::ACCEPTED, repository, &id, 0))
}

/// Adds a piece.
pub(crate) async fn patch(
    registry: &Arc<Registry>,
    sessions: &Sessions,
    repository: &str,
    id: &str,
    headers: &HeaderMap,
    body: &mut Received,
) -> Result<Answer, Refusal> {
    let open = sessions.find(repository, id)?.open().await?;
    check_range(&open, repository, id, headers)?;
    let open = receive(registry, open, body).await?;
    let written = open.written();
    Ok(accepted(StatusCode::ACCEPTED, repository, id, written))
}

/// Adds the last piece, if there is one, and makes the blob visible.
pub(crate) async fn put(
    registry: &Arc<Registry>,
    sessions: &Sessions,
    (repository, id): (&str, &str),
    uri: &Uri,
    headers: &HeaderMap,
    body: &mut Received,
) -> Result<Answer, Refusal> {
    let digest = parameter(uri, "digest")
        .ok_or_else(|| Refusal::bad("DIGEST_INVALID", "the parameter `digest` is missing"))?;
    let digest = parse_digest(&digest)?;
    let open = sessions.find(repository, id)?.open().await?;
    check_range(&open, repository, id, headers)?;
    let open = receive(registry, open, body).await?;
    sessions.remove(id);
    finish(registry, open, digest).await?;
    Ok(created(repository, &digest))
}

/// Says how far an upload is.
pub(crate) async fn status(
    sessions: &Sessions,
    repository: &str,
    id: &str,
) -> Result<Answer, Refusal> {
    let open = sessions.find(repository, id)?.open().await?;
    let written = open.written();
    Ok(accepted(StatusCode::NO_CONTENT, repository, id, written))
}

/// Gives an upload up.
pub(crate) fn cancel(sessions: &Sessions, repository: &str, id: &str) -> Result<Answer, Refusal> {
    sessions.find(repository, id)?;
    sessions.remove(id);
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Writes what comes, one batch while the next one arrives. What has come before a break is
/// written too, so that it can be resumed; when this is dropped, a batch under way still is.
async fn receive(
    registry: &Arc<Registry>,
    open: Open,
    body: &mut Received,
) -> Result<Open, Refusal> {
    let mut place = Place::Here(open);
    loop {
        let (batch, ended) = next_batch(body).await;
        let mut open = place.back().await?;
        let registry = Arc::clone(registry);
        place = if batch.is_empty() {
            Place::Here(open)
        } else {
            Place::Writing(tokio::task::spawn_blocking(move || {
                open.write(&*registry.store, &batch)?;
                Ok(open)
            }))
        };
        if let Some(ended) = ended {
            let open = place.back().await?;
            return ended.map(|()| open);
        }
    }
}

/// Where an upload is between two batches.
enum Place {
    Here(Open),
    Writing(JoinHandle<Result<Open, Refusal>>),
}

impl Place {
    async fn back(self) -> Result<Open, Refusal> {
        match self {
            Self::Here(open) => Ok(open),
            Self::Writing(writing) => writing
                .await
                .unwrap_or_else(|error| Err(Refusal::internal(&error))),
        }
    }
}

/// Returns the next bytes, and how the body ended if it did.
async fn next_batch(body: &mut Received) -> (Vec<Bytes>, Option<Result<(), Refusal>>) {
    let mut batch = Vec::new();
    let mut size = 0;
    while size < BATCH {
        match body.chunk().await {
            Ok(Some(chunk)) => {
                size += chunk.len();
                batch.push(chunk);
            }
            Ok(None) => return (batch, Some(Ok(()))),
            Err(error) => return (batch, Some(Err(lost(&error)))),
        }
    }
    (batch, None)
}

async fn finish(registry: &Arc<Registry>, mut open: Open, digest: Digest) -> Result<(), Refusal> {
    let registry = Arc::clone(registry);
    blocking(move || open.finish(&*registry.store, &digest)).await
}

/// Checks that a piece begins where the last one ended.
fn check_range(
    open: &Open,
    repository: &str,
    id: &str,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(range) = text(CONTENT_RANGE) else {
        return Ok(());
    };
    // SPEC: distribution-spec v1.1, Pushing a blob in chunks: `<start>-<end>`. Some clients write
    // it as HTTP does: `bytes <start>-<end>/<size>`.
    let range = range.trim().trim_start_matches("bytes").trim_start();
    let parsed = range
        .split('/')
        .next()
        .and_then(|range| range.split_once('-'))
        .and_then(|(start, end)| Some((start.parse::<u64>().ok()?, end.parse::<u64>().ok()?)));
    let Some((start, end)) = parsed else {
        return Err(Refusal::bad(
            "BLOB_UPLOAD_INVALID",
            "`Content-Range` is not `<start>-<end>`",
        ));
    };
    let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    // Clients write `0--1` or `n-(n-1)` in vain for an empty last piece, hence no check of that.
    let fits = length.is_none_or(|length| {
        length == 0 || end.checked_sub(start).and_then(|n| n.checked_add(1)) == Some(length)
    });
    let written = open.written();
    if start == written && fits {
        return Ok(());
    }
    let message = if fits {
        format!("the piece starts at {start}, {written} bytes are here")
    } else {
        "`Content-Range` and `Content-Length` differ".to_owned()
    };
    Err(Refusal::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "BLOB_UPLOAD_INVALID",
        message,
    )
    .header(LOCATION, location(repository, id))
    .header(DOCKER_UPLOAD_UUID, id)
    .header(RANGE, received_range(written)))
}

fn created(repository: &str, digest: &Digest) -> Answer {
    let mut answer = empty(StatusCode::CREATED);
    set(
        &mut answer,
        LOCATION,
        format!("/v2/{repository}/blobs/{digest}"),
    );
    set(&mut answer, DOCKER_CONTENT_DIGEST, digest.to_string());
    answer
}

fn accepted(status: StatusCode, repository: &str, id: &str, written: u64) -> Answer {
    let mut answer = empty(status);
    set(&mut answer, LOCATION, location(repository, id));
    set(&mut answer, RANGE, received_range(written));
    set(&mut answer, DOCKER_UPLOAD_UUID, id);
    answer
}

fn location(repository: &str, id: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

/// Returns the range of what is here. Nothing and one byte look the same: so it is specified.
fn received_range(written: u64) -> String {
    format!("0-{}", written.saturating_sub(1))
}

/// How many bytes are gathered before a thread is bothered with them.
const BATCH: usize = 128 * 1024;
