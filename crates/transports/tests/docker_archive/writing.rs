//! What is written has skopeo's form, keeps what was there, and is whole or not there.

use std::fs;

use dhow_model::Reference;
use dhow_testkit::conformance::{pieces, store, want};
use dhow_testkit::image::ImageSpec;
use dhow_transport::{Blob, Kind, Slot};
use serde_json::{Value, json};

use crate::samples::{assert_holds, at, coming, finish, members, sample, tags, view, write};

#[tokio::test]
async fn an_archive_has_skopeos_members_in_skopeos_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let image = sample(1, 2);
    let tags = ["example.com/other:2", "short"];
    let tags = tags.map(|tag| {
        Reference::parse(tag)
            .unwrap()
            .with_default_tag()
            .to_string()
    });
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let sink = at(&path, ":name:1", &tags).sink().await.unwrap();
    // As the engine does it: told beforehand, and put in any order.
    let layers = &view(&image).layers;
    sink.prepare(&coming(layers)).await.unwrap();
    for index in [1, 0] {
        let mut wanted = want(&layers[index]);
        wanted.slot = Slot::Layer { index };
        // Neither digest nor size of what is decompressed on the way is known.
        (wanted.digest, wanted.size) = (None, None);
        let mut blob = pieces(image.blob(&layers[index].digest).unwrap());
        blob.size = None;
        let placed = sink.put_blob(&wanted, blob).await.unwrap();
        assert_eq!(placed.digest, layers[index].digest);
    }
    finish(&*sink, &image).await;
    let config = &image.blobs[0].0;

    let members = members(&path);
    let names: Vec<&str> = members.iter().map(|member| member.0.as_str()).collect();
    let layer = |index: usize| format!("{}.tar", layers[index].digest.hex());
    let folder_of = |index: usize| names[3 + 3 * index].split('/').next().unwrap().to_owned();
    let (base, top) = (folder_of(0), folder_of(1));
    assert_eq!(
        names,
        [
            layer(0),
            layer(1),
            format!("{}.json", config.digest.hex()),
            format!("{base}/layer.tar"),
            format!("{base}/VERSION"),
            format!("{base}/json"),
            format!("{top}/layer.tar"),
            format!("{top}/VERSION"),
            format!("{top}/json"),
            "manifest.json".to_owned(),
            "repositories".to_owned(),
        ]
    );
    for (name, mode, owner, time, kind, content) in &members {
        let link = name.ends_with("/layer.tar");
        assert_eq!(*mode, if link { 0o777 } else { 0o444 }, "{name}");
        assert_eq!((*owner, *time), (0, 0), "{name}");
        assert_eq!(*kind, if link { b'2' } else { b'0' }, "{name}");
        if *name == format!("{top}/layer.tar") {
            assert_eq!(*content, format!("../{}", layer(1)).into_bytes());
        }
    }
    let text = |at: usize| serde_json::from_slice::<Value>(&members[at].5).unwrap();
    assert_eq!(members[4].5, b"1.0");
    assert_eq!(text(5), json!({ "id": base }));
    assert_eq!(text(8)["parent"], json!(base));
    assert_eq!(text(8)["architecture"], "amd64");
    let all = [
        "docker.io/library/name:1",
        "example.com/other:2",
        "docker.io/library/short:latest",
    ];
    assert_eq!(
        text(9),
        json!([{
            "Config": format!("{}.json", config.digest.hex()),
            "RepoTags": all,
            "Layers": [layer(0), layer(1)],
        }])
    );
    assert_eq!(text(10)["docker.io/library/name"]["1"], json!(top));
    // Each name leads to it.
    for name in [":name:1", ":example.com/other:2", ":short", ":@0", ""] {
        assert_holds(&path, name, &image).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_added_replaced_and_shared_layers_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let (one, two, three) = (sample(11, 3), sample(12, 1), sample(13, 2));
    write(&path, ":one:1", &one).await;
    write(&path, ":two:1", &two).await;
    assert_holds(&path, ":one:1", &one).await;
    assert_holds(&path, ":two:1", &two).await;
    // A layer that is there need not be put.
    let sink = at(&path, ":again:1", &[]).sink().await.unwrap();
    for (blob, _) in &one.blobs {
        assert!(sink.reuse(&want(blob)).await.unwrap().is_some());
    }
    sink.commit(&one.root).await.unwrap();
    let layers = members(&path);
    let files = |name: &str| {
        layers
            .iter()
            .filter(|member| member.0.ends_with(name))
            .count()
    };
    assert_eq!(files(".tar"), 4 + 4, "four layers, and a link to each");
    // One name more for the same image is no second image.
    let names = tags(&path).await;
    let full = |name: &str| format!("docker.io/library/{name}:1");
    assert_eq!(names, [full("one"), full("again"), full("two")]);
    // A name that moves takes the image with it that has no other.
    write(&path, ":two:1", &three).await;
    assert_holds(&path, ":two:1", &three).await;
    assert_holds(&path, ":one:1", &one).await;
    let gone = view(&two).layers[0].digest.hex();
    assert!(
        members(&path)
            .iter()
            .all(|member| !member.0.starts_with(&gone))
    );
    // Without a name it is one more.
    write(&path, "", &two).await;
    assert_holds(&path, ":@2", &two).await;
    let error = at(&path, "", &[]).source().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.hint_text().unwrap().contains("@2"), "{error:?}");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[tokio::test]
async fn what_breaks_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    write(&path, ":one:1", &sample(21, 2)).await;
    let before = fs::read(&path).unwrap();
    let image = sample(22, 2);
    // A wrong layer, a missing one, a config of another image.
    let sink = at(&path, ":two:1", &[]).sink().await.unwrap();
    let (layer, bytes) = &image.blobs[1];
    let mut wrong = bytes.to_vec();
    wrong[7] ^= 1;
    let refused = sink
        .put_blob(&want(layer), Blob::from_bytes(wrong.into()))
        .await;
    assert_eq!(refused.unwrap_err().kind(), Kind::DigestMismatch);
    assert_eq!(
        sink.commit(&image.root).await.unwrap_err().kind(),
        Kind::NotFound
    );
    drop(sink);
    for (other, why) in [
        (sample(23, 1), "has 2 layers, and its config lists 1"),
        (sample(24, 2), "layer 1 of the image is"),
    ] {
        let sink = at(&path, ":two:1", &[]).sink().await.unwrap();
        for (blob, bytes) in image.blobs.iter().chain(&other.blobs) {
            sink.put_blob(&want(blob), Blob::from_bytes(bytes.clone()))
                .await
                .unwrap();
        }
        let text = String::from_utf8(image.root.bytes().to_vec()).unwrap();
        let (of, to) = (&view(&image).config, &view(&other).config);
        let text = text.replace(&of.digest.to_string(), &to.digest.to_string());
        let root = dhow_model::RawManifest::new(text.into(), None).unwrap();
        let refused = sink.commit(&root).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid);
        assert!(refused.to_string().contains(why), "{refused}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // What is no archive is not added to, and not lost.
    let note = folder.path().join("note.txt");
    fs::write(&note, "important").unwrap();
    let sink = at(&note, ":two:1", &[]).sink().await.unwrap();
    assert_eq!(
        store(&*sink, &image).await.unwrap_err().kind(),
        Kind::Exists
    );
    assert_eq!(fs::read(&note).unwrap(), b"important");
    // An empty file is one that somebody has reserved.
    let reserved = folder.path().join("reserved.tar");
    fs::write(&reserved, "").unwrap();
    write(&reserved, ":two:1", &image).await;
    assert_holds(&reserved, ":two:1", &image).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_layers_come_at_once_and_stand_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let image = ImageSpec::docker2(31)
        .layers(40)
        .layer_size(30_000)
        .uncompressed()
        .build();
    let layers = view(&image).layers;
    let sink = at(&path, ":many:1", &[]).sink().await.unwrap();
    sink.prepare(&coming(&layers)).await.unwrap();
    let puts = layers.iter().enumerate().rev().map(|(index, layer)| {
        let (sink, bytes) = (&sink, image.blob(&layer.digest).unwrap());
        let mut wanted = want(layer);
        wanted.slot = Slot::Layer { index };
        async move { sink.put_blob(&wanted, pieces(bytes)).await }
    });
    for placed in futures_util::future::join_all(puts).await {
        placed.unwrap();
    }
    finish(&*sink, &image).await;
    let names: Vec<String> = members(&path).into_iter().map(|member| member.0).collect();
    let wanted: Vec<String> = layers
        .iter()
        .map(|layer| format!("{}.tar", layer.digest.hex()))
        .collect();
    assert_eq!(names[..40], wanted);
    assert_holds(&path, ":many:1", &image).await;
}
