//! `sif:`: the layer, the config and the script that are made of SIF files, and what is said about
//! files that are none.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

mod tree;

use std::fs;
use std::path::Path;

use backhand::compression::Compressor;
use dhow_model::{Descriptor, ManifestKind};
use dhow_testkit::sif::{DATA, Object, SifFile};
use dhow_transport::{ByteRange, Error, Kind, Source, Transport as _};
use dhow_transports::sif::Sif;
use futures_util::TryStreamExt as _;
use serde_json::Value;

use self::tree::{file_system, files, noise};

/// The image of a SIF file.
struct Image {
    config: Value,
    layer: Vec<u8>,
    digest: String,
}

async fn opened(path: &Path) -> Result<std::sync::Arc<dyn Source>, Error> {
    let location = Sif::new(std::env::temp_dir()).parse(&path.display().to_string());
    location.unwrap().source().await
}

async fn blob(source: &dyn Source, blob: &Descriptor) -> Vec<u8> {
    let blob = source.blob(blob, ByteRange::All).await.unwrap();
    let pieces: Vec<_> = blob.body.into_stream().try_collect().await.unwrap();
    pieces.concat()
}

async fn image(bytes: &[u8]) -> Result<Image, Error> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.sif");
    fs::write(&path, bytes).unwrap();
    let source = opened(&path).await?;
    let root = source.root().await.unwrap();
    assert_eq!(root.kind(), ManifestKind::OciManifest);
    let document: Value = serde_json::from_slice(root.bytes()).unwrap();
    let descriptor = |value: &Value| serde_json::from_value::<Descriptor>(value.clone()).unwrap();
    let layers = document["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    let config = blob(&*source, &descriptor(&document["config"])).await;
    let layer = descriptor(&layers[0]);
    assert_eq!(
        layer.media_type.as_str(),
        "application/vnd.oci.image.layer.v1.tar"
    );
    let bytes = blob(&*source, &layer).await;
    assert!(layer.digest.matches(&bytes));
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], layer.digest.to_string());
    Ok(Image {
        config,
        layer: bytes,
        digest: root.digest().to_string(),
    })
}

async fn why(bytes: &[u8]) -> String {
    let error = image(bytes).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    let cause = std::error::Error::source(&error).unwrap();
    cause.to_string()
}

/// Returns the entries of a layer, a line for each.
fn listed(layer: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(layer);
    let entries = archive.entries().unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let header = entry.header();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let link = entry.link_name_bytes().unwrap_or_default();
            let kind = header.entry_type();
            let has_device = kind.is_character_special() || kind.is_block_special();
            let device = has_device.then(|| {
                let (major, minor) = (header.device_major(), header.device_minor());
                (major.unwrap().unwrap(), minor.unwrap().unwrap())
            });
            format!(
                "{} {path} {:o} {}:{} {} {} {} {device:?}",
                char::from(header.entry_type().as_byte()),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap(),
                header.size().unwrap(),
                String::from_utf8_lossy(&link),
            )
        })
        .collect()
}

fn content(layer: &[u8], name: &str) -> Vec<u8> {
    use std::io::Read as _;
    let mut archive = tar::Archive::new(layer);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path_bytes() == name.as_bytes() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            return bytes;
        }
    }
    panic!("the layer has no {name}");
}

#[tokio::test]
async fn the_layer_has_the_tree_with_owners_modes_times_links_and_devices() {
    let bytes = SifFile::of(file_system(Compressor::Gzip)).bytes();
    let image = image(&bytes).await.unwrap();
    let long = "n".repeat(200);
    let expected = [
        "5 ./ 755 0:0 0 0  None".to_owned(),
        "5 bin/ 755 0:0 1500000000 0  None".to_owned(),
        "0 bin/big 4755 0:0 1500000000 3000001  None".to_owned(),
        "0 bin/empty 644 0:0 1500000000 0  None".to_owned(),
        "0 bin/zeros 644 0:0 1500000000 400000  None".to_owned(),
        "5 dev/ 755 0:0 1500000000 0  None".to_owned(),
        "4 dev/disk 600 0:6 1500000000 0  Some((8, 17))".to_owned(),
        "6 dev/fifo 600 0:0 1500000000 0  None".to_owned(),
        "3 dev/null 666 0:0 1500000000 0  Some((1, 3))".to_owned(),
        "5 etc/ 700 3000000:7 1600000000 0  None".to_owned(),
        "0 etc/hello 644 5:6 1600000000 3  None".to_owned(),
        format!("5 etc/{long}/ 755 0:0 1500000000 0  None"),
        format!("0 etc/{long}/file 644 0:0 1500000000 6  None"),
        "2 etc/sym 777 0:0 1500000000 0 ../a//./b None".to_owned(),
    ];
    let found = listed(&image.layer);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
    assert_eq!(content(&image.layer, "etc/hello"), b"hi\n");
    assert_eq!(content(&image.layer, "bin/big"), noise(3_000_001));
    assert_eq!(content(&image.layer, "bin/zeros"), vec![0; 400_000]);
}

#[tokio::test]
async fn every_compression_gives_the_same_layer() {
    let mut layers = Vec::new();
    for compressor in [
        Compressor::Gzip,
        Compressor::Xz,
        Compressor::Zstd,
        Compressor::Lz4,
    ] {
        let bytes = SifFile::of(file_system(compressor)).bytes();
        let first = image(&bytes).await.unwrap();
        assert_eq!(first.digest, image(&bytes).await.unwrap().digest);
        layers.push(first.digest);
    }
    layers.dedup();
    assert_eq!(layers.len(), 1);
}

#[tokio::test]
async fn the_config_tells_what_the_header_says() {
    for (code, architecture) in [
        (b"01", "386"),
        (b"02", "amd64"),
        (b"04", "arm64"),
        (b"11", "s390x"),
        (b"12", "riscv64"),
        (b"00", "unknown"),
        (b"xx", "unknown"),
    ] {
        let mut sif = SifFile::of(file_system(Compressor::Gzip));
        sif.architecture = *code;
        let config = image(&sif.bytes()).await.unwrap().config;
        assert_eq!(config["architecture"], architecture);
        assert_eq!(config["os"], "linux");
        assert_eq!(config["created"], "2017-07-14T02:40:01Z");
        assert_eq!(config["config"]["Cmd"], serde_json::json!(["bash"]));
        let history = &config["history"];
        let comment = "imported from SIF, uuid: 12345678-1234-5678-1234-567812345678";
        assert_eq!(history[0]["comment"], comment);
        assert_eq!(history[1]["created_by"], "/bin/sh -c #(nop) CMD [\"bash\"]");
    }
}

#[tokio::test]
async fn the_definition_becomes_a_script_that_is_the_command() {
    let mut sif = SifFile::of(file_system(Compressor::Gzip));
    let definition = b"%environment\nexport A=b\n%runscript\n  echo hi\n".to_vec();
    sif.objects.insert(0, Object::definition(definition));
    let image = image(&sif.bytes()).await.unwrap();
    let command = serde_json::json!(["/podman/runscript"]);
    assert_eq!(image.config["config"]["Cmd"], command);
    let script = content(&image.layer, "podman/runscript");
    assert_eq!(script, b"#!/bin/bash\nexport A=b\necho hi\n");
    let found = listed(&image.layer);
    let at = found
        .iter()
        .position(|line| line.contains(" podman/ "))
        .unwrap();
    assert_eq!(found[at], "5 podman/ 755 0:0 1500000001 0  None");
    assert_eq!(
        found[at + 1],
        "0 podman/runscript 755 0:0 1500000001 31  None"
    );
    assert_eq!(found.len(), at + 2);
}

#[tokio::test]
async fn the_script_takes_the_place_of_what_is_there() {
    let script = Object::definition(b"%runscript\nnew\n".to_vec());
    for (there, kept) in [
        (&["podman/other", "podman/runscript", "z"][..], 5),
        (&["podman", "z"], 3),
    ] {
        let mut sif = SifFile::of(files(there));
        sif.objects.push(script.clone());
        let image = image(&sif.bytes()).await.unwrap();
        let found = listed(&image.layer);
        let named = |name: &str| found.iter().filter(|line| line.contains(name)).count();
        assert_eq!(named(" podman/ "), 1, "{found:?}");
        assert_eq!(named(" podman/runscript "), 1, "{found:?}");
        assert_eq!(
            found.len(),
            kept + usize::from(there.len() == 2),
            "{found:?}"
        );
        assert_eq!(
            content(&image.layer, "podman/runscript"),
            b"#!/bin/bash\n\nnew\n"
        );
    }
}

#[tokio::test]
async fn the_primary_partition_is_the_one_that_counts() {
    let mut sif = SifFile::of(files(&["wrong"]));
    sif.objects[0].use_as = 1;
    let first = image(&sif.bytes()).await.unwrap();
    assert!(listed(&first.layer)[1].contains("wrong"));
    sif.objects.push(Object::partition(files(&["right"])));
    let second = image(&sif.bytes()).await.unwrap();
    assert!(listed(&second.layer)[1].contains("right"));
}

#[tokio::test]
async fn what_is_no_sif_file_is_told() {
    let whole = SifFile::of(files(&["a"])).bytes();
    let changed = |at: usize, bytes: &[u8]| {
        let mut whole = whole.clone();
        whole[at..at + bytes.len()].copy_from_slice(bytes);
        whole
    };
    let squashfs = DATA;
    let rows: [(Vec<u8>, &str); 15] = [
        (b"short".to_vec(), "too small"),
        (vec![0; 4096], "no SIF header"),
        (files(&["a"]), "squashfs without a SIF header"),
        (changed(42, b"02"), "version `02`"),
        (changed(88, &[255; 8]), "objects, more than"),
        (changed(96, &[255; 8]), "descriptors are not in the file"),
        (
            changed(4096 + 17, &[255; 8]),
            "object 1 of the SIF file is not in the file",
        ),
        (whole[..whole.len() - 100].to_vec(), "may have been cut off"),
        (changed(4096, &[1, 0x40]), "no root file system"),
        (changed(4096 + 201, &[5]), "encrypted"),
        (changed(4096 + 201, &[2]), "ext3"),
        (changed(squashfs, b"x"), "is no squashfs"),
        (changed(squashfs + 12, &[1]), "no size of a block"),
        (changed(squashfs + 20, &[3]), "compressed with lzo"),
        (changed(squashfs + 28, &[3]), "version 3.0"),
    ];
    for (bytes, part) in rows {
        let why = why(&bytes).await;
        assert!(why.contains(part), "{part}: {why}");
    }
}

/// See fixtures/README.md.
const TABLES: &[u8] = include_bytes!("../fixtures/tables.squashfs");

#[tokio::test]
async fn a_file_with_two_names_is_there_once_and_large_numbers_of_devices_are_understood() {
    let bytes = SifFile::of(TABLES.to_vec()).bytes();
    let image = image(&bytes).await.unwrap();
    let expected = [
        "5 ./ 755 0:0 1500000000 0  None",
        "5 d/ 755 0:0 1500000000 0  None",
        "0 d/hard 644 0:0 1500000000 3  None",
        "1 d/hello 644 0:0 1500000000 0 d/hard None",
        "2 d/sym 777 0:0 1500000000 0 ../x None",
        "5 dev/ 755 0:0 1500000000 0  None",
        "3 dev/null 644 0:0 1500000000 0  Some((1, 3))",
        "4 dev/sdq10 644 0:0 1500000000 0  Some((65, 170))",
        "5 podman/ 755 0:0 1500000000 0  None",
        "0 podman/runscript 644 0:0 1500000000 0  None",
        "0 x 644 0:0 1500000000 4112  None",
    ];
    assert_eq!(listed(&image.layer), expected);
    assert_eq!(content(&image.layer, "d/hard"), b"hi\n");
    let end = [&[0; 4096], &b"end of the file\n"[..]].concat();
    assert_eq!(content(&image.layer, "x"), end);
}

/// Whatever a byte is, there is an image or an error about the file: no panic, and no endless work.
#[tokio::test]
async fn no_byte_of_the_file_system_makes_it_panic() {
    let whole = SifFile::of(TABLES.to_vec()).bytes();
    let (mut images, mut errors) = (0, 0);
    for at in DATA..whole.len() {
        for change in [1, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            match image(&bytes).await {
                Ok(_) => images += 1,
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Invalid, "{at}: {error:?}");
                    errors += 1;
                }
            }
        }
    }
    assert!(
        images > 100 && errors > 100,
        "{images} images, {errors} errors"
    );
}

#[tokio::test]
async fn nothing_is_written_listed_or_deleted() {
    let location = Sif::new(std::env::temp_dir()).parse("a.sif").unwrap();
    let error = location.sink().await.map(drop).unwrap_err();
    let words = "\"sif:\" locations can only be read from, not written to";
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::Unsupported, words)
    );
    let catalog = location.catalog().unwrap();
    let tags: Result<Vec<String>, _> = catalog.tags().try_collect().await;
    assert_eq!(tags.unwrap_err().kind(), Kind::Unsupported);
    let missing = opened(Path::new("/nowhere/a.sif")).await.map(drop);
    let missing = missing.unwrap_err();
    assert_eq!(missing.kind(), Kind::Io);
    assert!(missing.hint_text().unwrap().contains("a SIF file"));
}
