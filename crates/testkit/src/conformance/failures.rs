//! Cases about what is not there, and about blobs that do not arrive.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use dhow_transport::{Blob, ByteRange, Error, Kind, Sink};
use futures_util::{StreamExt as _, stream};

use super::blobs::loose;
use super::place::taken;
use super::{Place, content, pieces, store, want};
use crate::image::ImageSpec;

/// Beside a name that is there.
pub async fn a_missing_name_is_not_found(place: &Place) {
    let absent = place.location("absent");
    assert!(root_of(place, "absent").await.is_err(), "{absent} is empty");
    if !place.has_names() {
        return;
    }
    let sink = place.sink("present").await;
    let image = taken(sink.caps(), 50).build();
    store(&*sink, &image).await.expect("the image is stored");
    let error = root_of(place, "absent").await.expect_err("it is not there");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

async fn root_of(place: &Place, name: &str) -> Result<(), Error> {
    let source = place.location(name).source().await?;
    source.root().await.map(drop)
}

/// By a digest that nothing has.
pub async fn a_missing_manifest_is_not_found(place: &Place) {
    let sink = place.sink("v1").await;
    let image = taken(sink.caps(), 51).build();
    store(&*sink, &image).await.expect("the image is stored");
    let source = place.source("v1").await;
    let absent = ImageSpec::oci(52).build().root.digest();
    let error = source.manifest(&absent).await.expect_err("it is not there");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

/// At once, or when the first byte is asked for.
pub async fn a_missing_blob_is_not_found(place: &Place) {
    let sink = place.sink("v1").await;
    let image = taken(sink.caps(), 53).build();
    store(&*sink, &image).await.expect("the image is stored");
    let source = place.source("v1").await;
    let (absent, _) = loose(54, 100);
    let read = content(&*source, &absent, ByteRange::All).await;
    let error = read.expect_err("it is not there");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

/// From memory and in pieces.
pub async fn a_blob_with_another_digest_is_refused(place: &Place) {
    let sink = place.sink("v1").await;
    let (blob, _) = loose(55, 70_000);
    let (_, other) = loose(56, 70_000);
    for body in [Blob::from_bytes(other.clone()), pieces(&other)] {
        let error = sink.put_blob(&want(&blob), body).await;
        let error = error.expect_err("the digest is another");
        if sink.caps().verifies {
            assert_eq!(error.kind(), Kind::DigestMismatch, "{error}");
        }
        absent(&*sink, &want(&blob)).await;
    }
}

/// Too short and too long.
pub async fn a_blob_of_another_size_is_refused(place: &Place) {
    let sink = place.sink("v1").await;
    let (blob, bytes) = loose(57, 70_000);
    // Not the blob with something behind it: a sink may stop reading at the size.
    let longer = Bytes::from([b"x", bytes.as_ref()].concat());
    for other in [bytes.slice(..69_999), longer, Bytes::new()] {
        for mut body in [Blob::from_bytes(other.clone()), pieces(&other)] {
            body.size = Some(blob.size);
            let error = sink.put_blob(&want(&blob), body).await;
            let error = error.expect_err("the size is another");
            if sink.caps().verifies {
                let kind = error.kind();
                let fits = matches!(kind, Kind::SizeMismatch | Kind::DigestMismatch);
                assert!(fits, "{kind:?}: {error}");
            }
            absent(&*sink, &want(&blob)).await;
        }
    }
}

/// A source that breaks in the middle; afterwards the blob can still be placed.
pub async fn a_broken_body_leaves_nothing(place: &Place) {
    let sink = place.sink("v1").await;
    let (blob, bytes) = loose(58, 400_000);
    let broken = stream::iter([
        Ok(bytes.slice(..100_000)),
        Ok(bytes.slice(100_000..300_000)),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ]);
    let broken = Blob::from_stream(Some(blob.size), broken.boxed());
    assert!(sink.put_blob(&want(&blob), broken).await.is_err());
    absent(&*sink, &want(&blob)).await;
    let ended = stream::iter([Ok(bytes.slice(..100_000))]);
    let ended = Blob::from_stream(Some(blob.size), ended.boxed());
    assert!(sink.put_blob(&want(&blob), ended).await.is_err());
    absent(&*sink, &want(&blob)).await;
    let placed = sink.put_blob(&want(&blob), pieces(&bytes)).await;
    assert_eq!(placed.expect("the blob is stored").digest, blob.digest);
}

/// As when the user gives up.
pub async fn a_dropped_transfer_leaves_nothing(place: &Place) {
    let sink = place.sink("v1").await;
    let (blob, bytes) = loose(59, 400_000);
    // All the bytes come, the end never does.
    let endless = stream::iter([Ok(bytes)]).chain(stream::pending());
    let endless = Blob::from_stream(Some(blob.size), endless.boxed());
    let want = want(&blob);
    let transfer = sink.put_blob(&want, endless);
    let given_up = tokio::time::timeout(Duration::from_millis(50), transfer).await;
    match given_up {
        Err(_) => absent(&*sink, &want).await,
        // A sink that knows the size need not wait for the end: then the blob is there.
        Ok(placed) => assert_eq!(placed.expect("it is stored").digest, blob.digest),
    }
}

async fn absent(sink: &dyn Sink, want: &dhow_transport::BlobWant) {
    assert!(!sink.has(want).await.expect("it is looked for"));
    assert_eq!(sink.reuse(want).await.expect("it is looked for"), None);
}
