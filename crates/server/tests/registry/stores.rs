//! Names live in a file in one store and in memory in the other, in quite different ways.

use dhow_server::StoreConfig;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{MANIFEST, World, digest_of, index};

/// How many changes are made.
const CHANGES: u64 = 250;

#[tokio::test]
async fn both_stores_answer_alike_whatever_is_pushed_and_deleted() {
    let place = TempDir::new().unwrap();
    let worlds = [
        World::start(StoreConfig::Memory).await,
        World::on(place.path()).await,
    ];
    let mut manifests = Vec::new();
    for content in [b"one", b"two", b"six"] {
        for world in &worlds {
            world.image("a", content).await;
        }
        manifests.push(crate::world::manifest(content));
    }
    let subject = digest_of(&manifests[0]).to_string();
    let mut referrer = manifests[1].clone();
    referrer["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 1});
    let pair = index(&[&manifests[0], &manifests[1]]);
    let nested = index(&[&manifests[2], &pair]);
    manifests.extend([index(&[&referrer, &manifests[0]]), pair, nested, referrer]);
    let mut random = 1_u64;
    let mut below = |bound: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(random >> 33).unwrap() % bound
    };
    for change in 0..CHANGES {
        let repository = ["a", "b/c"][below(2)];
        let manifest = &manifests[below(manifests.len())];
        let tag = format!("t{}", below(3));
        let digest = digest_of(manifest).to_string();
        let (method, name) = match below(8) {
            0..3 => ("PUT", tag),
            3..5 => ("PUT", digest),
            5 => ("DELETE", digest),
            _ => ("DELETE", tag),
        };
        let mut seen = Vec::new();
        for world in &worlds {
            let answer = if method == "PUT" {
                world.put_manifest(repository, &name, manifest).await
            } else {
                let path = format!("/v2/{repository}/manifests/{name}");
                world.send(method, &path).await
            };
            let status = answer.status().as_u16();
            seen.push((status, state(world, &manifests, &subject).await));
        }
        assert_eq!(seen[0], seen[1], "{change}: {method} {repository} {name}");
    }
}

/// Returns all that can be asked for.
async fn state(world: &World, manifests: &[Value], subject: &str) -> Vec<String> {
    let mut state = vec![world.json("/v2/_catalog").await.to_string()];
    for repository in ["a", "b/c"] {
        for path in [
            format!("/v2/{repository}/tags/list"),
            format!("/v2/{repository}/referrers/{subject}"),
        ] {
            state.push(world.json(&path).await.to_string());
        }
        for manifest in manifests {
            let path = format!("/v2/{repository}/manifests/{}", digest_of(manifest));
            state.push(format!("{path} {}", world.status("HEAD", &path).await));
        }
    }
    state
}
