//! The directory: what others wrote is served, what is pushed can be read by others.

use std::fs;
use std::path::{Path, PathBuf};

use dhow_layout::Layout;
use dhow_model::{Annotations, Descriptor, Digest, MediaType};
use dhow_server::{Config, Error, Server, StoreConfig};
use serde_json::json;
use tempfile::TempDir;

use crate::world::{World, digest_of, index, manifest};

/// Adds an image to a layout as `dhow copy` does it.
fn add(layout: &Layout, name: Option<&str>, content: &[u8]) -> Digest {
    layout.put_blob(&Digest::sha256(b"{}"), b"{}").unwrap();
    layout.put_blob(&Digest::sha256(content), content).unwrap();
    let bytes = manifest(content).to_string().into_bytes();
    let digest = Digest::sha256(&bytes);
    layout.put_blob(&digest, &bytes).unwrap();
    let entry = Descriptor::new(MediaType::OCI_MANIFEST, digest, bytes.len() as u64);
    layout
        .update_index(|index| {
            index.insert(&entry, name);
            Ok(())
        })
        .unwrap();
    digest
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn what_is_in_a_layout_is_served_also_when_it_comes_later() {
    let place = TempDir::new().unwrap();
    let layout = Layout::new(place.path().join("target"));
    add(&layout, Some("centos:7"), b"one");
    add(&layout, Some("rhel7/extra:v1"), b"two");
    add(&layout, Some("7"), b"three");
    add(&layout, Some("quay.io/a/b:c"), b"four");
    let unnamed = add(&layout, None, b"five");
    let world = World::on(place.path()).await;
    for path in [
        "centos/manifests/7",
        "rhel7/extra/manifests/v1",
        "target/manifests/7",
        "quay.io/a/b/manifests/c",
        &format!("target/manifests/{unnamed}"),
    ] {
        assert_eq!(
            world.status("GET", &format!("/v2/{path}")).await,
            200,
            "{path}"
        );
    }
    add(&layout, Some("centos:8"), b"six");
    let tags = world.json("/v2/centos/tags/list").await;
    assert_eq!(tags["tags"], json!(["7", "8"]));
    // The entry keeps the name that it has.
    world.push_image("target", "7", b"seven").await;
    assert!(
        layout
            .read_index()
            .unwrap()
            .names()
            .contains(&"7".to_owned())
    );
}

#[tokio::test]
async fn a_damaged_manifest_is_not_served() {
    let place = TempDir::new().unwrap();
    let world = World::on(place.path()).await;
    let digest = world.push_image("a", "v1", b"layer").await;
    let path = Layout::new(place.path().join("target")).blob_path(&digest);
    let bytes = fs::read_to_string(&path).unwrap();
    fs::write(&path, bytes.replace("tar", "rat")).unwrap();
    assert_eq!(world.status("GET", "/v2/a/manifests/v1").await, 404);
    assert_eq!(
        world
            .status("GET", &format!("/v2/a/manifests/{digest}"))
            .await,
        404
    );
}

#[tokio::test]
async fn what_was_pushed_is_there_after_a_restart() {
    let place = TempDir::new().unwrap();
    let world = World::on(place.path()).await;
    let subject = world.push_image("my-images/rhel7", "7.5", b"layer").await;
    let mut artifact = world.image("my-images/rhel7", b"signature").await;
    artifact["subject"] =
        json!({"mediaType": crate::world::MANIFEST, "digest": subject, "size": 1});
    let signature = digest_of(&artifact).to_string();
    world
        .put_manifest("my-images/rhel7", &signature, &artifact)
        .await;
    // The same by digest in another repository: both are listed.
    world
        .push_image("other", &subject.to_string(), b"layer")
        .await;
    world.stop().await;

    let index = Layout::new(place.path().join("target"))
        .read_index()
        .unwrap();
    assert_eq!(index.names(), ["my-images/rhel7:7.5"]);
    let entries = index.entries();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        entries[1].annotations.value("dev.dhow.repository"),
        Some("my-images/rhel7")
    );
    let world = World::on(place.path()).await;
    for path in [
        "my-images/rhel7/manifests/7.5".to_owned(),
        format!("my-images/rhel7/manifests/{subject}"),
        format!("my-images/rhel7/manifests/{signature}"),
        format!("other/manifests/{subject}"),
    ] {
        assert_eq!(
            world.status("GET", &format!("/v2/{path}")).await,
            200,
            "{path}"
        );
    }
    let path = format!("/v2/my-images/rhel7/referrers/{subject}");
    assert_eq!(
        world.json(&path).await["manifests"][0]["digest"],
        json!(signature)
    );
    // Deleted in one repository, it stays in the other.
    let path = format!("/v2/my-images/rhel7/manifests/{subject}");
    assert_eq!(world.status("DELETE", &path).await, 202);
    assert_eq!(world.status("GET", &path).await, 404);
    assert_eq!(
        world
            .status("GET", &format!("/v2/other/manifests/{subject}"))
            .await,
        200
    );
}

#[tokio::test]
async fn a_pushed_index_is_one_entry() {
    let place = TempDir::new().unwrap();
    let world = World::on(place.path()).await;
    let image = world.image("a", b"layer").await;
    let digest = digest_of(&image).to_string();
    world.put_manifest("a", &digest, &image).await;
    world.put_manifest("a", "v1", &index(&[&image])).await;
    world.put_manifest("a", &digest, &image).await;
    let index = Layout::new(place.path().join("target"))
        .read_index()
        .unwrap();
    assert_eq!(index.entries().len(), 1);
    assert_eq!(
        index.entries()[0].digest,
        digest_of(&crate::world::index(&[&image]))
    );
    assert_eq!(
        index.entries()[0].annotations.value(Annotations::REF_NAME),
        Some("a:v1")
    );
}

#[tokio::test]
async fn only_layouts_are_served_and_only_blobs_are_left() {
    let place = TempDir::new().unwrap();
    let world = World::on(place.path()).await;
    let upload = world.send("POST", "/v2/a/blobs/uploads/").await;
    let upload = crate::world::header(&upload, "location");
    world
        .request("PATCH", &upload)
        .body("partial")
        .send()
        .await
        .unwrap();
    world.push_image("a", "v1", b"layer").await;
    world.stop().await;
    // Marker, index, config, layer, manifest.
    assert_eq!(files(&place.path().join("target")).len(), 5);

    let listen = "127.0.0.1:0".parse().unwrap();
    let strange = TempDir::new().unwrap();
    fs::write(strange.path().join("diary.txt"), "x").unwrap();
    let config = Config::new(listen, StoreConfig::Directory(strange.path().to_owned()));
    assert!(matches!(
        Server::bind(config).await,
        Err(Error::NotALayout(_))
    ));
    fs::write(strange.path().join("index.json"), "x").unwrap();
    let config = Config::new(listen, StoreConfig::Directory(strange.path().to_owned()));
    assert!(matches!(Server::bind(config).await, Err(Error::Store(_))));
}

#[tokio::test]
async fn an_index_over_a_manifest_of_another_repository_leaves_that_as_it_was() {
    let place = TempDir::new().unwrap();
    let world = World::on(place.path()).await;
    world.push_image("a", "v1", b"layer").await;
    let image = manifest(b"layer");
    let digest = digest_of(&image).to_string();
    let layout = Layout::new(place.path().join("target"));
    let before = layout.read_index().unwrap().entries();
    world.put_manifest("b", &digest, &image).await;
    assert_eq!(
        world
            .status("GET", &format!("/v2/b/manifests/{digest}"))
            .await,
        200
    );
    world.put_manifest("b", "all", &index(&[&image])).await;
    assert_eq!(
        world
            .status("GET", &format!("/v2/b/manifests/{digest}"))
            .await,
        200
    );
    let after = layout.read_index().unwrap();
    assert_eq!(after.entries()[..1], before);
    assert_eq!(after.names(), ["a:v1", "b:all"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_and_other_writers_at_once_all_end_in_the_index() {
    let place = TempDir::new().unwrap();
    let world = World::on(place.path()).await;
    let image = world.image("a", b"layer").await;
    let layout = Layout::new(place.path().join("target"));
    let other = layout.clone();
    let writer = std::thread::spawn(move || {
        for number in 0..20 {
            add(&other, Some(&format!("other:{number}")), b"other");
        }
    });
    let tags: Vec<String> = (0..20).map(|number| format!("v{number}")).collect();
    let pushes = tags.iter().map(|tag| world.put_manifest("a", tag, &image));
    for answer in futures_util::future::join_all(pushes).await {
        assert_eq!(answer.status(), 201);
    }
    writer.join().unwrap();
    for repository in ["a", "other"] {
        let list = world.json(&format!("/v2/{repository}/tags/list")).await;
        assert_eq!(list["tags"].as_array().unwrap().len(), 20);
    }
}

#[tokio::test]
async fn blobs_without_a_manifest_are_there_after_a_restart() {
    let place = TempDir::new().unwrap();
    let world = World::on(place.path()).await;
    let digest = world.push_blob("a", b"layer").await;
    world.stop().await;
    let world = World::on(place.path()).await;
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(world.status("HEAD", &path).await, 200);
}

#[tokio::test]
async fn a_truncated_blob_is_asked_for_again() {
    let place = TempDir::new().unwrap();
    let world = World::on(place.path()).await;
    let image = world.image("a", b"layer").await;
    let layer = Digest::sha256(b"layer");
    let file = Layout::new(place.path().join("target")).blob_path(&layer);
    fs::write(file, "lay").unwrap();
    let answer = world.put_manifest("a", "v1", &image).await;
    assert_eq!(crate::world::code(answer).await, "MANIFEST_BLOB_UNKNOWN");
    let path = format!("/v2/a/blobs/{layer}");
    assert_eq!(world.status("HEAD", &path).await, 404);
    world.push_image("a", "v1", b"layer").await;
    assert_eq!(
        world.send("GET", &path).await.text().await.unwrap(),
        "layer"
    );
}
