//! Cases about blobs that arrive well.

use bytes::Bytes;
use dhow_model::{Descriptor, MediaType};
use dhow_transport::{Blob, ByteRange, How};
use futures_util::StreamExt as _;
use futures_util::future::join_all;

use super::place::taken;
use super::{Place, content, pieces, store, stored, want};
use crate::image::noise;

/// Returns a blob that is in no image.
pub(super) fn loose(seed: u64, size: usize) -> (Descriptor, Bytes) {
    let bytes = Bytes::from(noise(seed, size));
    (Descriptor::of(MediaType::OCTET_STREAM, &bytes), bytes)
}

/// From any byte to the end.
pub async fn a_blob_is_read_in_part(place: &Place) {
    let sink = place.sink("v1").await;
    let image = taken(sink.caps(), 40).layer_size(700_000).build();
    store(&*sink, &image).await.expect("the image is stored");
    let source = place.source("v1").await;
    if !source.caps().ranges {
        return;
    }
    let (layer, bytes) = &image.blobs[1];
    for offset in [0, 1, 300_000, layer.size - 1] {
        let read = content(&*source, layer, ByteRange::From(offset)).await;
        let start = usize::try_from(offset).expect("the sample is small");
        assert_eq!(read.expect("the part is read"), bytes.slice(start..));
    }
}

/// By digest and size, and nothing else counts as there.
pub async fn a_placed_blob_is_reused(place: &Place) {
    let sink = place.sink("v1").await;
    let (blob, bytes) = loose(41, 5000);
    assert!(!sink.has(&want(&blob)).await.expect("it is looked for"));
    assert_eq!(
        sink.reuse(&want(&blob)).await.expect("it is looked for"),
        None
    );
    let placed = sink.put_blob(&want(&blob), Blob::from_bytes(bytes)).await;
    let placed = placed.expect("the blob is stored");
    assert_eq!((placed.digest, placed.size), (blob.digest, blob.size));
    assert_eq!(placed.how, How::Sent);
    let again = sink.reuse(&want(&blob)).await.expect("it is looked for");
    let again = again.expect("the blob is there");
    assert_eq!((again.digest, again.size), (blob.digest, blob.size));
    assert_ne!(again.how, How::Sent);
    assert!(sink.has(&want(&blob)).await.expect("it is looked for"));
    let (other, _) = loose(42, 5000);
    assert!(!sink.has(&want(&other)).await.expect("it is looked for"));
}

/// Whatever the pieces are.
pub async fn a_blob_that_comes_in_pieces_is_whole(place: &Place) {
    let sink = place.sink("v1").await;
    let image = taken(sink.caps(), 43).layer_size(1_500_000).build();
    for (descriptor, bytes) in &image.blobs {
        sink.put_blob(&want(descriptor), pieces(bytes))
            .await
            .expect("the blob is stored");
    }
    sink.commit(&image.root).await.expect("it is committed");
    stored(&*place.source("v1").await, &image).await;
}

/// As when it is compressed on the way.
pub async fn a_blob_whose_digest_is_not_known_beforehand_is_placed(place: &Place) {
    let sink = place.sink("v1").await;
    let (blob, bytes) = loose(44, 200_000);
    let mut unknown = want(&blob);
    unknown.digest = None;
    unknown.size = None;
    let mut body = pieces(&bytes);
    body.size = None;
    let placed = sink.put_blob(&unknown, body).await;
    let placed = placed.expect("the blob is stored");
    assert_eq!((placed.digest, placed.size), (blob.digest, blob.size));
    assert!(sink.has(&want(&blob)).await.expect("it is looked for"));
}

/// One after the other.
pub async fn a_blob_may_be_put_twice(place: &Place) {
    let sink = place.sink("v1").await;
    let image = taken(sink.caps(), 45).build();
    for _ in 0..2 {
        store(&*sink, &image).await.expect("the image is stored");
    }
    stored(&*place.source("v1").await, &image).await;
}

/// As when two images of an index share a layer.
pub async fn a_blob_may_be_put_many_times_at_once(place: &Place) {
    let sink = place.sink("v1").await;
    let image = taken(sink.caps(), 46).layer_size(100_000).build();
    for (descriptor, bytes) in &image.blobs {
        let (want, sink) = (want(descriptor), &sink);
        let puts = (0..6).map(|_| sink.put_blob(&want, pieces(bytes)));
        for placed in join_all(puts).await {
            assert_eq!(placed.expect("it is stored").digest, descriptor.digest);
        }
    }
    sink.commit(&image.root).await.expect("it is committed");
    stored(&*place.source("v1").await, &image).await;
}

/// A reader that goes away takes nothing with it.
pub async fn an_abandoned_read_does_no_harm(place: &Place) {
    let sink = place.sink("v1").await;
    let image = taken(sink.caps(), 47).layer_size(2_000_000).build();
    store(&*sink, &image).await.expect("the image is stored");
    let source = place.source("v1").await;
    for _ in 0..3 {
        let blob = source.blob(&image.blobs[1].0, ByteRange::All).await;
        let mut body = blob.expect("the blob opens").body.into_stream();
        let first = body.next().await.expect("there are bytes");
        assert!(!first.expect("they are read").is_empty());
    }
    stored(&*source, &image).await;
}
