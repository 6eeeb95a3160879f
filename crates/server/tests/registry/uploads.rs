//! Blobs that come in one request, in pieces, and not at all.

use std::io::Write as _;
use std::net::TcpStream;

use dhow_model::Digest;
use dhow_server::StoreConfig;
use tempfile::TempDir;

use crate::world::{World, code, header, on_both};

#[tokio::test]
async fn a_blob_comes_in_pieces() {
    on_both(async |world| {
        let answer = world.send("POST", "/v2/a/blobs/uploads/").await;
        assert_eq!(answer.status(), 202);
        let place = header(&answer, "location");
        assert!(place.ends_with(&header(&answer, "docker-upload-uuid")));
        for (range, data, status, now) in [
            ("0-4", "01234", 202, "0-4"),
            ("6-7", "67", 416, "0-4"),
            ("0-4", "01234", 416, "0-4"),
            ("5-9", "567", 416, "0-4"), // Three bytes are not five.
            ("5-6", "56", 202, "0-6"),
            ("x", "56", 400, ""),
            ("", "78", 202, "0-8"),
        ] {
            let mut request = world.request("PATCH", &place).body(data);
            if !range.is_empty() {
                request = request.header("content-range", range);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), status, "{range}");
            assert_eq!(header(&answer, "range"), now);
        }
        let answer = world.send("GET", &place).await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "range").as_str()),
            (204, "0-8")
        );
        let digest = Digest::sha256(b"0123456789");
        let last = world.request("PUT", &format!("{place}?digest={digest}"));
        let last = last.header("content-range", "9-9").body("9");
        let answer = last.send().await.unwrap();
        assert_eq!(answer.status(), 201);
        assert_eq!(header(&answer, "location"), format!("/v2/a/blobs/{digest}"));
        assert_eq!(world.status("GET", &place).await, 404);
        let path = format!("/v2/a/blobs/{digest}");
        assert_eq!(
            world.send("GET", &path).await.text().await.unwrap(),
            "0123456789"
        );
    })
    .await;
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing() {
    on_both(async |world| {
        let digest = Digest::sha256(b"right");
        for (path, error) in [
            (format!("?digest={digest}"), "DIGEST_INVALID"),
            ("?digest=sha256:no".to_owned(), "DIGEST_INVALID"),
        ] {
            let answer = world.request("POST", &format!("/v2/a/blobs/uploads/{path}"));
            assert_eq!(
                code(answer.body("wrong").send().await.unwrap()).await,
                error
            );
            let place = header(
                &world.send("POST", "/v2/a/blobs/uploads/").await,
                "location",
            );
            let answer = world
                .request("PUT", &format!("{place}{path}"))
                .body("wrong");
            assert_eq!(code(answer.send().await.unwrap()).await, error);
        }
        let place = header(
            &world.send("POST", "/v2/a/blobs/uploads/").await,
            "location",
        );
        assert_eq!(world.status("PUT", &place).await, 400);
        assert_eq!(
            world.status("GET", &format!("/v2/a/blobs/{digest}")).await,
            404
        );
        let wrong = Digest::sha256(b"wrong");
        assert_eq!(
            world.status("GET", &format!("/v2/a/blobs/{wrong}")).await,
            404
        );
    })
    .await;
}

#[tokio::test]
async fn uploads_are_given_up_and_belong_to_their_repository() {
    on_both(async |world| {
        let place = header(
            &world.send("POST", "/v2/a/blobs/uploads/").await,
            "location",
        );
        let elsewhere = place.replace("/v2/a/", "/v2/b/");
        assert_eq!(world.status("PATCH", &elsewhere).await, 404);
        assert_eq!(world.status("DELETE", &elsewhere).await, 404);
        assert_eq!(world.status("DELETE", &place).await, 204);
        assert_eq!(world.status("DELETE", &place).await, 404);
        assert_eq!(world.status("GET", "/v2/a/blobs/uploads/..x").await, 404);
    })
    .await;
}

#[tokio::test]
async fn a_blob_that_is_there_is_mounted() {
    on_both(async |world| {
        let digest = world.push_blob("a", b"shared").await;
        let absent = Digest::sha256(b"absent");
        for (query, status) in [
            (format!("mount={digest}&from=a"), 201),
            (format!("mount={digest}"), 201),
            (format!("mount={absent}&from=a"), 202),
            ("mount=x".to_owned(), 400),
        ] {
            let path = format!("/v2/b/blobs/uploads/?{query}");
            assert_eq!(world.status("POST", &path).await, status, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_came_before_a_break_is_kept_for_going_on() {
    let place = TempDir::new().unwrap();
    let world = World::on(place.path()).await;
    let upload = header(
        &world.send("POST", "/v2/a/blobs/uploads/").await,
        "location",
    );
    let host = world.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "PATCH {upload} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234"
    )
    .unwrap();
    drop(stream);
    // Its line is written when the request is over.
    while !world
        .lines
        .0
        .lock()
        .unwrap()
        .iter()
        .any(|line| line.method == "PATCH")
    {
        tokio::task::yield_now().await;
    }
    let answer = world.send("GET", &upload).await;
    assert_eq!(header(&answer, "range"), "0-4");
    let digest = Digest::sha256(b"0123456789");
    let rest = world.request("PUT", &format!("{upload}?digest={digest}"));
    let rest = rest.header("content-range", "5-9").body("56789");
    assert_eq!(rest.send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn uploads_are_bounded() {
    let world = World::start(StoreConfig::Memory).await;
    for _ in 0..512 {
        assert_eq!(world.status("POST", "/v2/a/blobs/uploads/").await, 202);
    }
    let answer = world.send("POST", "/v2/a/blobs/uploads/").await;
    assert_eq!(answer.status(), 429);
    assert_eq!(header(&answer, "retry-after"), "10");
}
