//! Parts of blobs: one range each, and never more.

use dhow_client::ErrorKind;
use dhow_testkit::identity::Identity;
use dhow_testkit::scripted::{Reply, ScriptedServer, Seen};
use http::Version;

use crate::tls::{secure, trusting};
use crate::*;

const LENGTH: usize = 300_000;

/// The first and the last byte that are asked for.
fn asked(seen: &Seen) -> Option<(usize, usize)> {
    let range = seen.header("range").strip_prefix("bytes=")?;
    let (start, last) = range.split_once('-')?;
    Some((start.parse().ok()?, last.parse().ok()?))
}

fn partial(data: &Bytes, seen: &Seen) -> Reply {
    let (start, last) = asked(seen).expect("a range with two ends");
    Reply::status(206)
        .header(
            "content-range",
            format!("bytes {start}-{last}/{}", data.len()),
        )
        .body(data.slice(start..=last))
}

#[tokio::test]
async fn a_part_is_what_was_asked_for_and_is_mended() {
    let data = pattern(LENGTH);
    let served = data.clone();
    let server = ScriptedServer::start(move |seen, number| {
        let reply = partial(&served, seen);
        if number == 0 {
            reply.cut_after(30_000)
        } else {
            reply
        }
    })
    .await;
    let part = anonymous(&server)
        .blob_part(&blob(&data), 1000, 100_000)
        .await
        .unwrap();
    assert_eq!(part.size, Some(100_000));
    assert_eq!(read(part).await.unwrap(), data[1000..101_000]);
    let ranges: Vec<_> = server.seen().iter().map(asked).collect();
    assert_eq!(ranges, [Some((1000, 100_999)), Some((31_000, 100_999))]);
}

#[tokio::test]
async fn who_sends_something_else_is_not_listened_to() {
    let data = pattern(LENGTH);
    for (what, status, range, length, kind) in [
        ("the whole", 200, None, LENGTH, ErrorKind::Unsupported),
        ("no range", 206, None, 1000, ErrorKind::Protocol),
        (
            "earlier bytes",
            206,
            Some("0-999/300000"),
            1000,
            ErrorKind::Protocol,
        ),
        (
            "all to the end",
            206,
            Some("5000-299999/300000"),
            1000,
            ErrorKind::Protocol,
        ),
        (
            "of another blob",
            206,
            Some("5000-5999/300001"),
            1000,
            ErrorKind::Protocol,
        ),
        (
            "too much",
            206,
            Some("5000-5999/300000"),
            1001,
            ErrorKind::SizeMismatch,
        ),
        (
            "too little",
            206,
            Some("5000-5999/300000"),
            999,
            ErrorKind::Protocol,
        ),
        ("nothing", 404, None, 0, ErrorKind::NotFound),
    ] {
        let body = data.slice(..length);
        let server = ScriptedServer::start(move |_, _| {
            let reply = Reply::status(status).body(body.clone());
            match range {
                Some(range) => reply.header("content-range", format!("bytes {range}")),
                None => reply,
            }
        })
        .await;
        let client = anonymous(&server);
        let error = match client.blob_part(&blob(&data), 5000, 1000).await {
            Ok(part) => read(part).await.expect_err(what),
            Err(error) => error,
        };
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
}

#[tokio::test]
async fn a_part_that_is_not_in_the_blob_is_not_asked_for() {
    let data = pattern(LENGTH);
    let server = ScriptedServer::start(|_, _| Reply::status(404)).await;
    let client = anonymous(&server);
    for (offset, length) in [
        (0, 0),
        (LENGTH as u64, 1),
        (1, u64::MAX),
        (0, LENGTH as u64 + 1),
    ] {
        let refused = client.blob_part(&blob(&data), offset, length).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Bug);
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_small_part_takes_no_connection_that_blobs_need() {
    let identity = Identity::new().with_http2();
    let data = pattern(LENGTH);
    let served = data.clone();
    let answer = move |seen: &Seen, _| partial(&served, seen);
    let server = ScriptedServer::start_tls(&identity, answer).await;
    let certificates = trusting(&identity);
    let client = secure(&server, Credentials::Anonymous, &certificates, None);
    for length in [4, 100_000] {
        let part = client.blob_part(&blob(&data), 0, length).await.unwrap();
        read(part).await.unwrap();
    }
    let versions: Vec<_> = server.seen().iter().map(|seen| seen.version).collect();
    assert_eq!(versions, [Version::HTTP_2, Version::HTTP_11]);
}
