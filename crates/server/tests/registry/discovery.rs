//! Lists of tags, repositories and referrers.

use dhow_model::Digest;
use serde_json::{Value, json};

use crate::world::{INDEX, digest_of, header, on_both};

#[tokio::test]
async fn lists_come_in_pages() {
    on_both(async |world| {
        for (repository, tag) in [
            ("b", "1"),
            ("a/c", "2"),
            ("b", "10"),
            ("b", "9"),
            ("b", "B"),
        ] {
            world.push_image(repository, tag, b"layer").await;
        }
        for (path, key, expected, link) in [
            ("/v2/b/tags/list", "tags", json!(["1", "10", "9", "B"]), ""),
            (
                "/v2/b/tags/list?n=2",
                "tags",
                json!(["1", "10"]),
                "/v2/b/tags/list?n=2&last=10",
            ),
            ("/v2/b/tags/list?n=2&last=10", "tags", json!(["9", "B"]), ""),
            ("/v2/b/tags/list?last=2", "tags", json!(["9", "B"]), ""),
            ("/v2/b/tags/list?n=0", "tags", json!([]), ""),
            (
                "/v2/b/tags/list?n=99999",
                "tags",
                json!(["1", "10", "9", "B"]),
                "",
            ),
            ("/v2/_catalog", "repositories", json!(["a/c", "b"]), ""),
            (
                "/v2/_catalog?n=1",
                "repositories",
                json!(["a/c"]),
                "/v2/_catalog?n=1&last=a/c",
            ),
            (
                "/v2/_catalog?n=1&last=a/c",
                "repositories",
                json!(["b"]),
                "",
            ),
        ] {
            let answer = world.send("GET", path).await;
            let expected_link = if link.is_empty() {
                String::new()
            } else {
                format!("<{link}>; rel=\"next\"")
            };
            assert_eq!(header(&answer, "link"), expected_link, "{path}");
            assert_eq!(world.json(path).await[key], expected, "{path}");
        }
        assert_eq!(world.status("GET", "/v2/none/tags/list").await, 404);
        assert_eq!(world.status("GET", "/v2/b/tags/list?n=x").await, 400);
        assert_eq!(world.status("GET", "/v2/b/tags/list?n=-1").await, 400);
    })
    .await;
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    on_both(async |world| {
        let subject = world.push_image("a", "v1", b"layer").await;
        let refer = async |kind: Option<&str>, note: &str, name: Option<&str>| {
            let mut artifact = world.image("a", b"signature").await;
            artifact["annotations"] = json!({"note": note});
            artifact["subject"] =
                json!({"mediaType": crate::world::MANIFEST, "digest": subject, "size": 1});
            if let Some(kind) = kind {
                artifact["artifactType"] = json!(kind);
            }
            let digest = digest_of(&artifact).to_string();
            let answer = world
                .put_manifest("a", name.unwrap_or(&digest), &artifact)
                .await;
            assert_eq!(answer.status(), 201);
            assert_eq!(header(&answer, "oci-subject"), subject.to_string());
            digest
        };
        let first = refer(Some("application/x-signature"), "one", None).await;
        refer(None, "two", Some("sbom")).await;
        let path = format!("/v2/a/referrers/{subject}");
        let all = world.json(&path).await;
        assert_eq!(all["manifests"].as_array().unwrap().len(), 2);
        let answer = world
            .send(
                "GET",
                &format!("{path}?artifactType=application/x-signature"),
            )
            .await;
        assert_eq!(header(&answer, "oci-filters-applied"), "artifactType");
        assert_eq!(header(&answer, "content-type"), INDEX);
        let filtered: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let entries = filtered["manifests"].as_array().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0]["digest"], json!(first));
        assert_eq!(entries[0]["artifactType"], json!("application/x-signature"));
        assert_eq!(entries[0]["annotations"], json!({"note": "one"}));
        let config = "application/vnd.oci.image.config.v1%2Bjson";
        let by_config = world.json(&format!("{path}?artifactType={config}")).await;
        assert_eq!(
            by_config["manifests"][0]["annotations"]["note"],
            json!("two")
        );
        let none = Digest::sha256(b"nobody");
        for empty in [
            format!("/v2/a/referrers/{none}"),
            format!("/v2/z/referrers/{none}"),
        ] {
            assert_eq!(world.json(&empty).await["manifests"], json!([]));
        }
        assert_eq!(world.status("GET", "/v2/a/referrers/x").await, 400);
        assert_eq!(
            world
                .status("DELETE", &format!("/v2/a/manifests/{first}"))
                .await,
            202
        );
        assert_eq!(
            world.json(&path).await["manifests"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    })
    .await;
}
