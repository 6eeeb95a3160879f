//! Blobs whose transfer breaks, and that go on in a later one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhow_model::{Descriptor, MediaType};
use dhow_testkit::conformance::{pieces, store, stored, want};
use dhow_testkit::image::{ImageSpec, noise, validate_layout};
use dhow_transport::{Blob, Deletion, Kind, Location, Retry, Sink, Transport};
use dhow_transports::{dir, oci};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::oneshot;

const SIZE: usize = 3_000_000;
const HALF: usize = 1_300_000;

fn layout(path: &Path, tag: &str) -> Arc<dyn Location> {
    let name = format!("{}:{tag}", path.display());
    let parsed = oci::Oci::new(None).parse(&name);
    parsed.expect("the test names a place")
}

fn loose(seed: u64) -> (Descriptor, Bytes) {
    let bytes = Bytes::from(noise(seed, SIZE));
    (Descriptor::of(MediaType::OCTET_STREAM, &bytes), bytes)
}

/// Puts the first half of a blob, whose transfer then breaks.
async fn break_off(sink: &dyn Sink, blob: &Descriptor, bytes: &Bytes) {
    let broken = stream::iter([
        Ok(bytes.slice(..HALF)),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ]);
    let broken = Blob::from_stream(Some(blob.size), broken.boxed());
    let error = sink.put_blob(&want(blob), broken).await;
    let error = error.expect_err("the body breaks");
    assert_ne!(error.retry(), Retry::Never);
}

fn rest(bytes: &Bytes, start: u64) -> Blob {
    let start_here = usize::try_from(start).expect("the sample is small");
    pieces(&bytes.slice(start_here..)).starting_at(start)
}

fn partials(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path.join("blobs")).expect("the layout is there");
    let files = entries.flatten().map(|entry| entry.path());
    files.filter(|path| path.is_file()).collect()
}

#[tokio::test]
async fn a_dropped_transfer_goes_on_in_the_next_sink() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("layout");
    let (blob, bytes) = loose(1);
    let sink = layout(&path, "v1").sink().await.unwrap();
    let (arrived, has_arrived) = oneshot::channel();
    let head = bytes.slice(..HALF);
    let body = stream::once(async move { Ok(head) })
        .chain(stream::once(async move {
            arrived.send(()).unwrap();
            std::future::pending().await
        }))
        .boxed();
    let put = Blob::from_stream(Some(blob.size), body);
    let wanted = want(&blob);
    tokio::select! {
        _ = sink.put_blob(&wanted, put) => panic!("the body has no end"),
        _ = has_arrived => {}
    }
    drop(sink);
    let sink = layout(&path, "v1").sink().await.unwrap();
    // The thread that writes gives it up a little later.
    let kept = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match sink.kept(&wanted).await.unwrap() {
                0 => tokio::task::yield_now().await,
                kept => return kept,
            }
        }
    });
    let kept = kept.await.expect("the file is given up");
    assert_eq!(kept, HALF as u64);
    assert!(!sink.has(&wanted).await.unwrap());
    let placed = sink.put_blob(&wanted, rest(&bytes, kept)).await.unwrap();
    assert_eq!((placed.digest, placed.size), (blob.digest, blob.size));
    let stored = path.join("blobs/sha256").join(blob.digest.hex());
    assert_eq!(fs::read(stored).unwrap(), bytes);
    assert!(partials(&path).is_empty());
    assert_eq!(sink.kept(&wanted).await.unwrap(), 0);
}

#[tokio::test]
async fn a_blob_in_memory_goes_on_too() {
    let place = tempfile::tempdir().unwrap();
    let (blob, bytes) = loose(2);
    let sink = layout(place.path(), "v1").sink().await.unwrap();
    break_off(&*sink, &blob, &bytes).await;
    let rest = Blob::from_bytes(bytes.slice(HALF..)).starting_at(HALF as u64);
    let placed = sink.put_blob(&want(&blob), rest).await.unwrap();
    assert_eq!(placed.size, blob.size);
}

#[tokio::test]
async fn what_was_kept_and_is_wrong_begins_anew() {
    let place = tempfile::tempdir().unwrap();
    let (blob, bytes) = loose(3);
    let sink = layout(place.path(), "v1").sink().await.unwrap();
    break_off(&*sink, &blob, &bytes).await;
    let mut broken = noise(4, HALF);
    broken.truncate(HALF);
    fs::write(&partials(place.path())[0], broken).unwrap();
    let wanted = want(&blob);
    let kept = sink.kept(&wanted).await.unwrap();
    let error = sink.put_blob(&wanted, rest(&bytes, kept)).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::DigestMismatch);
    assert_ne!(error.retry(), Retry::Never, "the source may be right");
    assert!(partials(place.path()).is_empty());
    assert_eq!(sink.kept(&wanted).await.unwrap(), 0);
    sink.put_blob(&wanted, rest(&bytes, 0)).await.unwrap();
    // Now it is the source that is wrong.
    let wrong = Bytes::from(noise(5, SIZE));
    let error = sink.put_blob(&wanted, pieces(&wrong)).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Never);
}

#[tokio::test]
async fn a_blob_that_goes_on_elsewhere_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (blob, bytes) = loose(6);
    let sink = layout(&place.path().join("layout"), "v1").sink().await;
    let sink = sink.unwrap();
    break_off(&*sink, &blob, &bytes).await;
    for start in [HALF as u64 - 1, 1] {
        let put = sink.put_blob(&want(&blob), rest(&bytes, start)).await;
        assert_ne!(put.unwrap_err().retry(), Retry::Never);
    }
    let directory = place.path().join("directory").display().to_string();
    let sink = dir::Dir::new().parse(&directory).unwrap().sink().await;
    let sink = sink.unwrap();
    assert_eq!(sink.kept(&want(&blob)).await.unwrap(), 0);
    assert!(sink.put_blob(&want(&blob), rest(&bytes, 1)).await.is_err());
}

#[tokio::test]
async fn two_transfers_of_one_blob_at_once_both_succeed() {
    let place = tempfile::tempdir().unwrap();
    let (blob, bytes) = loose(7);
    let location = layout(place.path(), "v1");
    let (one, two) = (location.sink().await, location.sink().await);
    let (one, two) = (one.unwrap(), two.unwrap());
    let wanted = want(&blob);
    let (first, second) = tokio::join!(
        one.put_blob(&wanted, pieces(&bytes)),
        two.put_blob(&wanted, pieces(&bytes)),
    );
    assert_eq!(first.unwrap(), second.unwrap());
    assert!(partials(place.path()).is_empty());
}

#[tokio::test]
async fn a_partial_blob_is_in_nobodys_way() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("layout");
    let (blob, bytes) = loose(8);
    let sink = layout(&path, "v1").sink().await.unwrap();
    let image = ImageSpec::oci(8).build();
    break_off(&*sink, &blob, &bytes).await;
    store(&*sink, &image).await.unwrap();
    drop(sink);
    let location = layout(&path, "v1");
    stored(&*location.source().await.unwrap(), &image).await;
    let catalog = location.catalog().unwrap();
    let tags: Vec<String> = catalog.tags().try_collect().await.unwrap();
    assert_eq!(tags, ["v1"]);
    let content = validate_layout(&path).unwrap();
    assert_eq!(content.blobs.len(), 1 + image.blobs.len());
    catalog.delete(Deletion::Named).await.unwrap();
    assert!(validate_layout(&path).unwrap().blobs.is_empty());
    let sink = location.sink().await.unwrap();
    assert_eq!(sink.kept(&want(&blob)).await.unwrap(), HALF as u64);
}
