//! What a second copy need not do again.

use dhow_copy::{BlobCache, LayerOptions, Options, PackFormat, Packing};
use dhow_model::Compression;
use dhow_testkit::image::ImageSpec;
use dhow_testkit::memory::{Call, Fault, Memory};
use dhow_transport::LayerForm;

use super::{assert_whole, copy, image_of, options};

fn cached(folder: &tempfile::TempDir) -> Options {
    Options {
        cache: BlobCache::open(folder.path().to_owned()),
        ..options()
    }
}

fn packing(caps: &mut dhow_transport::SinkCaps) {
    caps.layers = LayerForm::Compressed;
}

fn reads(place: &Memory) -> usize {
    let calls = place.calls().into_iter();
    calls.filter(|call| matches!(call, Call::Blob(_))).count()
}

#[tokio::test]
async fn a_layer_that_was_compressed_once_is_not_compressed_again() {
    let folder = tempfile::tempdir().unwrap();
    let image = ImageSpec::oci(61).uncompressed().build();
    let to = Memory::new("to").with_caps(packing);
    copy(&Memory::holding("from", &image), &to, cached(&folder))
        .await
        .unwrap();
    let first = to.root().unwrap();
    let from = Memory::holding("from", &image);
    let report = copy(&from, &to, cached(&folder)).await.unwrap();
    assert_eq!(to.root(), Some(first));
    assert_eq!((report.sent.blobs, reads(&from)), (0, 0));
    // In another format it is made anew, and then known, too.
    let zstd = || Options {
        layers: LayerOptions {
            packing: Some(Packing {
                format: PackFormat::Zstd,
                level: None,
            }),
            ..LayerOptions::default()
        },
        ..cached(&folder)
    };
    for sent in [2, 0] {
        let mut forced = zstd();
        forced.layers.force_packing = true;
        let report = copy(&Memory::holding("from", &image), &to, forced)
            .await
            .unwrap();
        assert_eq!(report.sent.blobs, sent);
        assert_whole(&to, &to.root().unwrap());
    }
}

#[tokio::test]
async fn what_is_remembered_and_gone_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let image = ImageSpec::oci(62).uncompressed().build();
    let to = Memory::new("to").with_caps(packing);
    copy(&Memory::holding("from", &image), &to, cached(&folder))
        .await
        .unwrap();
    let layer = image_of(&to.root().unwrap()).layers[0].digest;
    // Another place has nothing of it, and a third one only says so.
    for other in [
        Memory::new("other").with_caps(packing),
        Memory::new("liar")
            .with_caps(packing)
            .with_fault(Fault::Pretend(layer)),
    ] {
        copy(&Memory::holding("from", &image), &other, cached(&folder))
            .await
            .unwrap();
        assert_eq!(other.root(), to.root());
        assert_whole(&other, &other.root().unwrap());
    }
}

#[tokio::test]
async fn a_repository_that_had_the_blob_is_asked_to_give_it() {
    let folder = tempfile::tempdir().unwrap();
    let image = ImageSpec::oci(63).build();
    let one = Memory::new("one").with_reference("r.test/one:v1");
    copy(&Memory::holding("from", &image), &one, cached(&folder))
        .await
        .unwrap();
    let two = Memory::new("two").with_reference("r.test/two:v1");
    copy(&Memory::holding("from", &image), &two, cached(&folder))
        .await
        .unwrap();
    let asked = |place: &Memory, from: &str| {
        let calls = place.calls().into_iter();
        calls
            .filter(|call| match call {
                Call::Reuse(_, mounts) => mounts.iter().any(|mount| mount.path() == from),
                _ => false,
            })
            .count()
    };
    assert_eq!(asked(&two, "one"), image.blobs.len());
    // Another registry is not told of it.
    let other = Memory::new("other").with_reference("other.test/two:v1");
    copy(&Memory::holding("from", &image), &other, cached(&folder))
        .await
        .unwrap();
    assert_eq!(asked(&other, "one") + asked(&other, "two"), 0);
}

#[tokio::test]
async fn digests_that_are_precomputed_spare_a_second_upload() {
    let tmp = tempfile::tempdir().unwrap();
    let image = ImageSpec::oci(64).uncompressed().build();
    let to = Memory::new("to").with_caps(packing);
    let precomputed = || Options {
        layers: LayerOptions {
            precompute_digests: true,
            ..LayerOptions::default()
        },
        tmp: tmp.path().to_owned(),
        ..options()
    };
    copy(&Memory::holding("from", &image), &to, precomputed())
        .await
        .unwrap();
    let sent = to.sent();
    assert!(
        sent.iter().all(Option::is_some),
        "every digest is known: {sent:?}"
    );
    let report = copy(&Memory::holding("from", &image), &to, precomputed())
        .await
        .unwrap();
    assert_eq!(report.sent.blobs, 0);
    let root = to.root().unwrap();
    assert_whole(&to, &root);
    let types = image_of(&root)
        .layers
        .into_iter()
        .map(|layer| layer.media_type);
    for layer in types {
        let parts = dhow_model::LayerType::of(&layer).unwrap();
        assert_eq!(parts.compression, Some(Compression::Gzip));
    }
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0);
}
