//! Layers that are put together from what a store has and from parts of a blob.

#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use dhow_codec::{PackFormat, Packing, pack};
use dhow_config::EnvSnapshot;
use dhow_model::{Annotations, Descriptor, Digest, MediaType, RawManifest};
use dhow_testkit::image::noise;
use dhow_transport::{
    Blob, BlobPart, BlobParts, BlobWant, Coming, Error, Kind, Placed, Result, Sink, Slot,
    Transport as _,
};
use dhow_transports::containers_storage::ContainersStorage;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

const POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";

const FILES: u64 = 20;
const SIZE: usize = 100_000;

/// An image of one zstd:chunked layer.
#[derive(Clone)]
struct Image {
    layer: Descriptor,
    blob: Bytes,
    config: Bytes,
    manifest: RawManifest,
    id: String,
}

/// Returns an image of many files; those in `changed` have another content.
async fn image(changed: &[u64]) -> Image {
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..FILES {
        let content = noise(number + 100 * u64::from(changed.contains(&number)), SIZE);
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        header.set_mtime(1_600_000_000);
        let name = format!("file-{number}");
        builder
            .append_data(&mut header, name, &content[..])
            .unwrap();
    }
    let archive = Bytes::from(builder.into_inner().unwrap());
    let diff_id = Digest::sha256(&archive);
    let packing = Packing {
        format: PackFormat::ZstdChunked,
        level: None,
    };
    let (packed, facts) = pack(stream::iter([Ok(archive)]).boxed(), packing, None);
    let pieces: Vec<_> = packed.map(io::Result::unwrap).collect().await;
    let blob = Bytes::from(pieces.concat());
    let mut layer = Descriptor::of(MediaType::OCI_LAYER_ZSTD, &blob);
    layer.annotations = facts.take().unwrap().annotations;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let config = Bytes::from(config.to_string());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": Descriptor::of(MediaType::OCI_CONFIG, &config), "layers": [layer],
    });
    Image {
        layer,
        blob,
        config,
        manifest: RawManifest::new(manifest.to_string().into(), None).unwrap(),
        id: diff_id.hex(),
    }
}

/// A place that gives parts, and may do it wrong.
#[derive(Debug)]
struct Parts {
    blob: Descriptor,
    bytes: Bytes,
    fault: Fault,
    asked: Mutex<Vec<BlobPart>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Short,
    Long,
    Changed,
    Refused,
    Broken,
}

impl Parts {
    fn of(image: &Image, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            blob: image.layer.clone(),
            bytes: image.blob.clone(),
            fault,
            asked: Mutex::default(),
        })
    }

    fn asked(&self) -> Vec<BlobPart> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl BlobParts for Parts {
    fn blob(&self) -> &Descriptor {
        &self.blob
    }

    async fn part(&self, part: BlobPart) -> Result<Blob> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(part);
        // What describes the layer comes first, and is right.
        let fault = if asked.len() == 1 {
            Fault::None
        } else {
            self.fault
        };
        let at = |position: u64| usize::try_from(position).unwrap();
        let mut bytes = self
            .bytes
            .slice(at(part.offset)..at(part.offset + part.length));
        let mut end = None;
        match fault {
            Fault::None => {}
            Fault::Short => bytes.truncate(bytes.len() - 1),
            Fault::Long => bytes = [&bytes[..], b"x"].concat().into(),
            Fault::Changed => {
                let mut changed = bytes.to_vec();
                changed[5000] ^= 1;
                bytes = changed.into();
            }
            Fault::Refused => return Err(Error::new(Kind::Unsupported, "there are no parts")),
            Fault::Broken => {
                bytes.truncate(bytes.len() / 2);
                end = Some(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        let pieces = [Ok(bytes)].into_iter().chain(end);
        Ok(Blob::from_stream(
            Some(part.length),
            stream::iter(pieces).boxed(),
        ))
    }
}

async fn sink(root: &Path, driver: &str) -> Arc<dyn Sink> {
    let name = format!(
        "[{driver}@{}/root+{}/run]app",
        root.display(),
        root.display()
    );
    let transport = ContainersStorage::new(Arc::new(EnvSnapshot::default()), root.to_owned());
    transport.parse(&name).unwrap().sink().await.unwrap()
}

fn wanted(blob: &Descriptor, slot: Slot) -> BlobWant {
    BlobWant {
        digest: Some(blob.digest),
        size: Some(blob.size),
        made_from: None,
        media_type: blob.media_type.clone(),
        slot,
        mount_from: Vec::new(),
        comes: true,
        annotations: blob.annotations.clone(),
    }
}

async fn prepare(sink: &dyn Sink, image: &Image) {
    let coming = Coming {
        config: Some(image.config.clone()),
        ..Coming::default()
    };
    sink.prepare(&coming).await.unwrap();
}

async fn by_parts(sink: &dyn Sink, image: &Image, parts: &Arc<Parts>) -> Result<Option<Placed>> {
    let want = wanted(&image.layer, Slot::Layer { index: 0 });
    sink.put_parts(&want, Arc::clone(parts) as Arc<dyn BlobParts>)
        .await
}

async fn whole(sink: &dyn Sink, image: &Image) {
    let want = wanted(&image.layer, Slot::Layer { index: 0 });
    let blob = Blob::from_bytes(image.blob.clone());
    sink.put_blob(&want, blob).await.unwrap();
}

async fn commit(sink: &dyn Sink, image: &Image) {
    let config = Descriptor::of(MediaType::OCI_CONFIG, &image.config);
    let want = wanted(&config, Slot::Config);
    let blob = Blob::from_bytes(image.config.clone());
    sink.put_blob(&want, blob).await.unwrap();
    sink.commit(&image.manifest).await.unwrap();
}

/// A store that has an image.
async fn holding(root: &Path, driver: &str, image: &Image) {
    let sink = sink(root, driver).await;
    prepare(&*sink, image).await;
    whole(&*sink, image).await;
    commit(&*sink, image).await;
}

fn files(root: &Path, driver: &str, id: &str) -> std::path::PathBuf {
    let folder = root.join("root").join(driver);
    match driver {
        "vfs" => folder.join("dir").join(id),
        _ => folder.join(id).join("diff"),
    }
}

fn record(root: &Path, driver: &str, id: &str) -> Value {
    let list = root
        .join("root")
        .join(format!("{driver}-layers/layers.json"));
    let list: Vec<Value> = serde_json::from_slice(&fs::read(list).unwrap()).unwrap();
    let found = list.into_iter().find(|layer| layer["id"] == id);
    found.unwrap()
}

fn assert_has(root: &Path, driver: &str, image: &Image, changed: &[u64]) {
    for number in 0..FILES {
        let content = noise(number + 100 * u64::from(changed.contains(&number)), SIZE);
        let path = files(root, driver, &image.id).join(format!("file-{number}"));
        assert!(fs::read(path).unwrap() == content, "{driver} file {number}");
    }
}

#[tokio::test]
async fn only_what_the_store_lacks_is_read() {
    let (old, new) = (image(&[]).await, image(&[3, 4, 11]).await);
    for driver in ["overlay", "vfs"] {
        let place = tempfile::tempdir().unwrap();
        holding(place.path(), driver, &old).await;
        let sink = sink(place.path(), driver).await;
        prepare(&*sink, &new).await;
        let parts = Parts::of(&new, Fault::None);
        let placed = by_parts(&*sink, &new, &parts).await.unwrap();
        assert_eq!(placed.map(|placed| placed.digest), Some(new.layer.digest));
        let asked = parts.asked();
        // The description, two neighbours, and one.
        assert_eq!(asked.len(), 3, "{asked:?}");
        let read: u64 = asked.iter().map(|part| part.length).sum();
        let changed = 3 * SIZE as u64;
        assert!((changed..changed + 20_000).contains(&read), "{read} bytes");
        commit(&*sink, &new).await;
        assert_has(place.path(), driver, &new, &[3, 4, 11]);
        let (old, new) = (&old, record(place.path(), driver, &new.id));
        let old = record(place.path(), driver, &old.id);
        // Nobody has seen the blob whole: that it has this content is not known.
        assert_eq!(new["compressed-diff-digest"], Value::Null);
        assert!(old["compressed-diff-digest"].is_string());
        for layer in [old, new] {
            assert_eq!(layer["big-data-names"], json!(["zstd-chunked-manifest"]));
        }
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_parts_the_layer_can_come_whole() {
    let (old, new) = (image(&[]).await, image(&[3]).await);
    for driver in ["overlay", "vfs"] {
        for fault in [
            Fault::Short,
            Fault::Long,
            Fault::Changed,
            Fault::Refused,
            Fault::Broken,
        ] {
            let place = tempfile::tempdir().unwrap();
            holding(place.path(), driver, &old).await;
            let sink = sink(place.path(), driver).await;
            prepare(&*sink, &new).await;
            let parts = Parts::of(&new, fault);
            let refused = by_parts(&*sink, &new, &parts).await;
            assert!(refused.is_err(), "{driver} {fault:?}");
            assert_eq!(parts.asked().len(), 2, "{driver} {fault:?}");
            whole(&*sink, &new).await;
            commit(&*sink, &new).await;
            assert_has(place.path(), driver, &new, &[3]);
            let staged = place.path().join("root").join(driver).join("dhow-staging");
            assert_eq!(
                fs::read_dir(staged).unwrap().count(),
                0,
                "{driver} {fault:?}"
            );
        }
    }
}

#[tokio::test]
async fn files_that_are_not_what_a_table_says_are_found_out() {
    let (old, new) = (image(&[]).await, image(&[3]).await);
    for driver in ["overlay", "vfs"] {
        for content in [&b"short"[..], &noise(7, SIZE)] {
            let place = tempfile::tempdir().unwrap();
            holding(place.path(), driver, &old).await;
            let file = files(place.path(), driver, &old.id).join("file-5");
            fs::write(file, content).unwrap();
            let sink = sink(place.path(), driver).await;
            prepare(&*sink, &new).await;
            let parts = Parts::of(&new, Fault::None);
            let found = by_parts(&*sink, &new, &parts).await;
            if content.len() == SIZE {
                assert_eq!(found.unwrap_err().kind(), Kind::DigestMismatch);
                whole(&*sink, &new).await;
            } else {
                // A file of another size is no candidate: it is fetched.
                assert!(found.unwrap().is_some());
            }
            commit(&*sink, &new).await;
            assert_has(place.path(), driver, &new, &[3]);
        }
    }
}

#[tokio::test]
async fn a_layer_comes_whole_where_parts_bring_nothing() {
    let (old, new) = (image(&[]).await, image(&[3]).await);
    let all: Vec<u64> = (0..FILES).collect();
    let other = image(&all).await;
    let with = |change: &dyn Fn(&mut Annotations)| {
        let mut image = new.clone();
        change(&mut image.layer.annotations);
        image
    };
    for (what, image, known, is_error, requests) in [
        ("nothing is in the store", new.clone(), true, false, 0),
        ("most of it is missing", other, true, false, 1),
        ("the config is unknown", new.clone(), false, false, 0),
        (
            "no annotations",
            with(&|all| *all = Annotations::new()),
            true,
            false,
            0,
        ),
        (
            "no such place",
            with(&|all| all.insert(POSITION, "1:2:3:4")),
            true,
            true,
            0,
        ),
        (
            "another place",
            with(&|all| all.insert(POSITION, "1:2:3:1")),
            true,
            true,
            2,
        ),
    ] {
        let place = tempfile::tempdir().unwrap();
        if what != "nothing is in the store" {
            holding(place.path(), "overlay", &old).await;
        }
        let sink = sink(place.path(), "overlay").await;
        if known {
            prepare(&*sink, &image).await;
        }
        let parts = Parts::of(&image, Fault::None);
        let found = by_parts(&*sink, &image, &parts).await;
        assert_eq!(found.is_err(), is_error, "{what}: {found:?}");
        assert!(!matches!(found, Ok(Some(_))), "{what}: {found:?}");
        assert_eq!(parts.asked().len(), requests, "{what}");
    }
}

#[tokio::test]
async fn a_layer_that_was_put_together_is_used_again_by_its_content() {
    let (old, new) = (image(&[]).await, image(&[3]).await);
    let place = tempfile::tempdir().unwrap();
    holding(place.path(), "overlay", &old).await;
    let first = sink(place.path(), "overlay").await;
    prepare(&*first, &new).await;
    let parts = Parts::of(&new, Fault::None);
    assert!(by_parts(&*first, &new, &parts).await.unwrap().is_some());
    commit(&*first, &new).await;
    let again = sink(place.path(), "overlay").await;
    let want = wanted(&new.layer, Slot::Layer { index: 0 });
    assert!(
        !again.has(&want).await.unwrap(),
        "of the blob nothing is known"
    );
    prepare(&*again, &new).await;
    assert!(again.has(&want).await.unwrap());
}
