//! Docker archives: those of others are read, and those written here have skopeo's form, keep what
//! was there, and are whole or not there.

#![expect(clippy::unwrap_used, reason = "a test that is wrong about this fails")]

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dhow_model::{Admitted, Digest, ImageManifest, Reference};
use dhow_testkit::conformance::{content, pieces, store, want};
use dhow_testkit::image::{ImageSpec, SampleImage, gzip};
use dhow_transport::{Blob, ByteRange, Coming, Kind, Location, Slot, Transport as _};
use dhow_transports::docker_archive::DockerArchive;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

fn at(path: &Path, rest: &str, tags: &[&str]) -> Arc<dyn Location> {
    let tags = tags.iter().map(|tag| Reference::parse(tag).unwrap());
    let transport = DockerArchive::new(std::env::temp_dir(), tags.collect());
    let name = format!("{}{rest}", path.display());
    transport.parse(&name).unwrap()
}

fn sample(seed: u64, layers: usize) -> SampleImage {
    ImageSpec::docker2(seed)
        .layers(layers)
        .uncompressed()
        .build()
}

async fn write(path: &Path, rest: &str, image: &SampleImage) {
    let sink = at(path, rest, &[]).sink().await.unwrap();
    store(&*sink, image).await.unwrap();
}

fn view(image: &SampleImage) -> ImageManifest {
    ImageManifest::parse(&Admitted::by_policy(image.root.clone())).unwrap()
}

/// Asserts that a name in the archive stands for this image, byte for byte.
async fn assert_holds(path: &Path, rest: &str, image: &SampleImage) {
    let source = at(path, rest, &[]).source().await.unwrap();
    let root = source.root().await.unwrap();
    let made = ImageManifest::parse(&Admitted::by_policy(root)).unwrap();
    let held = source.held_layers(&made).await.unwrap().unwrap();
    assert_eq!(held, view(image).layers);
    assert_eq!(made.config.digest, view(image).config.digest);
    for (blob, bytes) in &image.blobs {
        assert_eq!(
            content(&*source, blob, ByteRange::All).await.unwrap(),
            *bytes
        );
    }
}

async fn tags(path: &Path) -> Vec<String> {
    let location = at(path, "", &[]);
    let tags = location.catalog().unwrap().tags();
    tags.try_collect().await.unwrap()
}

/// The members of a tar file: name, mode, owner, time, type, content or target.
fn members(path: &Path) -> Vec<(String, u32, u64, u64, u8, Vec<u8>)> {
    let mut archive = tar::Archive::new(File::open(path).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if let Some(target) = entry.link_name_bytes() {
            content = target.into_owned();
        }
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        (
            name,
            header.mode().unwrap(),
            header.uid().unwrap() + header.gid().unwrap(),
            header.mtime().unwrap(),
            header.entry_type().as_byte(),
            content,
        )
    });
    entries.collect()
}

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
    let coming = Coming {
        layers: layers
            .iter()
            .map(|layer| layer.digest)
            .enumerate()
            .collect(),
        config: None,
        ..Coming::default()
    };
    sink.prepare(&coming).await.unwrap();
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
    let (config, bytes) = &image.blobs[0];
    sink.put_blob(&want(config), Blob::from_bytes(bytes.clone()))
        .await
        .unwrap();
    sink.commit(&image.root).await.unwrap();

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
    let other = sample(23, 1);
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
    assert_eq!(sink.commit(&root).await.unwrap_err().kind(), Kind::Invalid);
    drop(sink);
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
    let coming = Coming {
        layers: layers
            .iter()
            .map(|layer| layer.digest)
            .enumerate()
            .collect(),
        config: None,
        ..Coming::default()
    };
    sink.prepare(&coming).await.unwrap();
    let puts = layers.iter().enumerate().rev().map(|(index, layer)| {
        let (sink, bytes) = (&sink, image.blob(&layer.digest).unwrap());
        let mut wanted = want(layer);
        wanted.slot = Slot::Layer { index };
        async move { sink.put_blob(&wanted, pieces(bytes)).await }
    });
    for placed in futures_util::future::join_all(puts).await {
        placed.unwrap();
    }
    let (config, bytes) = &image.blobs[0];
    sink.put_blob(&want(config), Blob::from_bytes(bytes.clone()))
        .await
        .unwrap();
    sink.commit(&image.root).await.unwrap();
    let names: Vec<String> = members(&path).into_iter().map(|member| member.0).collect();
    let wanted: Vec<String> = layers
        .iter()
        .map(|layer| format!("{}.tar", layer.digest.hex()))
        .collect();
    assert_eq!(names[..40], wanted);
    assert_holds(&path, ":many:1", &image).await;
}

/// Writes a tar file by hand: names with content, or `-> target` for links.
fn by_hand(path: &Path, files: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some(target) = bytes.strip_prefix(b"-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, name, std::str::from_utf8(target).unwrap())
                .unwrap();
        } else if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            tar.append_data(&mut header, name, io::empty()).unwrap();
        } else {
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
    }
    tar.finish().unwrap();
}

/// The files of an archive: names and contents.
type Files<'a> = Vec<(&'a str, &'a [u8])>;

/// Writes the image as different programs write archives; returns their names.
fn by_makers(folder: &Path, image: &SampleImage) -> Vec<&'static str> {
    let manifest = view(image);
    let config = image.blob(&manifest.config.digest).unwrap();
    let layer = |index: usize| image.blob(&manifest.layers[index].digest).unwrap();
    let packed = [
        gzip(layer(0)),
        zstd::encode_all(layer(1).as_ref(), 3).unwrap(),
    ];
    let listed = |config: &str, layers: [&str; 2], tags: Value| {
        let item = json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]);
        item.to_string().into_bytes()
    };
    // docker save until 24: a folder per layer.
    let old = listed("c.json", ["1/layer.tar", "2/layer.tar"], json!(["app:1"]));
    // docker save since 25: a layout with a list beside it.
    let (a, b) = (
        manifest.layers[0].digest.hex(),
        manifest.layers[1].digest.hex(),
    );
    let (blob_a, blob_b) = (format!("blobs/sha256/{a}"), format!("blobs/sha256/{b}"));
    let blob_c = format!("blobs/sha256/{}", manifest.config.digest.hex());
    let new = listed(&blob_c, [&blob_a, &blob_b], json!(["app:1"]));
    // kaniko and bazel: compressed layers, named by their own digests.
    let kaniko = listed("sha256:c", ["a.tar.gz", "b.tar.zst"], json!(["app:1"]));
    let untagged = listed("c.json", ["a.tar", "b.tar"], Value::Null);
    let makers: [(&'static str, Files<'_>); 6] = [
        (
            "old",
            vec![
                ("1/", b""),
                ("1/VERSION", b"1.0"),
                ("1/layer.tar", layer(0)),
                ("2/", b""),
                ("2/layer.tar", layer(1)),
                ("c.json", config),
                ("manifest.json", &old),
                ("repositories", b"{}"),
            ],
        ),
        (
            "shared",
            vec![
                ("manifest.json", &old),
                ("2/layer.tar", b"-> ../deep/layer.tar"),
                ("1/layer.tar", b"-> ../2/first.tar"),
                ("2/first.tar", layer(0)),
                ("deep/layer.tar", layer(1)),
                ("c.json", config),
            ],
        ),
        (
            "new",
            vec![
                ("blobs/", b""),
                ("blobs/sha256/", b""),
                (&blob_a, layer(0)),
                (&blob_b, layer(1)),
                (&blob_c, config),
                ("index.json", b"{}"),
                ("manifest.json", &new),
                ("oci-layout", b"{}"),
                ("repositories", b"{}"),
            ],
        ),
        (
            "kaniko",
            vec![
                ("sha256:c", config),
                ("a.tar.gz", &packed[0]),
                ("b.tar.zst", &packed[1]),
                ("manifest.json", &kaniko),
            ],
        ),
        (
            "untagged",
            vec![
                ("a.tar", layer(0)),
                ("b.tar", layer(1)),
                ("c.json", config),
                ("manifest.json", &untagged),
            ],
        ),
        (
            "dotted",
            vec![
                ("./a.tar", layer(0)),
                ("./b.tar", layer(1)),
                ("./c.json", config),
                ("./manifest.json", &untagged),
            ],
        ),
    ];
    let written = makers.map(|(name, files)| {
        by_hand(&folder.join(format!("{name}.tar")), &files);
        name
    });
    written.to_vec()
}

#[tokio::test]
async fn archives_of_every_maker_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let image = sample(41, 2);
    for name in by_makers(folder.path(), &image) {
        let path = folder.path().join(format!("{name}.tar"));
        assert_holds(&path, "", &image).await;
        // And whole archives that are compressed.
        let bytes = fs::read(&path).unwrap();
        for (compressed, by) in [
            (gzip(&bytes), "gz"),
            (zstd::encode_all(bytes.as_slice(), 3).unwrap(), "zst"),
        ] {
            let packed = folder.path().join(format!("{name}.tar.{by}"));
            fs::write(&packed, compressed).unwrap();
            assert_holds(&packed, ":@0", &image).await;
        }
        if name != "untagged" && name != "dotted" {
            assert_holds(&path, ":docker.io/library/app:1", &image).await;
        }
        // What was read can be added to.
        let more = sample(42, 1);
        write(&path, ":more:1", &more).await;
        assert_holds(&path, ":@0", &image).await;
        assert_holds(&path, ":more:1", &more).await;
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 18);
}

#[tokio::test]
async fn a_compressed_layer_is_read_in_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let image = ImageSpec::docker2(43)
        .layers(1)
        .layer_size(300_000)
        .uncompressed()
        .build();
    let manifest = view(&image);
    let (config, layer) = (&image.blobs[0].1, &image.blobs[1].1);
    let listed = json!([{ "Config": "c", "RepoTags": [], "Layers": ["l"] }]).to_string();
    by_hand(
        &path,
        &[
            ("c", config),
            ("l", &gzip(layer)),
            ("manifest.json", listed.as_bytes()),
        ],
    );
    let source = at(&path, "", &[]).source().await.unwrap();
    for offset in [0, 1, 70_000, layer.len() as u64] {
        let part = content(&*source, &manifest.layers[0], ByteRange::From(offset))
            .await
            .unwrap();
        assert_eq!(part, layer.slice(usize::try_from(offset).unwrap()..));
    }
}

#[tokio::test]
async fn names_places_and_lists_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let image = sample(51, 1);
    let (config, layer) = (&image.blobs[0].1, &image.blobs[1].1);
    let item = |tags: Value| json!({ "Config": "c", "RepoTags": tags, "Layers": ["l"] });
    let listed = json!([
        item(json!(["a:1", "UPPER:bad", "quay.io/b:2"])),
        item(Value::Null)
    ]);
    by_hand(
        &path,
        &[
            ("c", config),
            ("l", layer),
            ("manifest.json", listed.to_string().as_bytes()),
        ],
    );
    let tags = tags(&path).await;
    assert_eq!(tags, ["a:1", "UPPER:bad", "quay.io/b:2", "@1"]);
    assert_holds(&path, ":quay.io/b:2", &image).await;
    for (rest, kind) in [
        (":none:1", Kind::NotFound),
        (":@2", Kind::NotFound),
        ("", Kind::Invalid),
    ] {
        let error = at(&path, rest, &[]).source().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{rest}: {error}");
    }
    let error = at(&path, ":@0", &[]).sink().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    let missing = at(&folder.path().join("none.tar"), "", &[])
        .source()
        .await
        .unwrap_err();
    assert_eq!(missing.kind(), Kind::Io);
}

#[tokio::test]
async fn twenty_gibibytes_of_fifty_images_are_not_read_to_see_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.tar");
    let configs = fifty_images(&path);
    assert!(path.metadata().unwrap().len() > 20 << 30);
    let before = reads();
    let source = at(&path, ":test/image:37", &[]).source().await.unwrap();
    let root = source.root().await.unwrap();
    let manifest = ImageManifest::parse(&Admitted::by_policy(root)).unwrap();
    let config = content(&*source, &manifest.config, ByteRange::All)
        .await
        .unwrap();
    let reads = reads() - before;
    assert_eq!(config, configs[37]);
    assert!(reads < 600, "{reads} reads");
    assert_eq!(manifest.layers.len(), 8);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no file is made"
    );
}

/// Returns how often this process has read from a file so far.
fn reads() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("syscr: "));
    line.unwrap().parse().unwrap()
}

/// Writes an archive whose layers are holes, and returns the configs.
fn fifty_images(path: &Path) -> Vec<Bytes> {
    const LAYER: u64 = 52 << 20;
    let mut file = File::create(path).unwrap();
    let member = |file: &mut File, name: &str, size: u64, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_mode(0o444);
        header.set_cksum();
        file.write_all(header.as_bytes()).unwrap();
        file.write_all(content).unwrap();
        let rest = size.next_multiple_of(512) - content.len() as u64;
        file.seek(SeekFrom::Current(i64::try_from(rest).unwrap()))
            .unwrap();
    };
    let (mut items, mut configs) = (Vec::new(), Vec::new());
    for image in 0..50 {
        let mut layers = Vec::new();
        for layer in 0..8 {
            let id = Digest::sha256(format!("{image} {layer}").as_bytes()).hex();
            member(&mut file, &format!("{id}/VERSION"), 3, b"1.0");
            member(&mut file, &format!("{id}/json"), 2, b"{}");
            member(&mut file, &format!("{id}/layer.tar"), LAYER, b"");
            layers.push(format!("{id}/layer.tar"));
        }
        let diff_ids: Vec<String> = (0..8)
            .map(|n| Digest::sha256(&[image, n]).to_string())
            .collect();
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": { "Labels": { "number": image.to_string() } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Bytes::from(config.to_string());
        let name = format!("{}.json", Digest::sha256(&config).hex());
        member(&mut file, &name, config.len() as u64, &config);
        items.push(json!({ "Config": name, "RepoTags": [format!("test/image:{image}")], "Layers": layers }));
        configs.push(config);
    }
    let list = Value::from(items).to_string();
    member(
        &mut file,
        "manifest.json",
        list.len() as u64,
        list.as_bytes(),
    );
    file.write_all(&[0; 1024]).unwrap();
    configs
}
