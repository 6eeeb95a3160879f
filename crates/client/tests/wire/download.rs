//! Blobs on their way down, with connections that break.

use std::time::Duration;

use dhow_client::ErrorKind;
use dhow_testkit::scripted::{Reply, ScriptedServer, Seen};
use tokio::runtime::{Builder, Runtime};

use crate::*;

type Script = Box<dyn Fn(&Seen, usize) -> Reply + Send + Sync>;

const LENGTH: usize = 300_000;

/// The connection on which a plain server is offered TLS first.
const TRIES_OF_HTTPS: usize = 1;

fn start_of(seen: &Seen) -> usize {
    let range = seen.header("range");
    range
        .trim_start_matches("bytes=")
        .trim_end_matches('-')
        .parse()
        .unwrap_or(0)
}

fn partial(data: &Bytes, start: usize) -> Reply {
    Reply::status(206)
        .header(
            "content-range",
            format!("bytes {start}-{}/{}", data.len() - 1, data.len()),
        )
        .body(data.slice(start..))
}

#[tokio::test]
async fn a_broken_body_is_mended_with_range() {
    let data = pattern(LENGTH);
    let served = data.clone();
    let server = ScriptedServer::start(move |seen, number| match number {
        0 => Reply::status(200).body(served.clone()).cut_after(100_000),
        1 => partial(&served, start_of(seen)).cut_after(50_000),
        _ => partial(&served, start_of(seen)),
    })
    .await;
    let stream = anonymous(&server).blob(&blob(&data), 0).await.unwrap();
    assert_eq!(stream.size, Some(LENGTH as u64));
    assert_eq!(read(stream).await.unwrap(), data);
    let starts: Vec<_> = server.seen().iter().map(start_of).collect();
    assert_eq!(starts, [0, 100_000, 150_000]);
}

#[tokio::test]
async fn a_server_without_ranges_sends_all_again() {
    let data = pattern(LENGTH);
    let served = data.clone();
    let server = ScriptedServer::start(move |_, number| {
        let reply = Reply::status(200).body(served.clone());
        if number == 0 {
            reply.cut_after(123_456)
        } else {
            reply
        }
    })
    .await;
    let stream = anonymous(&server).blob(&blob(&data), 0).await.unwrap();
    assert_eq!(read(stream).await.unwrap(), data);
}

#[tokio::test]
async fn a_blob_can_be_read_from_an_offset() {
    let data = pattern(LENGTH);
    let served = data.clone();
    let server = ScriptedServer::start(move |seen, _| partial(&served, start_of(seen))).await;
    let stream = anonymous(&server)
        .blob(&blob(&data), 299_000)
        .await
        .unwrap();
    assert_eq!(stream.size, Some(1000));
    assert_eq!(read(stream).await.unwrap(), data[299_000..]);
}

#[tokio::test]
async fn lengths_and_ranges_that_lie_are_refused() {
    let data = pattern(LENGTH);
    let longer = pattern(LENGTH + 1);
    let shorter = pattern(LENGTH - 1);
    let cut = {
        let data = data.clone();
        move || Reply::status(200).body(data.clone()).cut_after(1000)
    };
    let scripts: Vec<(&str, Script, ErrorKind)> = vec![
        (
            "longer, announced",
            Box::new({
                let longer = longer.clone();
                move |_, _| Reply::status(200).body(longer.clone())
            }),
            ErrorKind::SizeMismatch,
        ),
        (
            "longer, not announced",
            Box::new(move |_, _| Reply::status(200).body(longer.clone()).chunked()),
            ErrorKind::SizeMismatch,
        ),
        (
            "shorter, announced",
            Box::new({
                let shorter = shorter.clone();
                move |_, _| Reply::status(200).body(shorter.clone())
            }),
            ErrorKind::SizeMismatch,
        ),
        (
            "shorter, not announced, each time",
            Box::new(move |_, _| Reply::status(200).body(shorter.clone()).chunked()),
            ErrorKind::SizeMismatch,
        ),
        (
            "another range",
            Box::new({
                let (data, cut) = (data.clone(), cut.clone());
                move |_, number| match number {
                    0 => cut(),
                    _ => partial(&data, 0),
                }
            }),
            ErrorKind::Protocol,
        ),
        (
            "no range",
            Box::new({
                let cut = cut.clone();
                move |_, number| match number {
                    0 => cut(),
                    _ => Reply::status(206).body("x"),
                }
            }),
            ErrorKind::Protocol,
        ),
        (
            "gone",
            Box::new({
                let cut = cut.clone();
                move |_, number| match number {
                    0 => cut(),
                    _ => Reply::status(404),
                }
            }),
            ErrorKind::NotFound,
        ),
        (
            "encoded",
            Box::new(|_, _| {
                Reply::status(200)
                    .header("content-encoding", "gzip")
                    .body("x")
            }),
            ErrorKind::Protocol,
        ),
    ];
    for (name, script, kind) in scripts {
        let server = ScriptedServer::start(script).await;
        let client = anonymous(&server);
        let got = match client.blob(&blob(&data), 0).await {
            Ok(stream) => read(stream).await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(got.map_err(|error| error.kind()), Err(kind), "{name}");
    }
}

#[tokio::test]
async fn breaks_without_progress_end() {
    let data = pattern(LENGTH);
    let server = ScriptedServer::start(move |seen, _| {
        let start = start_of(seen);
        match start {
            0 => Reply::status(200).body(data.clone()).cut_after(10),
            _ => partial(&data, start).cut_after(10),
        }
    })
    .await;
    let stream = anonymous(&server)
        .blob(&blob(&pattern(LENGTH)), 0)
        .await
        .unwrap();
    let error = read(stream).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(server.lines().len(), 4);
}

#[tokio::test]
async fn addresses_of_layers_get_no_credentials_and_private_ones_are_passed_over() {
    let data = pattern(1000);
    let served = data.clone();
    let inside = ScriptedServer::start(|_, _| Reply::status(200)).await;
    let server = ScriptedServer::start(move |_, _| Reply::status(200).body(served.clone())).await;
    let mut layer = blob(&data);
    layer.urls = vec![
        format!("http://{}/layer", inside.address()),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://localhost:1/".to_owned(),
        "ftp://example.com/layer".to_owned(),
        "https://user:password@example.com/layer".to_owned(),
    ];
    let stream = anonymous(&server).blob(&layer, 0).await.unwrap();
    assert_eq!(read(stream).await.unwrap(), data);
    assert!(inside.lines().is_empty());
}

#[tokio::test]
async fn a_resumed_download_names_the_entity_it_began_with() {
    // A weak tag names no bytes.
    for (tag, named) in [("\"abc\"", "\"abc\""), ("W/\"abc\"", "")] {
        let data = pattern(LENGTH);
        let served = data.clone();
        let server = ScriptedServer::start(move |seen, number| {
            let reply = match number {
                0 => Reply::status(200).body(served.clone()).cut_after(100_000),
                _ => partial(&served, start_of(seen)),
            };
            reply.header("etag", tag)
        })
        .await;
        let stream = anonymous(&server).blob(&blob(&data), 0).await.unwrap();
        assert_eq!(read(stream).await.unwrap(), data);
        let seen = server.seen();
        assert_eq!([0, 1].map(|at| seen[at].header("if-range")), ["", named]);
    }
}

/// Starts a server with a thread and a runtime of its own, that sends one body to everybody.
fn server_elsewhere(served: Bytes) -> (ScriptedServer, Runtime) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let reply = move |_: &Seen, _| Reply::status(200).body(served.clone());
    let server = runtime.block_on(ScriptedServer::start(reply));
    (server, runtime)
}

#[test]
fn who_reads_a_blob_takes_it_from_the_connection_without_the_runtimes_help() {
    let data = pattern(1024 * 1024);
    let (server, _elsewhere) = server_elsewhere(data.clone());
    let here = Builder::new_current_thread().enable_all().build().unwrap();
    let mut stream = here
        .block_on(anonymous(&server).blob(&blob(&data), 0))
        .unwrap();
    // The runtime stands still from here on, so that none of its tasks can bring a byte.
    std::thread::sleep(Duration::from_millis(200));
    let _context = here.enter();
    let mut got = 0;
    while let Some(Some(Ok(piece))) = stream.bytes.next().now_or_never() {
        got += piece.len();
    }
    // What the kernel had of it; a task of the runtime would have left one piece of 64 KiB.
    assert!(got > 96 * 1024, "{got} bytes");
    let rest = here.block_on(read(stream)).unwrap();
    assert_eq!(rest, data[got..]);
}

#[tokio::test]
async fn a_blob_can_be_read_on_any_thread_and_leaves_its_connection_for_others() {
    let data = pattern(LENGTH);
    let served = data.clone();
    let server = ScriptedServer::start(move |_, _| Reply::status(200).body(served.clone())).await;
    let client = anonymous(&server);
    let runtime = tokio::runtime::Handle::current();
    for _ in 0..3 {
        let stream = client.blob(&blob(&data), 0).await.unwrap();
        let runtime = runtime.clone();
        let reading = tokio::task::spawn_blocking(move || runtime.block_on(read(stream)));
        assert_eq!(reading.await.unwrap().unwrap(), data);
        // It becomes free a moment after its last byte.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.connections(), 1 + TRIES_OF_HTTPS);
}

#[tokio::test]
async fn a_blob_that_is_not_read_to_its_end_is_closed() {
    let data = pattern(8 * 1024 * 1024);
    let served = data.clone();
    let server = ScriptedServer::start(move |_, _| Reply::status(200).body(served.clone())).await;
    let client = anonymous(&server);
    let mut stream = client.blob(&blob(&data), 0).await.unwrap();
    let first = stream.bytes.next().await.unwrap().unwrap();
    assert!(first.len() < data.len());
    drop(stream);
    let whole = client.blob(&blob(&data), 0).await.unwrap();
    assert_eq!(read(whole).await.unwrap(), data);
    assert_eq!(server.connections(), 2 + TRIES_OF_HTTPS);
}
