//! Transient faults, on every verb.

use std::time::{Duration, Instant};

use dhow_client::{ErrorKind, ManifestRef};
use dhow_model::Tag;
use dhow_testkit::scripted::{Reply, ScriptedServer};
use futures_util::StreamExt as _;

use crate::*;

fn good(path: &str) -> Reply {
    let manifest = manifest();
    if path.contains("/uploads/") {
        return Reply::status(202).header("location", "/v2/a/b/blobs/uploads/1");
    }
    if path.contains("/tags/") {
        return Reply::status(200).body(r#"{"tags":["x"]}"#);
    }
    Reply::status(200)
        .header("content-type", manifest.media_type().as_str())
        .body(manifest.bytes().clone())
}

/// Does one request with each verb.
async fn every_verb(client: &RepositoryClient) -> Vec<Result<(), ErrorKind>> {
    let reference = ManifestRef::Tag(Tag::latest());
    let digest = manifest().digest();
    let kind = |error: Error| error.kind();
    vec![
        client.manifest(&reference).await.map(drop).map_err(kind),
        client
            .head_manifest(&reference)
            .await
            .map(drop)
            .map_err(kind),
        client.head_blob(&digest).await.map(drop).map_err(kind),
        client
            .put_manifest(&reference, &manifest())
            .await
            .map(drop)
            .map_err(kind),
        client.start_upload().await.map(drop).map_err(kind),
        client.delete_manifest(&digest).await.map_err(kind),
        client.tags().next().await.unwrap().map(drop).map_err(kind),
    ]
}

#[tokio::test]
async fn transient_statuses_are_tried_again_on_every_verb() {
    for status in [408, 429, 500, 502, 503, 504] {
        let server = ScriptedServer::start(move |seen, number| {
            if number % 2 == 0 {
                Reply::status(status).header("retry-after", "0")
            } else {
                good(&seen.path)
            }
        })
        .await;
        for outcome in every_verb(&anonymous(&server)).await {
            assert_eq!(outcome, Ok(()), "{status}");
        }
        assert_eq!(server.lines().len(), 14, "{status}");
    }
}

#[tokio::test]
async fn broken_connections_are_tried_again_on_every_verb() {
    let server = ScriptedServer::start(|seen, number| {
        if number % 2 == 0 {
            Reply::hang_up()
        } else {
            good(&seen.path)
        }
    })
    .await;
    for outcome in every_verb(&anonymous(&server)).await {
        assert_eq!(outcome, Ok(()));
    }
}

#[tokio::test]
async fn retries_end_and_permanent_statuses_are_not_tried_again() {
    for (status, requests, kind) in [
        (503, 4, ErrorKind::Unavailable),
        (429, 4, ErrorKind::RateLimited),
        (400, 1, ErrorKind::Rejected),
        (403, 1, ErrorKind::Denied),
        (418, 1, ErrorKind::Rejected),
    ] {
        let server =
            ScriptedServer::start(move |_, _| Reply::status(status).header("retry-after", "0"))
                .await;
        let client = anonymous(&server);
        let error = client
            .manifest(&ManifestRef::Tag(Tag::latest()))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(server.lines().len(), requests, "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let server = ScriptedServer::start(|seen, number| match number {
        0 => Reply::status(429).header("retry-after", "1"),
        _ => good(&seen.path),
    })
    .await;
    let start = Instant::now();
    let client = anonymous(&server);
    client
        .manifest(&ManifestRef::Tag(Tag::latest()))
        .await
        .unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn nothing_listens_is_unreachable() {
    let server = ScriptedServer::start(|_, _| Reply::status(200)).await;
    let client = anonymous(&server);
    drop(server);
    let error = client
        .manifest(&ManifestRef::Tag(Tag::latest()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn plain_http_is_never_tried_while_certificates_are_verified() {
    let server = ScriptedServer::start(|seen, _| good(&seen.path)).await;
    for tls_verify in [None, Some(true)] {
        let options = EndpointOptions {
            tls_verify,
            ..EndpointOptions::new(CredentialSource::Given(FoundCredentials {
                credentials: Credentials::Anonymous,
                origin: String::new(),
            }))
        };
        let endpoint = Endpoint::new(&session(), options);
        let client = reach(&endpoint, &repository(&server, "a/b"), Access::Pull);
        let error = client
            .manifest(&ManifestRef::Tag(Tag::latest()))
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Untrusted),
            "{error:?}"
        );
    }
    assert!(server.lines().is_empty());
}
