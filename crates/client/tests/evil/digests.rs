//! Digests that are none, and bytes that do not have theirs.

use dhow_client::{ErrorKind, ManifestRef};
use dhow_model::{
    Admitted, Descriptor, Digest, ImageManifest, Index, ManifestError, MediaType, Tag,
};
use dhow_testkit::evil::NO_DIGESTS;
use dhow_testkit::scripted::Reply;
use futures_util::TryStreamExt as _;

use crate::{always, client};

const EMPTY: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

fn latest() -> ManifestRef {
    ManifestRef::Tag(Tag::latest())
}

/// CVE-2024-3727: configs, layers and members.
#[tokio::test]
async fn a_manifest_with_a_digest_that_is_none_gives_no_descriptor_to_ask_for() {
    let good = Digest::sha256(b"");
    for bad in NO_DIGESTS {
        let one = |digest: &str| format!(r#"{{"mediaType":"x/y","digest":"{digest}","size":2}}"#);
        let (good, bad_one) = (one(&good.to_string()), one(bad));
        let image = |config: &str, layer: &str| {
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#)
        };
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{bad_one}]}}"#);
        for body in [image(&bad_one, &good), image(&good, &bad_one), index] {
            let server = always(Reply::status(200).body(body.clone())).await;
            let fetched = client(&server).manifest(&latest()).await;
            if let Ok(raw) = fetched {
                let refused: Result<(), ManifestError> = if raw.kind().is_index() {
                    Index::parse(&raw).map(drop)
                } else {
                    ImageManifest::parse(&Admitted::by_policy(raw)).map(drop)
                };
                assert!(refused.is_err(), "{body}");
            }
            assert_eq!(server.lines(), ["GET /v2/a/b/manifests/latest"], "{body}");
        }
    }
}

/// CVE-2024-3727: `Docker-Content-Digest` and referrers.
#[tokio::test]
async fn a_digest_that_is_none_is_not_believed_from_headers_and_referrers() {
    for bad in NO_DIGESTS {
        let header = Reply::status(200).header("docker-content-digest", bad);
        let server = always(header.body(EMPTY)).await;
        let client_of = client(&server);
        let head = client_of.head_manifest(&latest()).await.unwrap().unwrap();
        assert_eq!(head.digest, None, "{bad}");
        let manifest = client_of.manifest(&latest()).await.unwrap();
        assert_eq!(manifest.digest(), Digest::sha256(EMPTY.as_bytes()));
        let body = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x/y","digest":"{bad}","size":2}}]}}"#
        );
        let server = always(Reply::status(200).body(body)).await;
        let subject = Digest::sha256(b"subject");
        let found = client(&server).referrers(&subject, None).await.unwrap();
        assert_eq!(found, [], "{bad}");
        assert_eq!(server.lines().len(), 1);
    }
}

/// CVE-2024-3727: a token that would become more than a token.
#[tokio::test]
async fn a_token_with_a_line_break_is_not_sent() {
    let server = dhow_testkit::scripted::ScriptedServer::start(|seen, _| {
        if seen.path == "/token" {
            return Reply::status(200).body(r#"{"token":"x\r\nX-Evil: 1"}"#);
        }
        let realm = format!("Bearer realm=\"http://{}/token\"", seen.header("host"));
        Reply::status(401).header("www-authenticate", realm)
    })
    .await;
    client(&server).manifest(&latest()).await.unwrap_err();
    for seen in server.seen() {
        assert_eq!(seen.header("authorization"), "", "{}", seen.line());
        assert_eq!(seen.header("x-evil"), "");
    }
}

/// CVE-2025-24882 and rust-oci-client#149.
#[tokio::test]
async fn the_same_bytes_for_every_digest_are_taken_for_their_own_only() {
    let own = Digest::sha256(EMPTY.as_bytes());
    for asked in [own, Digest::sha256(b"1"), Digest::sha256(b"2")] {
        let claim = Reply::status(200).header("docker-content-digest", asked.to_string());
        let server = always(claim.body(EMPTY)).await;
        let fetched = client(&server).manifest(&ManifestRef::Digest(asked)).await;
        match fetched {
            Ok(manifest) => assert_eq!((manifest.digest(), asked), (own, own)),
            Err(error) => {
                assert_ne!(asked, own);
                assert_eq!(error.kind(), ErrorKind::DigestMismatch);
            }
        }
        assert_eq!(server.lines(), [format!("GET /v2/a/b/manifests/{asked}")]);
    }
}

/// ci#2687, and GHSA-f36w-mj3v-6jqv: sizes that no memory holds. The digest of a blob is for the
/// reader of the stream to check.
#[tokio::test]
async fn a_blob_of_another_size_than_its_descriptor_is_refused() {
    for size in [9, 11, 1 << 62, u64::MAX] {
        for chunked in [false, true] {
            let reply = Reply::status(200).body("0123456789");
            let server = always(if chunked { reply.chunked() } else { reply }).await;
            let mut blob = Descriptor::of(MediaType::OCI_CONFIG, b"0123456789");
            blob.size = size;
            let read = match client(&server).blob(&blob, 0).await {
                Ok(stream) => stream.bytes.try_collect::<Vec<_>>().await,
                Err(error) => Err(error),
            };
            assert!(read.is_err(), "{size} {chunked}");
        }
    }
}
