//! Answers and lists without an end (CVE-2020-1702).

use dhow_client::{Error, ErrorKind, ManifestRef, RepositoryClient};
use dhow_model::{Descriptor, Digest, MediaType, Tag};
use dhow_testkit::evil::Flood;
use dhow_testkit::scripted::{Reply, ScriptedServer};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::{always, client, endpoint};

const MIB: u64 = 1024 * 1024;
/// What the buffers of two sockets and of two HTTP implementations can hold, generously.
const BUFFERS: u64 = 16 * MIB;

async fn manifest(client: &RepositoryClient) -> Result<(), Error> {
    let latest = ManifestRef::Tag(Tag::latest());
    client.manifest(&latest).await.map(drop)
}

async fn referrers(client: &RepositoryClient) -> Result<usize, Error> {
    let found = client.referrers(&Digest::sha256(b"x"), None).await;
    found.map(|all| all.len())
}

#[tokio::test]
async fn an_endless_manifest_ends_at_its_bound() {
    let flood = Flood::of(b' ');
    let server = always(Reply::status(200).flood(&flood)).await;
    let error = manifest(&client(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(flood.sent() <= 4 * MIB + BUFFERS, "{}", flood.sent());
}

#[tokio::test]
async fn a_manifest_that_announces_more_than_memory_is_not_read() {
    let flood = Flood::of(b' ');
    let huge = Reply::status(200).header("content-length", (1_u64 << 62).to_string());
    let server = always(huge.flood(&flood)).await;
    let error = manifest(&client(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(flood.sent() <= BUFFERS, "{}", flood.sent());
}

#[tokio::test]
async fn an_endless_list_of_tags_ends_at_its_bound() {
    let flood = Flood::of(b' ');
    let server = always(Reply::status(200).body(r#"{"tags":["#).flood(&flood)).await;
    let tags: Result<Vec<_>, _> = client(&server).tags().try_collect().await;
    assert_eq!(tags.unwrap_err().kind(), ErrorKind::Protocol);
    assert!(flood.sent() <= 4 * MIB + BUFFERS, "{}", flood.sent());
}

#[tokio::test]
async fn an_endless_catalog_ends_at_its_bound() {
    let flood = Flood::of(b' ');
    let server = always(
        Reply::status(200)
            .body(r#"{"repositories":["#)
            .flood(&flood),
    )
    .await;
    let endpoint = endpoint();
    let all: Result<Vec<_>, _> = endpoint.catalog(&server.address()).try_collect().await;
    assert_eq!(all.unwrap_err().kind(), ErrorKind::Protocol);
    assert!(flood.sent() <= 4 * MIB + BUFFERS, "{}", flood.sent());
}

#[tokio::test]
async fn an_endless_list_of_referrers_ends_at_its_bound() {
    let flood = Flood::of(b' ');
    let server = always(Reply::status(200).body(r#"{"manifests":["#).flood(&flood)).await;
    let error = referrers(&client(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(flood.sent() <= 4 * MIB + BUFFERS, "{}", flood.sent());
}

#[tokio::test]
async fn an_endless_error_ends_at_its_bound() {
    let flood = Flood::of(b'x');
    let server = always(Reply::status(403).flood(&flood)).await;
    let error = manifest(&client(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(flood.sent() <= MIB + BUFFERS, "{}", flood.sent());
}

#[tokio::test]
async fn an_endless_token_ends_at_its_bound() {
    let flood = Flood::of(b'x');
    let endless = flood.clone();
    let server = ScriptedServer::start(move |seen, _| {
        if seen.path == "/token" {
            return Reply::status(200).body(r#"{"token":""#).flood(&endless);
        }
        let realm = format!("Bearer realm=\"http://{}/token\"", seen.header("host"));
        Reply::status(401).header("www-authenticate", realm)
    })
    .await;
    manifest(&client(&server)).await.unwrap_err();
    assert!(flood.sent() <= MIB + BUFFERS, "{}", flood.sent());
    let sent = server.seen();
    assert!(
        sent.iter()
            .all(|seen| seen.header("authorization").is_empty())
    );
}

#[tokio::test]
async fn an_endless_config_ends_at_the_size_of_its_descriptor() {
    let flood = Flood::of(b'x');
    let server = always(Reply::status(200).flood(&flood)).await;
    let config = Descriptor::of(MediaType::OCI_CONFIG, b"{}");
    let mut got = 0;
    let outcome = match client(&server).blob(&config, 0).await {
        Err(error) => Err(error),
        Ok(mut stream) => loop {
            match stream.bytes.next().await {
                Some(Ok(piece)) => got += piece.len(),
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            }
        },
    };
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::SizeMismatch);
    assert!(got <= 2, "{got}");
    assert!(flood.sent() <= BUFFERS, "{}", flood.sent());
}

/// The circle of tags is in `tests/wire/lists.rs`.
#[tokio::test]
async fn referrers_that_go_in_circles_end() {
    let link = format!(
        "</v2/a/b/referrers/{}?p=1>; rel=\"next\"",
        Digest::sha256(b"x")
    );
    let reply = Reply::status(200).header("link", link);
    let server = always(reply.body(r#"{"manifests":[]}"#)).await;
    let error = referrers(&client(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn referrers_on_ever_new_pages_end() {
    let one = serde_json::to_string(&Descriptor::of(MediaType::OCI_MANIFEST, b"x")).unwrap();
    let page = format!(r#"{{"manifests":[{}]}}"#, vec![one; 6000].join(","));
    let server = ScriptedServer::start(move |seen, number| {
        let link = format!("<{}?p={number}>; rel=\"next\"", seen.path);
        Reply::status(200).header("link", link).body(page.clone())
    })
    .await;
    let error = referrers(&client(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(server.lines().len(), 4);
}
