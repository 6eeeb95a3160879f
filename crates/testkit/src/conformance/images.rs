//! Cases about whole images, names and commits.

use dhow_model::ManifestKind;
use dhow_transport::{Blob, LayerForm};
use futures_util::future::join_all;

use super::place::taken;
use super::{Place, store, stored, want};
use crate::image::{ImageSpec, IndexSpec, SampleImage};

/// What is stored is what is read.
pub async fn an_image_comes_back_byte_for_byte(place: &Place) {
    let sink = place.sink("one").await;
    let image = taken(sink.caps(), 1).build();
    store(&*sink, &image).await.expect("the image is stored");
    stored(&*place.source("one").await, &image).await;
    if let Some(digest) = sink.present_root().await.expect("the name is looked up") {
        assert_eq!(digest, image.root.digest());
    }
}

/// Members are found by digest through the name of their index.
pub async fn an_index_comes_back_with_its_members(place: &Place) {
    let sink = place.sink("all").await;
    if !sink.caps().accepts_indexes() {
        return;
    }
    let image = taken(sink.caps(), 2);
    let index = IndexSpec::new(image, &["linux/amd64", "linux/arm64/v8", "linux/arm/v7"]).build();
    store(&*sink, &index).await.expect("the index is stored");
    stored(&*place.source("all").await, &index).await;
}

/// A manifest need not be that of a container image.
pub async fn an_artifact_comes_back(place: &Place) {
    let sink = place.sink("sbom").await;
    if !sink.caps().accepts(ManifestKind::OciManifest) {
        return;
    }
    let artifact = ImageSpec::artifact(3).build();
    store(&*sink, &artifact).await.expect("it is stored");
    stored(&*place.source("sbom").await, &artifact).await;
}

/// A layer that lives elsewhere stays there.
pub async fn an_image_with_a_foreign_layer_is_stored_without_it(place: &Place) {
    let sink = place.sink("windows").await;
    if !sink.caps().foreign_layers {
        return;
    }
    let image = taken(sink.caps(), 4).with_foreign_layer().build();
    store(&*sink, &image).await.expect("the image is stored");
    stored(&*place.source("windows").await, &image).await;
}

/// Docker's own types, where the place takes them.
pub async fn a_docker_image_keeps_its_bytes_where_it_is_taken(place: &Place) {
    let sink = place.sink("docker").await;
    let platforms = ["linux/amd64", "linux/s390x"];
    let image = match sink.caps().layers {
        LayerForm::Uncompressed => ImageSpec::docker2(5).uncompressed(),
        LayerForm::Keep | LayerForm::Compressed => ImageSpec::docker2(5),
    };
    let samples = [
        (ManifestKind::Docker2Manifest, image.build()),
        (
            ManifestKind::Docker2List,
            IndexSpec::docker2(6, &platforms).build(),
        ),
    ];
    for (kind, image) in samples {
        if !sink.caps().accepts(kind) {
            continue;
        }
        let sink = place.sink("docker").await;
        store(&*sink, &image).await.expect("the image is stored");
        stored(&*place.source("docker").await, &image).await;
    }
}

/// The new image takes the name; nothing else changes.
pub async fn a_name_is_replaced_and_the_others_stay(place: &Place) {
    let sink = place.sink("v1").await;
    let image = |seed| taken(sink.caps(), seed).build();
    let (old, other, new) = (image(10), image(11), image(12));
    store(&*sink, &old).await.expect("the image is stored");
    if place.has_names() {
        store(&*place.sink("v2").await, &other)
            .await
            .expect("the other image is stored");
    }
    store(&*place.sink("v1").await, &new)
        .await
        .expect("the new image is stored");
    stored(&*place.source("v1").await, &new).await;
    if place.has_names() {
        stored(&*place.source("v2").await, &other).await;
    }
}

/// No name is lost when many are written at once.
pub async fn names_are_written_at_once(place: &Place) {
    if !place.has_names() {
        return;
    }
    let images: Vec<(String, SampleImage)> = {
        let sink = place.sink("any").await;
        let image = |seed| taken(sink.caps(), seed).build();
        (20..28)
            .map(|seed| (format!("v{seed}"), image(seed)))
            .collect()
    };
    let writers = images.iter().map(|(name, image)| async move {
        store(&*place.sink(name).await, image)
            .await
            .expect("the image is stored");
    });
    join_all(writers).await;
    for (name, image) in &images {
        stored(&*place.source(name).await, image).await;
    }
}

/// Until then, and if it never comes, the old image is whole.
pub async fn nothing_changes_before_the_commit(place: &Place) {
    let sink = place.sink("v1").await;
    let old = taken(sink.caps(), 30).build();
    let new = taken(sink.caps(), 31).build();
    store(&*sink, &old).await.expect("the image is stored");
    let sink = place.sink("v1").await;
    for (descriptor, bytes) in &new.blobs {
        sink.put_blob(&want(descriptor), Blob::from_bytes(bytes.clone()))
            .await
            .expect("the blob is stored");
    }
    stored(&*place.source("v1").await, &old).await;
    drop(sink);
    stored(&*place.source("v1").await, &old).await;
}

/// A sink that nothing is written to leaves no trace.
pub async fn opening_a_sink_changes_nothing(place: &Place) {
    drop(place.sink("v1").await);
    let source = place.location("v1").source().await;
    assert!(match source {
        Ok(source) => source.root().await.is_err(),
        Err(_) => true,
    });
    let sink = place.sink("v1").await;
    let image = taken(sink.caps(), 32).build();
    store(&*sink, &image).await.expect("the image is stored");
    drop(place.sink("v1").await);
    stored(&*place.source("v1").await, &image).await;
}

/// Also when every blob is taken from what is there.
pub async fn storing_the_same_image_again_changes_nothing(place: &Place) {
    let sink = place.sink("v1").await;
    let image = taken(sink.caps(), 33).build();
    store(&*sink, &image).await.expect("the image is stored");
    let sink = place.sink("v1").await;
    for (descriptor, bytes) in &image.blobs {
        let want = want(descriptor);
        let placed = sink.reuse(&want).await.expect("the blob is looked for");
        if placed.is_none() {
            sink.put_blob(&want, Blob::from_bytes(bytes.clone()))
                .await
                .expect("the blob is stored");
        }
    }
    sink.commit(&image.root).await.expect("it is committed");
    stored(&*place.source("v1").await, &image).await;
}

/// `transport:rest`, and the same from source and sink.
pub async fn a_location_shows_its_transport(place: &Place) {
    let location = place.location("v1");
    let shown = location.to_string();
    assert!(shown.starts_with(&format!("{}:", location.transport())));
    let sink = location.sink().await.expect("the place opens");
    assert_eq!(sink.location().to_string(), shown);
    let image = taken(sink.caps(), 34).build();
    store(&*sink, &image).await.expect("the image is stored");
    let source = location.source().await.expect("the place opens");
    assert_eq!(source.location().to_string(), shown);
}
