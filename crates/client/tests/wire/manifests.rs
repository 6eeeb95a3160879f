//! Manifests: what is believed, and what is not.

use dhow_client::{ErrorKind, ManifestRef};
use dhow_model::{Digest, ManifestKind, Tag};
use dhow_testkit::scripted::{Reply, ScriptedServer};

use crate::*;

fn tag() -> ManifestRef {
    ManifestRef::Tag(Tag::parse("v9").unwrap())
}

async fn kind_of(reply: Reply, reference: ManifestRef) -> Result<ManifestKind, ErrorKind> {
    let server = ScriptedServer::start(move |_, _| reply.clone()).await;
    let fetched = anonymous(&server).manifest(&reference).await;
    fetched
        .map(|manifest| manifest.kind())
        .map_err(|error| error.kind())
}

#[tokio::test]
async fn what_a_registry_sends_is_checked() {
    let manifest = manifest();
    let digest = manifest.digest();
    let other = Digest::sha256(b"other");
    let plain = || Reply::status(200).body(manifest.bytes().clone());
    let typed = |value: &str| plain().header("content-type", value);
    let by_digest = ManifestRef::Digest;
    let announced = |digest: Digest| plain().header("docker-content-digest", digest.to_string());
    let oci = ManifestKind::OciManifest;
    let both = r#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}"#;
    for (name, reply, reference, expected) in [
        (
            "typed",
            typed(manifest.media_type().as_str()),
            tag(),
            Ok(oci),
        ),
        ("no type", plain(), tag(), Ok(oci)),
        ("text", typed("text/plain; charset=utf-8"), tag(), Ok(oci)),
        ("json", typed("application/json"), tag(), Ok(oci)),
        (
            "an index as it claims",
            typed("application/vnd.oci.image.index.v1+json"),
            tag(),
            Err(ErrorKind::Protocol),
        ),
        ("right header", announced(digest), tag(), Ok(oci)),
        (
            "wrong header",
            announced(other),
            tag(),
            Err(ErrorKind::DigestMismatch),
        ),
        ("right digest", plain(), by_digest(digest), Ok(oci)),
        (
            "other bytes",
            plain(),
            by_digest(other),
            Err(ErrorKind::DigestMismatch),
        ),
        (
            "other bytes with the header that was asked for",
            announced(other),
            by_digest(other),
            Err(ErrorKind::DigestMismatch),
        ),
        (
            "image and index",
            Reply::status(200).body(both),
            tag(),
            Err(ErrorKind::Protocol),
        ),
        (
            "a page",
            Reply::status(200).body("<html>"),
            tag(),
            Err(ErrorKind::Protocol),
        ),
        (
            "too large, announced",
            Reply::status(200).body(vec![b' '; 4 * 1024 * 1024 + 1]),
            tag(),
            Err(ErrorKind::Protocol),
        ),
        (
            "too large, not announced",
            Reply::status(200)
                .body(vec![b' '; 5 * 1024 * 1024])
                .chunked(),
            tag(),
            Err(ErrorKind::Protocol),
        ),
        (
            "encoded",
            plain().header("content-encoding", "gzip"),
            tag(),
            Err(ErrorKind::Protocol),
        ),
    ] {
        assert_eq!(kind_of(reply, reference).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_missing_tag_names_its_neighbours() {
    let server = ScriptedServer::start(|seen, _| match seen.path.as_str() {
        "/v2/a/b/tags/list" => Reply::status(200).body(r#"{"tags":["v8","v7","nightly"]}"#),
        _ => Reply::status(404).body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
    })
    .await;
    let client = anonymous(&server);
    let error = client.manifest(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("`v8`") && !hint.contains("nightly"), "{hint}");
    // Whether there is one at all costs nothing more.
    assert_eq!(client.head_manifest(&tag()).await.unwrap(), None);
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn refused_formats_are_told_apart() {
    for (status, code, expected) in [
        (201, "", None),
        (200, "", None),
        (400, "MANIFEST_INVALID", Some(ErrorKind::ManifestRejected)),
        (400, "TAG_INVALID", Some(ErrorKind::ManifestRejected)),
        (405, "UNSUPPORTED", Some(ErrorKind::ManifestRejected)),
        (415, "", Some(ErrorKind::ManifestRejected)),
        (400, "MANIFEST_BLOB_UNKNOWN", Some(ErrorKind::Rejected)),
        (403, "DENIED", Some(ErrorKind::Denied)),
    ] {
        let server = ScriptedServer::start(move |_, _| {
            Reply::status(status).body(format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#))
        })
        .await;
        let stored = anonymous(&server).put_manifest(&tag(), &manifest()).await;
        assert_eq!(
            stored.err().map(|error| error.kind()),
            expected,
            "{status} {code}"
        );
        let seen = &server.seen()[0];
        assert_eq!(
            seen.header("content-type"),
            manifest().media_type().as_str()
        );
        assert_eq!(seen.body, manifest().bytes()[..]);
    }
}

#[tokio::test]
async fn a_subject_that_the_registry_lists_is_told() {
    let subject = Digest::sha256(b"subject");
    let server = ScriptedServer::start(move |_, _| {
        Reply::status(201).header("oci-subject", subject.to_string())
    })
    .await;
    let stored = anonymous(&server)
        .put_manifest(&tag(), &manifest())
        .await
        .unwrap();
    assert_eq!(stored.subject, Some(subject));
}
