//! Blobs on their way up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dhow_client::{Content, ErrorKind, UploadMethod, UploadStart};
use dhow_testkit::scripted::{Reply, ScriptedServer};
use futures_util::StreamExt as _;

use crate::*;

const LENGTH: usize = 3_000_000;

fn streamed(data: &Bytes, sized: bool, digested: bool) -> Content {
    let pieces: Vec<_> = data
        .chunks(65_536)
        .map(|piece| Ok(data.slice_ref(piece)))
        .collect();
    Content {
        start: 0,
        bytes: futures_util::stream::iter(pieces).boxed(),
        size: sized.then_some(data.len() as u64),
        digest: digested.then(|| blob(data).digest),
    }
}

fn session_reply() -> Reply {
    Reply::status(202).header("location", "/up/1?state=a")
}

#[tokio::test]
async fn a_blob_is_one_post_and_one_put() {
    let data = pattern(LENGTH);
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "POST" => session_reply(),
        _ => Reply::status(201),
    })
    .await;
    let mut upload = anonymous(&server).start_upload().await.unwrap();
    let done = upload.send(streamed(&data, true, true)).await.unwrap();
    assert_eq!(
        (done.digest, done.size),
        (blob(&data).digest, LENGTH as u64)
    );
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].line(), "POST /v2/a/b/blobs/uploads/");
    let digest = blob(&data).digest.to_string().replace(':', "%3A");
    assert_eq!(seen[1].line(), format!("PUT /up/1?state=a&digest={digest}"));
    assert_eq!(seen[1].header("content-length"), LENGTH.to_string());
    assert_eq!(seen[1].header("transfer-encoding"), "");
    assert_eq!(seen[1].body_length, LENGTH as u64);
    assert_eq!(seen[1].body, data[..65_536]);
}

#[tokio::test]
async fn an_empty_blob_is_sent() {
    let data = Bytes::new();
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "POST" => session_reply(),
        _ => Reply::status(201),
    })
    .await;
    let mut upload = anonymous(&server).start_upload().await.unwrap();
    upload.send(streamed(&data, true, true)).await.unwrap();
    assert_eq!(server.seen()[1].header("content-length"), "0");
}

#[tokio::test]
async fn what_nobody_knows_beforehand_is_computed_and_patched() {
    let data = pattern(LENGTH);
    for (sized, digested) in [(false, false), (false, true), (true, false)] {
        let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
            "POST" => session_reply(),
            "PATCH" => Reply::status(202).header("location", "/up/2?state=b"),
            _ => Reply::status(201),
        })
        .await;
        let mut upload = anonymous(&server).start_upload().await.unwrap();
        let done = upload.send(streamed(&data, sized, digested)).await.unwrap();
        assert_eq!(
            (done.digest, done.size),
            (blob(&data).digest, LENGTH as u64)
        );
        let seen = server.seen();
        assert_eq!(seen[1].line(), "PATCH /up/1?state=a");
        assert_eq!(seen[1].body_length, LENGTH as u64);
        assert!(
            seen[2]
                .line()
                .starts_with("PUT /up/2?state=b&digest=sha256")
        );
        assert_eq!(seen[2].body_length, 0);
        assert_eq!(seen.len(), 3);
    }
}

#[tokio::test]
async fn a_mount_is_one_request_or_becomes_an_upload() {
    let digest = blob(b"x").digest;
    for (status, mounted) in [(201, true), (202, false)] {
        let server =
            ScriptedServer::start(move |_, _| Reply::status(status).header("location", "/up/1"))
                .await;
        let from = repository(&server, "other/place");
        let got = anonymous(&server).mount(&digest, &from).await.unwrap();
        assert_eq!(matches!(got, UploadStart::Mounted), mounted);
        assert_eq!(
            server.lines(),
            [format!(
                "POST /v2/a/b/blobs/uploads/?from=other%2Fplace&mount={digest}"
            )]
        );
    }
}

#[tokio::test]
async fn a_mount_asks_for_the_right_to_read_there() {
    let server = ScriptedServer::start(|seen, _| match seen.path.as_str() {
        "/token" => Reply::status(200).body(r#"{"token":"t"}"#),
        _ if seen.header("authorization").is_empty() => Reply::status(401).header(
            "www-authenticate",
            format!("Bearer realm=\"http://{}/token\"", seen.header("host")),
        ),
        _ if seen.method == "HEAD" => Reply::status(404),
        _ => Reply::status(201),
    })
    .await;
    let from = repository(&server, "other");
    let client = anonymous(&server);
    let digest = blob(b"x").digest;
    client.mount(&digest, &from).await.unwrap();
    // The wider token serves what needs less.
    client.head_blob(&digest).await.unwrap();
    let lines = server.lines();
    assert_eq!(
        lines[1],
        "GET /token?scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Aother%3Apull"
    );
    assert_eq!(lines.len(), 4);
}

#[tokio::test]
async fn a_registry_that_refuses_put_gets_patch_from_then_on() {
    let data = pattern(LENGTH);
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "POST" => session_reply(),
        "PATCH" => Reply::status(202).header("location", "/up/2"),
        "PUT" if seen.header("content-length") == "0" => Reply::status(201),
        "PUT" => Reply::status(405),
        _ => Reply::status(404),
    })
    .await;
    let client = anonymous(&server);
    let mut upload = client.start_upload().await.unwrap();
    let error = upload.send(streamed(&data, true, true)).await.unwrap_err();
    assert!(error.is_retryable());
    for _ in 0..2 {
        let mut upload = client.start_upload().await.unwrap();
        upload.send(streamed(&data, true, true)).await.unwrap();
    }
    let lines = server.lines();
    let count = |verb: &str| lines.iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!((count("PATCH"), count("PUT")), (2, 3), "{lines:?}");
}

#[tokio::test]
async fn chunks_are_sent_where_requests_must_be_small() {
    let data = pattern(20 * 1024 * 1024);
    let number = Arc::new(AtomicUsize::new(1));
    let server = ScriptedServer::start(move |seen, _| match seen.method.as_str() {
        "POST" => session_reply(),
        "PATCH" => Reply::status(202).header(
            "location",
            format!("/up/{}", number.fetch_add(1, Ordering::Relaxed)),
        ),
        _ => Reply::status(201),
    })
    .await;
    let upload = anonymous(&server).start_upload().await.unwrap();
    let mut upload = upload.with_method(UploadMethod::Chunks);
    upload.send(streamed(&data, true, true)).await.unwrap();
    let seen = server.seen();
    let ranges: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("content-range"))
        .collect();
    assert_eq!(ranges, ["", "0-16777215", "16777216-20971519", ""]);
    assert_eq!(seen[2].path, "/up/1");
    assert_eq!(seen[2].body_length, 4 * 1024 * 1024);
    assert!(seen[3].line().starts_with("PUT /up/2?digest="));
}

#[tokio::test]
async fn a_broken_upload_continues_where_the_registry_is() {
    let data = pattern(LENGTH);
    let kept = 1_000_000;
    let server = ScriptedServer::start(move |seen, _| match seen.method.as_str() {
        "POST" => session_reply(),
        "PUT" if seen.header("content-length") != "0" => Reply::hang_up().reading(kept),
        "GET" => Reply::status(204)
            .header("range", format!("0-{}", kept - 1))
            .header("location", "/up/1?state=b"),
        "PATCH" => Reply::status(202).header("location", "/up/1?state=c"),
        _ => Reply::status(201),
    })
    .await;
    let mut upload = anonymous(&server).start_upload().await.unwrap();
    let error = upload.send(streamed(&data, true, true)).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert_eq!(error.resume_offset(), Some(kept));
    upload.send(streamed(&data, true, true)).await.unwrap();
    let seen = server.seen();
    let patch = &seen[3];
    assert_eq!(patch.line(), "PATCH /up/1?state=b");
    assert_eq!(patch.header("content-range"), "1000000-2999999");
    assert_eq!(patch.body_length, 2_000_000);
    assert_eq!(patch.body, data[1_000_000..1_065_536]);
    assert!(seen[4].line().starts_with("PUT /up/1?state=c&digest="));
}

#[tokio::test]
async fn the_sources_own_error_comes_back() {
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "POST" => session_reply(),
        _ => Reply::status(201),
    })
    .await;
    let broken = || std::io::Error::new(std::io::ErrorKind::InvalidData, "digest mismatch");
    let short = pattern(1000);
    for pieces in [
        vec![Ok(short.clone()), Err(broken())],
        vec![Ok(short.clone())], // and then the end, too early
    ] {
        let content = Content {
            start: 0,
            bytes: futures_util::stream::iter(pieces).boxed(),
            size: Some(5000),
            digest: Some(blob(b"x").digest),
        };
        let mut upload = anonymous(&server).start_upload().await.unwrap();
        let mut error = upload.send(content).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Content);
        assert!(error.take_content_error().is_some());
    }
}

#[tokio::test]
async fn a_registry_that_counts_another_digest_says_so() {
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "POST" => session_reply(),
        _ => Reply::status(400).body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#),
    })
    .await;
    let mut upload = anonymous(&server).start_upload().await.unwrap();
    let content = Content::from_bytes(pattern(10), Some(blob(b"x").digest));
    let error = upload.send(content).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_session_can_be_cancelled() {
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "POST" => session_reply(),
        _ => Reply::status(204),
    })
    .await;
    anonymous(&server)
        .start_upload()
        .await
        .unwrap()
        .cancel()
        .await;
    assert_eq!(server.lines()[1], "DELETE /up/1?state=a");
}
