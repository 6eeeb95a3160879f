//! Blobs whose digest is known only when the last byte has been made.

use std::sync::atomic::AtomicUsize;

use dhow_model::Digest;

use super::*;

/// Blobs of many pieces, and what they are together.
fn made(pieces: usize, each: usize) -> (BlobWant, Vec<Bytes>, Digest) {
    let (want, bytes) = layer(pieces * each);
    let digest = want.digest.unwrap();
    let want = BlobWant {
        digest: None,
        size: None,
        ..want
    };
    let pieces = bytes.chunks(each.max(1)).map(Bytes::copy_from_slice);
    (want, pieces.collect(), digest)
}

fn streamed(pieces: Vec<Bytes>) -> Blob {
    Blob::from_stream(None, stream::iter(pieces).map(Ok).boxed())
}

#[tokio::test]
async fn a_blob_is_named_before_it_is_sent_as_any_other() {
    let server = empty(|_, _| false).await;
    let sink = sink_of(&server, None).await;
    for (count, each) in [(0, 1), (1, 10), (4, 60_000)] {
        let before = server.seen().len();
        let (want, pieces, digest) = made(count, each);
        let placed = sink.put_blob(&want, streamed(pieces)).await.unwrap();
        let size = (count * each) as u64;
        let how = How::Sent;
        assert_eq!(placed, Placed { digest, size, how });
        assert_eq!(methods(&server)[before..], ["POST", "PUT"], "{size}");
        let seen = &server.seen()[before..];
        assert_eq!(seen[0].query, format!("from=a&mount={digest}"));
        assert_eq!(seen[1].body_length, size);
    }
}

#[tokio::test]
async fn a_blob_that_is_there_is_not_sent() {
    let server = empty(|_, _| true).await;
    let sink = sink_of(&server, None).await;
    let (want, pieces, digest) = made(2, MEDIUM);
    let placed = sink.put_blob(&want, streamed(pieces)).await.unwrap();
    assert_eq!((placed.digest, placed.how), (digest, How::Present));
    assert_eq!(methods(&server), ["POST"]);
}

#[tokio::test]
async fn a_host_that_refuses_the_question_gets_the_blob() {
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "POST" if seen.query.contains("mount") => Reply::status(400),
        "POST" => Reply::status(202).header("location", "/up/1"),
        _ => Reply::status(201),
    })
    .await;
    let sink = sink_of(&server, None).await;
    for expected in [["POST", "POST", "PUT"].as_slice(), &["POST", "PUT"]] {
        let before = server.seen().len();
        let (want, pieces, _) = made(2, MEDIUM);
        let placed = sink.put_blob(&want, streamed(pieces)).await.unwrap();
        assert_eq!(placed.how, How::Sent);
        assert_eq!(methods(&server)[before..], *expected);
    }
}

#[tokio::test]
async fn a_blob_that_waits_in_memory_is_sent_again_at_once_when_that_breaks() {
    let puts = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |seen, _| match seen.method.as_str() {
        "PUT" if puts.fetch_add(1, Ordering::SeqCst) == 0 => Reply::hang_up().reading(1000),
        "POST" | "PATCH" => Reply::status(202).header("location", "/up/1"),
        "GET" => Reply::status(404),
        _ => Reply::status(201),
    })
    .await;
    let sink = sink_of(&server, None).await;
    let (want, pieces, digest) = made(2, MEDIUM);
    let placed = sink.put_blob(&want, streamed(pieces)).await.unwrap();
    assert_eq!((placed.digest, placed.how), (digest, How::Sent));
    let seen = server.seen();
    let patch = seen.iter().find(|seen| seen.method == "PATCH");
    assert_eq!(patch.unwrap().body_length, 2 * MEDIUM as u64);
}

#[tokio::test]
async fn a_blob_that_is_too_large_to_wait_is_sent_while_it_is_made() {
    let server = empty(|_, _| false).await;
    let sink = sink_of(&server, None).await;
    let (want, pieces, digest) = made(40, 60_000);
    let (go_on, goes_on) = tokio::sync::oneshot::channel::<()>();
    // The last piece is made when the upload has begun.
    let last = pieces[39].clone();
    let last = stream::once(async {
        goes_on.await.unwrap();
        Ok(last)
    });
    let body = stream::iter(pieces[..39].to_vec()).map(Ok).chain(last);
    let sending = sink.put_blob(&want, Blob::from_stream(None, body.boxed()));
    let (placed, ()) = tokio::join!(sending, async {
        while server.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        go_on.send(()).unwrap();
    });
    let Placed {
        digest: sent, size, ..
    } = placed.unwrap();
    assert_eq!((sent, size), (digest, 40 * 60_000));
    let seen = server.seen();
    assert_eq!(methods(&server), ["POST", "PATCH", "PUT"]);
    assert_eq!(seen[0].query, "");
    assert_eq!(seen[1].body_length, size);
    assert!(seen[2].query.contains("digest=sha256"), "{}", seen[2].query);
}

#[tokio::test]
async fn on_a_short_way_a_blob_waits_as_long_as_there_is_room() {
    let server = empty(|_, _| false).await;
    let sink = sink_of(&server, None).await;
    assert_eq!(sink.present_root().await.unwrap(), None);
    assert!(sink.is_near());
    for (count, expected) in [
        (40, ["POST", "PUT"].as_slice()),
        (70, &["POST", "PATCH", "PUT"]),
        (40, &["POST", "PUT"]),
    ] {
        let before = server.seen().len();
        let (want, pieces, digest) = made(count, 60_000);
        let placed = sink.put_blob(&want, streamed(pieces)).await.unwrap();
        assert_eq!(placed.digest, digest);
        assert_eq!(methods(&server)[before..], *expected, "{count}");
    }
}

#[tokio::test]
async fn a_blob_that_is_made_from_much_does_not_wait() {
    let server = empty(|_, _| false).await;
    let sink = sink_of(&server, None).await;
    let (mut want, pieces, digest) = made(2, 10);
    want.made_from = Some(17 * 1024 * 1024);
    let placed = sink.put_blob(&want, streamed(pieces)).await.unwrap();
    assert_eq!(placed.digest, digest);
    assert_eq!(methods(&server), ["POST", "PATCH", "PUT"]);
}

#[tokio::test]
async fn a_blob_that_breaks_while_it_is_made_is_not_begun() {
    let server = empty(|_, _| false).await;
    let sink = sink_of(&server, None).await;
    let (want, pieces, _) = made(2, MEDIUM);
    let broken = [Ok(pieces[0].clone()), Err(std::io::Error::other("broken"))];
    let blob = Blob::from_stream(None, stream::iter(broken).boxed());
    assert!(sink.put_blob(&want, blob).await.is_err());
    assert_eq!(methods(&server), Vec::<String>::new());
}
