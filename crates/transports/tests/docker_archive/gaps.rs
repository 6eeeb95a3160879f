//! Layers for which gaps were left: where they come as they seemed to, and where not.

use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use dhow_model::Digest;
use dhow_testkit::conformance::{pieces, want};
use dhow_testkit::image::SampleImage;
use dhow_transport::{Blob, BlobWant, Body, Kind, Sink, Slot};
use futures_util::{StreamExt as _, stream};

use crate::samples::{assert_holds, at, coming, finish, sample, view};

/// What the engine says of a layer that it unpacks.
fn unpacked(index: usize, image: &SampleImage) -> BlobWant {
    let mut wanted = want(&view(image).layers[index]);
    wanted.slot = Slot::Layer { index };
    (wanted.digest, wanted.size) = (None, None);
    wanted
}

/// The content of a layer, with what its source hinted at.
fn hinted(index: usize, image: &SampleImage, likely: Option<u64>) -> Blob {
    let bytes = image.blob(&view(image).layers[index].digest).unwrap();
    let mut blob = pieces(bytes).likely(likely);
    blob.size = None;
    blob
}

async fn open(path: &Path, image: &SampleImage) -> std::sync::Arc<dyn Sink> {
    let sink = at(path, ":name:1", &[]).sink().await.unwrap();
    sink.prepare(&coming(&view(image).layers)).await.unwrap();
    sink
}

/// Writes an image whose layers seem to have these sizes, and returns the bytes of the archive.
async fn written(path: &Path, image: &SampleImage, likely: [Option<u64>; 3]) -> Vec<u8> {
    let sink = open(path, image).await;
    let puts = likely.into_iter().enumerate().map(|(index, likely)| {
        let (sink, wanted) = (&sink, unpacked(index, image));
        async move { sink.put_blob(&wanted, hinted(index, image, likely)).await }
    });
    for placed in futures_util::future::join_all(puts).await {
        placed.unwrap();
    }
    finish(&*sink, image).await;
    fs::read(path).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_sizes_seem_likely_the_archive_has_every_layer_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let image = sample(41, 3);
    let size = view(&image).layers[0].size;
    let is = Some(size);
    let plain = written(&path("plain.tar"), &image, [None; 3]).await;
    let exact = written(&path("exact.tar"), &image, [is; 3]).await;
    assert!(exact == plain, "a gap that is filled leaves no trace");
    let (less, more) = (Some(size - 512), Some(size + 512));
    for (name, likely) in [
        ("the first has more", [less, is, is]),
        ("the first has less", [more, is, is]),
        ("the middle has less", [is, Some(size + 5000), is]),
        ("the last has more", [is, is, less]),
        ("the last has less", [is, is, more]),
        ("all have less", [more; 3]),
        ("all have more", [Some(0); 3]),
        (
            "two have less, and of one nothing is known",
            [more, None, more],
        ),
        ("a byte too few", [Some(size - 1), is, is]),
        ("far too much", [is, Some(1 << 32), is]),
    ] {
        let path = path("a.tar");
        let bytes = written(&path, &image, likely).await;
        assert_holds(&path, ":name:1", &image).await;
        assert_eq!(bytes.len(), plain.len(), "{name}");
        fs::remove_file(&path).unwrap();
    }
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 2, "nothing lies beside the archives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_broke_comes_into_its_gap_again() {
    let folder = tempfile::tempdir().unwrap();
    let image = sample(42, 3);
    let is = Some(view(&image).layers[0].size);
    let plain = written(&folder.path().join("plain.tar"), &image, [is; 3]).await;
    let path = folder.path().join("a.tar");
    let sink = open(&path, &image).await;
    let put = |index| {
        let (sink, wanted, image) = (&sink, unpacked(index, &image), &image);
        async move { sink.put_blob(&wanted, hinted(index, image, is)).await }
    };
    put(0).await.unwrap();
    let mut broken = hinted(1, &image, is);
    let half = Bytes::from(vec![7; 600]);
    let error = io::Error::other("the connection broke");
    broken.body = Body::Stream(stream::iter([Ok(half), Err(error)]).boxed());
    let result = sink.put_blob(&unpacked(1, &image), broken).await;
    assert_eq!(result.unwrap_err().kind(), Kind::Io);
    for index in [2, 1] {
        put(index).await.unwrap();
    }
    finish(&*sink, &image).await;
    assert!(fs::read(&path).unwrap() == plain);
}

#[tokio::test]
async fn a_size_is_wanted_where_another_layer_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let image = sample(43, 3);
    let sink = open(&folder.path().join("a.tar"), &image).await;
    for (index, wanted) in [(0, true), (1, true), (2, false)] {
        let layer = unpacked(index, &image);
        assert_eq!(sink.wants_likely_size(&layer).await, wanted, "{index}");
    }
    let config = want(&image.blobs[0].0);
    assert!(!sink.wants_likely_size(&config).await);
    let other = BlobWant {
        digest: Some(Digest::sha256(b"other")),
        slot: Slot::Layer { index: 7 },
        ..config
    };
    assert!(!sink.wants_likely_size(&other).await);
}
