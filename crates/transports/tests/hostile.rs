//! Archives made to do harm: refused with a reason, and nothing outside them is read or touched.

#![expect(clippy::unwrap_used, reason = "a test that is wrong about this fails")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dhow_model::{Descriptor, Digest, MediaType};
use dhow_testkit::conformance::content;
use dhow_testkit::image::gzip;
use dhow_transport::{ByteRange, Error, Kind, Location, Result, Transport as _};
use dhow_transports::{docker_archive::DockerArchive, oci_archive::OciArchive};
use serde_json::{Value, json};

/// A member by hand: nothing about its name or type is checked.
struct Raw {
    name: Vec<u8>,
    kind: u8,
    target: Vec<u8>,
    content: Vec<u8>,
    /// The size that the header tells; the file has a hole where the content ends before it.
    size: u64,
}

fn file(name: &str, content: impl AsRef<[u8]>) -> Raw {
    let content = content.as_ref().to_vec();
    Raw {
        name: name.as_bytes().to_vec(),
        kind: b'0',
        target: Vec::new(),
        size: content.len() as u64,
        content,
    }
}

fn huge(name: &str, start: &str) -> Raw {
    Raw {
        size: 10 << 30,
        ..file(name, start)
    }
}

fn link(name: &str, kind: u8, target: &str) -> Raw {
    Raw {
        kind,
        target: target.as_bytes().to_vec(),
        ..file(name, "")
    }
}

fn write(path: &Path, members: &[Raw]) {
    let mut file = File::create(path).unwrap();
    for member in members {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..member.name.len()].copy_from_slice(&member.name);
        header.as_mut_bytes()[157..157 + member.target.len()].copy_from_slice(&member.target);
        header.set_entry_type(tar::EntryType::new(member.kind));
        header.set_size(member.size);
        header.set_mode(0o644);
        header.set_cksum();
        file.write_all(header.as_bytes()).unwrap();
        file.write_all(&member.content).unwrap();
        let rest = member.size.next_multiple_of(512) - member.content.len() as u64;
        file.seek(SeekFrom::Current(i64::try_from(rest).unwrap()))
            .unwrap();
    }
    file.write_all(&[0; 1024]).unwrap();
}

/// Everything below a folder: names, sizes and times.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (u64, Option<std::time::SystemTime>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.path().symlink_metadata().unwrap();
        if metadata.is_dir() {
            found.extend(tree(&entry.path()));
        }
        found.insert(entry.path(), (metadata.len(), metadata.modified().ok()));
    }
    found
}

/// Reads everything that a location offers, as a copy would.
async fn read_all(location: Arc<dyn Location>) -> Result<Vec<u8>> {
    let source = location.source().await?;
    let root = source.root().await?;
    let document: Value = serde_json::from_slice(root.bytes()).unwrap();
    let mut all = Vec::new();
    let parts = [
        vec![document["config"].clone()],
        list(&document["layers"]),
        list(&document["manifests"]),
    ];
    for part in parts.concat() {
        let Ok(part) = serde_json::from_value::<Descriptor>(part) else {
            return Err(Error::new(Kind::Invalid, "a descriptor makes no sense"));
        };
        if part.media_type.manifest_kind().is_some() {
            source.manifest(&part.digest).await?;
            continue;
        }
        let bytes = content(&*source, &part, ByteRange::All).await?;
        if !part.digest.matches(&bytes) {
            return Err(Error::new(Kind::DigestMismatch, "the engine finds out"));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

const SECRET: &str = "a secret of the host";

/// Asserts that an archive is refused, in time, and that nothing else is touched.
async fn refused(name: &str, scheme: &str, members: &[Raw]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.tar");
    fs::write(folder.path().join("secret"), SECRET).unwrap();
    write(&path, members);
    let before = tree(folder.path());
    let tmp = folder.path().to_owned();
    let name_of = path.display().to_string();
    let location = match scheme {
        "docker" => DockerArchive::new(tmp, Vec::new()).parse(&name_of).unwrap(),
        _ => OciArchive::new(tmp).parse(&name_of).unwrap(),
    };
    let read = tokio::time::timeout(Duration::from_secs(20), read_all(location)).await;
    let error = read.expect("it ends in time").expect_err(name);
    let kinds = [
        Kind::Invalid,
        Kind::NotFound,
        Kind::DigestMismatch,
        Kind::SizeMismatch,
        Kind::Io,
    ];
    assert!(kinds.contains(&error.kind()), "{name}: {error:?}");
    assert!(!format!("{error:?}").contains(SECRET), "{name}: {error:?}");
    assert_eq!(tree(folder.path()), before, "{name}");
}

fn config(diff_ids: &[&str]) -> String {
    json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids } })
        .to_string()
}

fn manifest(layers: &[&str]) -> String {
    json!([{ "Config": "c.json", "RepoTags": ["a:1"], "Layers": layers }]).to_string()
}

/// An image whose one layer should be the secret, and is not.
fn with(layer: &str, members: Vec<Raw>) -> Vec<Raw> {
    let mut all = vec![
        file("c.json", one()),
        file("manifest.json", manifest(&[layer])),
    ];
    all.extend(members);
    all
}

/// A config that lists the secret as the one layer.
fn one() -> String {
    config(&[&Digest::sha256(SECRET.as_bytes()).to_string()])
}

fn layers_that_mean_harm() -> Vec<(&'static str, Vec<Raw>)> {
    vec![
        ("layer outside", with("../secret", vec![])),
        ("layer absolute", with("/etc/hostname", vec![])),
        (
            "symlink outside",
            with("l", vec![link("l", b'2', "../secret")]),
        ),
        (
            "symlink to a file beside",
            with("l", vec![link("l", b'2', "secret")]),
        ),
        (
            "symlink absolute",
            with("l", vec![link("l", b'2', "/etc/hostname")]),
        ),
        (
            "hard link outside",
            with("l", vec![link("l", b'1', "../secret")]),
        ),
        (
            "hard link to a file beside",
            with("l", vec![link("l", b'1', "secret")]),
        ),
        (
            "links in a ring",
            with("a", vec![link("a", b'2', "b"), link("b", b'2', "a")]),
        ),
        (
            "a chain of links out",
            with(
                "a",
                vec![
                    link("a", b'2', "b/c"),
                    link("b", b'2', ".."),
                    link("b/c", b'2', "../secret"),
                ],
            ),
        ),
        ("a folder as layer", with("l", vec![link("l", b'5', "")])),
        ("a device as layer", with("l", vec![link("l", b'3', "")])),
        ("a pipe as layer", with("l", vec![link("l", b'6', "")])),
        ("another content", with("l", vec![file("l", "not that")])),
        (
            "a name that climbs",
            with("l", vec![file("x/../l", SECRET)]),
        ),
        (
            "type swaps",
            with("l", vec![file("l", SECRET), link("l", b'5', "")]),
        ),
        (
            "root entries",
            with(
                "l",
                vec![
                    link("/", b'2', ".."),
                    link(".", b'2', "/"),
                    link("./", b'5', ""),
                ],
            ),
        ),
    ]
}

fn lists_that_mean_harm() -> Vec<(&'static str, Vec<Raw>)> {
    let secret = Digest::sha256(SECRET.as_bytes()).to_string();
    vec![
        ("no list", vec![file("c.json", one())]),
        ("a huge list", vec![huge("manifest.json", "[")]),
        (
            "a huge config",
            vec![huge("c.json", "{"), file("manifest.json", manifest(&[]))],
        ),
        ("a list that is none", vec![file("manifest.json", "{}")]),
        (
            "a list of nonsense",
            vec![file("manifest.json", r#"[{"Config":7}]"#)],
        ),
        ("a list without images", vec![file("manifest.json", "[]")]),
        (
            "too few layers",
            vec![file("c.json", one()), file("manifest.json", manifest(&[]))],
        ),
        ("no config", vec![file("manifest.json", manifest(&[]))]),
        (
            "a config that is none",
            vec![file("c.json", "[]"), file("manifest.json", manifest(&[]))],
        ),
        (
            "diff ids that are paths",
            vec![
                file("c.json", config(&["sha256:../../secret"])),
                file("l", SECRET),
                file("manifest.json", manifest(&["l"])),
            ],
        ),
        (
            "diff ids in capitals",
            vec![
                file("c.json", config(&[&secret.to_uppercase()])),
                file("l", SECRET),
                file("manifest.json", manifest(&["l"])),
            ],
        ),
        (
            "a layer that is cut",
            with("l", vec![file("l", &gzip(SECRET.as_bytes())[..20])]),
        ),
        ("nothing", vec![]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_archives_that_mean_harm_are_refused() {
    let cases = layers_that_mean_harm();
    for (name, members) in cases.iter().chain(&lists_that_mean_harm()) {
        refused(name, "docker", members).await;
    }
    // The same layer where it should be is taken: the table refuses for its reasons only.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.tar");
    write(&path, &with("l", vec![file("l", SECRET)]));
    let transport = DockerArchive::new(folder.path().to_owned(), Vec::new());
    let location = transport.parse(&path.display().to_string()).unwrap();
    assert!(
        read_all(location)
            .await
            .unwrap()
            .ends_with(SECRET.as_bytes())
    );
}

fn blob(bytes: &str) -> String {
    format!("blobs/sha256/{}", Digest::sha256(bytes.as_bytes()).hex())
}

fn index(entry: &Value) -> String {
    json!({ "schemaVersion": 2, "manifests": [entry] }).to_string()
}

/// A document that could be an image and an index.
fn both() -> String {
    json!({ "schemaVersion": 2, "manifests": [], "config": {}, "layers": [] }).to_string()
}

/// The parts of an OCI archive, but for its one layer, which should be the secret.
struct Parts {
    config: String,
    image: String,
    entry: Descriptor,
    /// The name that the layer has in the archive.
    layer: String,
}

impl Parts {
    fn new() -> Self {
        let config = config(&[]);
        let layer = Digest::sha256(SECRET.as_bytes());
        let image = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST.as_str(),
            "config": Descriptor::of(MediaType::OCI_CONFIG, config.as_bytes()),
            "layers": [Descriptor::new(MediaType::OCI_LAYER, layer, SECRET.len() as u64)],
        })
        .to_string();
        Self {
            entry: Descriptor::of(MediaType::OCI_MANIFEST, image.as_bytes()),
            layer: format!("blobs/sha256/{}", layer.hex()),
            config,
            image,
        }
    }

    fn with(&self, members: Vec<Raw>) -> Vec<Raw> {
        let mut all = vec![
            file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
            file("index.json", index(&json!(self.entry))),
            file(&blob(&self.config), &self.config),
            file(&blob(&self.image), &self.image),
        ];
        all.extend(members);
        all
    }

    /// An archive whose index says something else of the image.
    fn altered(&self, key: &str, value: Value) -> Vec<Raw> {
        let mut entry = json!(self.entry);
        entry[key] = value;
        vec![
            file("index.json", index(&entry)),
            file(&blob(&self.image), &self.image),
        ]
    }
}

fn blobs_that_mean_harm(parts: &Parts) -> Vec<(&'static str, Vec<Raw>)> {
    vec![
        ("no layer", parts.with(vec![])),
        (
            "a layer outside",
            parts.with(vec![link(&parts.layer, b'2', "../../../secret")]),
        ),
        (
            "a layer beside",
            parts.with(vec![link(&parts.layer, b'2', "secret")]),
        ),
        (
            "a layer absolute",
            parts.with(vec![link(&parts.layer, b'2', "/etc/hostname")]),
        ),
        (
            "a layer by hard link",
            parts.with(vec![link(&parts.layer, b'1', "secret")]),
        ),
        (
            "a layer that is a folder",
            parts.with(vec![link(&parts.layer, b'5', "")]),
        ),
        (
            "another layer",
            parts.with(vec![file(&parts.layer, "not that, but as long")]),
        ),
        (
            "another layer of the same size",
            parts.with(vec![file(&parts.layer, "A SECRET OF THE HOST")]),
        ),
    ]
}

fn indexes_that_mean_harm(parts: &Parts) -> Vec<(&'static str, Vec<Raw>)> {
    vec![
        ("a huge index", vec![huge("index.json", "{")]),
        (
            "an index elsewhere",
            vec![link("index.json", b'2', "/etc/hostname")],
        ),
        ("no index", vec![file("oci-layout", "{}")]),
        ("an index that is none", vec![file("index.json", "[]")]),
        (
            "a digest that is a path",
            parts.altered("digest", json!("sha256:../../../secret")),
        ),
        (
            "a digest that is short",
            parts.altered("digest", json!("sha256:00")),
        ),
        (
            "a digest of another kind",
            parts.altered("digest", json!(format!("md5:{}", "0".repeat(32)))),
        ),
        (
            "a digest with a question",
            parts.altered("digest", json!(format!("sha256:{}?x", "0".repeat(62)))),
        ),
        ("another size", parts.altered("size", json!(1))),
        ("a huge size", parts.altered("size", json!(u64::MAX / 2))),
        (
            "another type",
            parts.altered("mediaType", json!(MediaType::OCI_INDEX.as_str())),
        ),
        (
            "image and index at once",
            vec![
                file(
                    "index.json",
                    index(&json!(Descriptor::of(
                        MediaType::OCI_INDEX,
                        both().as_bytes()
                    ))),
                ),
                file(&blob(&both()), both()),
            ],
        ),
        ("a manifest that is huge", {
            let mut entry = json!(parts.entry);
            entry["size"] = json!(10_u64 << 30);
            vec![
                file("index.json", index(&entry)),
                huge(&blob(&parts.image), "{"),
            ]
        }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oci_archives_that_mean_harm_are_refused() {
    let parts = Parts::new();
    let cases = blobs_that_mean_harm(&parts);
    for (name, members) in cases.iter().chain(&indexes_that_mean_harm(&parts)) {
        refused(name, "oci", members).await;
    }
    // Blobs that share a file through a link inside are as good as any: their digest is right.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.tar");
    write(
        &path,
        &parts.with(vec![
            link(&parts.layer, b'2', "../../shared"),
            file("shared", SECRET),
        ]),
    );
    let location = OciArchive::new(folder.path().to_owned()).parse(&path.display().to_string());
    assert!(
        read_all(location.unwrap())
            .await
            .unwrap()
            .ends_with(SECRET.as_bytes())
    );
}

#[tokio::test]
async fn compressed_archives_that_are_cut_or_endless_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let one = config(&[&Digest::sha256(SECRET.as_bytes()).to_string()]);
    write(
        &path,
        &[
            file("c.json", one),
            file("l", SECRET),
            file("manifest.json", manifest(&["l"])),
        ],
    );
    let whole = gzip(&fs::read(&path).unwrap());
    let packed = folder.path().join("a.tar.gz");
    let tmp = folder.path().join("tmp");
    fs::create_dir(&tmp).unwrap();
    let transport = DockerArchive::new(tmp.clone(), Vec::new());
    let name = packed.display().to_string();
    let mut wrong = whole.clone();
    let end = wrong.len() - 5;
    wrong[end] ^= 1;
    for bytes in [
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 1],
        &wrong,
        b"\x1f\x8b\x08",
    ] {
        fs::write(&packed, bytes).unwrap();
        let error = read_all(transport.parse(&name).unwrap()).await.unwrap_err();
        assert!(
            matches!(error.kind(), Kind::Invalid | Kind::Io),
            "{error:?}"
        );
    }
    // A small file that becomes a large one fills no memory: it is a file beside, and goes.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..64 {
        bomb.write_all(&vec![0; 1 << 20]).unwrap();
    }
    fs::write(&packed, bomb.finish().unwrap()).unwrap();
    let error = read_all(transport.parse(&name).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
}
