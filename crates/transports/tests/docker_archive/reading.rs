//! The archives of others, and what is told about them.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use bytes::Bytes;
use dhow_model::{Admitted, Digest, ImageManifest};
use dhow_testkit::conformance::content;
use dhow_testkit::image::{ImageSpec, SampleImage, gzip};
use dhow_transport::{ByteRange, Kind};
use serde_json::{Value, json};

use crate::samples::{assert_holds, at, sample, tags, view, write};

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
