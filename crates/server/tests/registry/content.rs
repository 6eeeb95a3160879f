//! Blobs and manifests: pulled, pushed, refused, deleted.

use dhow_model::{Algorithm, Digest};
use dhow_server::StoreConfig;
use serde_json::json;

use crate::world::{MANIFEST, World, code, digest_of, header, index, manifest, on_both};

#[tokio::test]
async fn an_image_is_pulled_as_it_was_pushed() {
    on_both(async |world| {
        let image = world.image("a/b", b"layer").await;
        let answer = world.put_manifest("a/b", "v1", &image).await;
        assert_eq!(answer.status(), 201);
        let digest = digest_of(&image);
        assert_eq!(header(&answer, "docker-content-digest"), digest.to_string());
        assert_eq!(
            header(&answer, "location"),
            format!("/v2/a/b/manifests/{digest}")
        );
        for name in ["v1".to_owned(), digest.to_string()] {
            let path = format!("/v2/a/b/manifests/{name}");
            let head = world.send("HEAD", &path).await;
            assert_eq!(
                header(&head, "content-length"),
                image.to_string().len().to_string()
            );
            let answer = world.send("GET", &path).await;
            assert_eq!(header(&answer, "content-type"), MANIFEST);
            assert_eq!(header(&answer, "docker-content-digest"), digest.to_string());
            assert_eq!(answer.text().await.unwrap(), image.to_string());
        }
        let blob = format!("/v2/a/b/blobs/{}", Digest::sha256(b"layer"));
        let head = world.send("HEAD", &blob).await;
        assert_eq!(
            (
                head.status().as_u16(),
                header(&head, "content-length").as_str()
            ),
            (200, "5")
        );
        assert_eq!(
            world.send("GET", &blob).await.text().await.unwrap(),
            "layer"
        );
        assert_eq!(
            world
                .status("GET", &format!("/v2/a/manifests/{digest}"))
                .await,
            404
        );
        let base = world.send("GET", "/v2/").await;
        assert_eq!(
            header(&base, "docker-distribution-api-version"),
            "registry/2.0"
        );
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn parts_of_a_blob_are_pulled() {
    on_both(async |world| {
        let digest = world.push_blob("a", b"0123456789").await;
        let path = format!("/v2/a/blobs/{digest}");
        for (range, status, content_range, body) in [
            ("bytes=2-4", 206, "bytes 2-4/10", "234"),
            ("bytes=7-", 206, "bytes 7-9/10", "789"),
            ("bytes=-1", 206, "bytes 9-9/10", "9"),
            ("bytes=10-", 416, "bytes */10", ""),
            ("bytes=1-2,4-5", 200, "", "0123456789"),
        ] {
            let request = world.request("GET", &path).header("range", range);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), status, "{range}");
            assert_eq!(header(&answer, "content-range"), content_range);
            if status != 416 {
                assert_eq!(answer.text().await.unwrap(), body);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn wrong_manifests_are_refused() {
    on_both(async |world| {
        let good = world.image("a", b"layer").await;
        let other = Digest::sha256(b"other").to_string();
        let mut short = good.clone();
        short["layers"][0]["size"] = json!(4);
        let mut both = good.clone();
        both["manifests"] = json!([]);
        let mut foreign = manifest(b"elsewhere");
        foreign["layers"][0]["urls"] = json!(["https://example.com/layer"]);
        for (name, document, status, error) in [
            ("v1", manifest(b"missing"), 400, "MANIFEST_BLOB_UNKNOWN"),
            ("v1", short, 400, "MANIFEST_INVALID"),
            ("v1", both, 400, "MANIFEST_INVALID"),
            (other.as_str(), good.clone(), 400, "DIGEST_INVALID"),
            ("sha256:short", good.clone(), 400, "DIGEST_INVALID"),
            ("..", good.clone(), 404, ""), // The client takes it out of the path.
            (".x", good.clone(), 400, "TAG_INVALID"),
            ("v1", foreign, 201, ""),
        ] {
            let answer = world.put_manifest("a", name, &document).await;
            assert_eq!(answer.status(), status, "{name} {document}");
            if !error.is_empty() {
                assert_eq!(code(answer).await, error);
            }
        }
        let large = vec![b' '; 4 * 1024 * 1024 + 1];
        let request = world.request("PUT", "/v2/a/manifests/v2").body(large);
        assert_eq!(request.send().await.unwrap().status(), 413);
        let claimed = world.request("PUT", "/v2/a/manifests/v2");
        let claimed = claimed.header("content-type", crate::world::INDEX);
        let answer = claimed.body(good.to_string()).send().await.unwrap();
        assert_eq!(code(answer).await, "MANIFEST_INVALID");
        assert_eq!(world.status("GET", "/v2/a/manifests/v2").await, 404);
    })
    .await;
}

#[tokio::test]
async fn manifests_of_an_index_are_pulled_through_it() {
    on_both(async |world| {
        let first = world.image("a", b"first").await;
        let second = world.image("a", b"second").await;
        let path = |document| format!("/v2/a/manifests/{}", digest_of(document));
        for image in [&first, &second] {
            let name = digest_of(image).to_string();
            let answer = world.put_manifest("a", &name, image).await;
            assert_eq!(answer.status(), 201);
            assert_eq!(world.status("GET", &path(image)).await, 200);
        }
        let both = index(&[&first, &second]);
        let answer = world.put_manifest("a", "all", &both).await;
        assert_eq!(answer.status(), 201);
        for document in [&first, &second, &both] {
            assert_eq!(world.status("GET", &path(document)).await, 200);
        }
        assert_eq!(world.status("DELETE", &path(&first)).await, 405);
        assert_eq!(world.json("/v2/a/tags/list").await["tags"], json!(["all"]));
    })
    .await;
}

#[tokio::test]
async fn sparse_indexes_are_taken_unless_they_are_not_wanted() {
    let sparse = index(&[&manifest(b"absent")]);
    let world = World::start(StoreConfig::Memory).await;
    assert_eq!(world.put_manifest("a", "v1", &sparse).await.status(), 201);
    let path = format!("/v2/a/manifests/{}", digest_of(&manifest(b"absent")));
    assert_eq!(world.status("GET", &path).await, 404);
    let world = World::with(StoreConfig::Memory, |config| config.allow_sparse = false).await;
    let answer = world.put_manifest("a", "v1", &sparse).await;
    assert_eq!(code(answer).await, "MANIFEST_BLOB_UNKNOWN");
}

#[tokio::test]
async fn tags_manifests_and_blobs_are_deleted() {
    on_both(async |world| {
        let digest = world.push_image("a", "v1", b"layer").await;
        world.push_image("a", "v2", b"layer").await;
        world.push_image("b", "v1", b"layer").await;
        let blob = format!("/v2/a/blobs/{}", Digest::sha256(b"layer"));
        for (method, path, status) in [
            ("DELETE", "/v2/a/manifests/none", 404),
            ("DELETE", "/v2/a/manifests/v1", 202),
            ("GET", "/v2/a/manifests/v1", 404),
            ("GET", "/v2/a/manifests/v2", 200),
            ("DELETE", &format!("/v2/a/manifests/{digest}"), 202),
            ("DELETE", &format!("/v2/a/manifests/{digest}"), 404),
            ("GET", "/v2/a/manifests/v2", 404),
            ("GET", "/v2/b/manifests/v1", 200),
            ("DELETE", &blob, 405),
            ("DELETE", &format!("/v2/b/manifests/{digest}"), 202),
            ("DELETE", &blob, 202),
            ("DELETE", &blob, 404),
            ("GET", &blob, 404),
        ] {
            assert_eq!(world.status(method, path).await, status, "{method} {path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_moved_tag_leaves_its_manifest_by_digest() {
    on_both(async |world| {
        let old = world.push_image("a", "v1", b"old").await;
        let new = world.push_image("a", "v1", b"new").await;
        assert_ne!(old, new);
        for digest in [old, new] {
            let path = format!("/v2/a/manifests/{digest}");
            assert_eq!(world.status("GET", &path).await, 200);
        }
        let head = world.send("HEAD", "/v2/a/manifests/v1").await;
        assert_eq!(header(&head, "docker-content-digest"), new.to_string());
    })
    .await;
}

#[tokio::test]
async fn sha512_content_is_stored() {
    on_both(async |world| {
        let digest = Digest::of(Algorithm::Sha512, b"long");
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        let answer = world
            .request("POST", &path)
            .body("long")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 201);
        let path = format!("/v2/a/blobs/{digest}");
        assert_eq!(world.send("GET", &path).await.text().await.unwrap(), "long");
    })
    .await;
}

#[tokio::test]
async fn a_full_memory_store_says_so() {
    let world = World::start(StoreConfig::MemoryLimited(10)).await;
    let put = async |data: &'static [u8]| {
        let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(data));
        world
            .request("POST", &path)
            .body(data)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(put(b"12345678901").await, 507);
    assert_eq!(put(b"1234567890").await, 201);
    assert_eq!(put(b"1234567890").await, 507);
    let path = format!("/v2/a/blobs/{}", Digest::sha256(b"1234567890"));
    assert_eq!(world.status("DELETE", &path).await, 202);
    assert_eq!(put(b"0987654321").await, 201);
}
