//! Blobs of which the destination has something already.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dhow_copy::{Event, Options};
use dhow_model::{Digest, RawManifest};
use dhow_testkit::image::{ImageSpec, SampleImage};
use dhow_testkit::memory::{Call, Fault, Memory};
use dhow_transport::How;

use super::{Events, assert_holds, copy, copy_watched, image_of, options};

/// An image whose manifest says something of its first layer; and that layer's digest and size.
fn told(seed: u64) -> (SampleImage, Digest, u64) {
    let mut image = ImageSpec::oci(seed).layers(2).layer_size(9000).build();
    let text = image.root.bytes().to_vec();
    let document = serde_json::from_slice(&text);
    let mut document: serde_json::Value = document.expect("a manifest is JSON");
    document["layers"][0]["annotations"] = serde_json::json!({"a": "b"});
    let root = RawManifest::new(document.to_string().into(), None);
    image.root = root.expect("it still is a manifest");
    let layer = image_of(&image.root).layers[0].clone();
    (image, layer.digest, layer.size)
}

fn holding(image: &SampleImage, parts: bool) -> Memory {
    Memory::holding("from", image).with_source_caps(|caps| caps.parts = parts)
}

#[tokio::test]
async fn only_the_parts_that_are_wanted_travel() {
    let (image, layer, size) = told(1);
    let (from, to) = (
        holding(&image, true),
        Memory::new("to").with_halves_of(&image),
    );
    let events = Arc::new(Events::default());
    let report = copy_watched(&from, &to, options(), Arc::clone(&events))
        .await
        .unwrap();
    assert_holds(&to, &image);
    let read = from.calls().contains(&Call::Blob(layer));
    assert!(!read, "the whole is not read");
    // Nothing is said of the other blobs, and they come whole.
    assert!(!to.sent().contains(&Some(layer)));
    assert_eq!(to.sent().len(), image.blobs.len() - 1);
    let half = size.div_ceil(2);
    assert_eq!(report.sent.bytes, image.blob_bytes() - size + half);
    let done = |event: &Event| {
        let how = How::Parts { fetched: half };
        matches!(event, Event::BlobDone { digest, how: found, .. } if *digest == layer && *found == how)
    };
    assert_eq!(events.count(done), 1);
    let full = |event: &Event| {
        matches!(event, Event::BlobStarted { digest, counter, .. }
            if *digest == layer && counter.load(Ordering::Relaxed) == size)
    };
    assert_eq!(events.count(full), 1, "the bar has come to its end");
}

#[tokio::test]
async fn what_cannot_be_put_together_comes_whole() {
    let (image, layer, size) = told(2);
    let other = ImageSpec::oci(3).build();
    let (wrong, _, _) = told(2);
    let mut wrong = wrong;
    for (_, bytes) in &mut wrong.blobs {
        *bytes = vec![0; bytes.len()].into();
    }
    for (what, halves, fault) in [
        ("parts cannot be read", &image, Some(Fault::Unparted(layer))),
        ("what is there is wrong", &wrong, None),
        ("nothing is there", &other, None),
    ] {
        let mut from = holding(&image, true);
        if let Some(fault) = fault {
            from = from.with_fault(fault);
        }
        let to = Memory::new("to").with_halves_of(halves);
        let events = Arc::new(Events::default());
        let report = copy_watched(&from, &to, options(), Arc::clone(&events))
            .await
            .unwrap();
        assert_holds(&to, &image);
        assert_eq!(report.sent.bytes, image.blob_bytes(), "{what}");
        let offers = to
            .calls()
            .into_iter()
            .filter(|call| *call == Call::PutParts(Some(layer)));
        assert_eq!(offers.count(), 1, "{what}");
        let counted = |event: &Event| {
            matches!(event, Event::BlobStarted { digest, counter, .. }
                if *digest == layer && counter.load(Ordering::Relaxed) == size)
        };
        assert_eq!(
            events.count(counted),
            1,
            "{what}: bytes are not counted twice"
        );
    }
}

#[tokio::test]
async fn parts_are_not_offered_where_there_are_none_and_by_a_plan() {
    let (image, _, _) = told(4);
    let plain = ImageSpec::oci(5).build();
    let dry = Options {
        dry_run: true,
        ..options()
    };
    for (image, parts, options) in [
        (&image, false, options()),
        (&plain, true, options()),
        (&image, true, dry),
    ] {
        let to = Memory::new("to").with_halves_of(image);
        copy(&holding(image, parts), &to, options).await.unwrap();
        let offered = |call: &Call| matches!(call, Call::PutParts(_));
        assert!(!to.calls().iter().any(offered));
    }
}
