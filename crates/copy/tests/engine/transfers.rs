//! What moves, how often and in which order.

use std::io::Read as _;
use std::num::NonZeroUsize;
use std::sync::Arc;

use dhow_copy::{Event, Format, Options, Select};
use dhow_model::{Digest, Index, ManifestKind, MediaType, RawManifest, Reference, convert};
use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage, noise};
use dhow_testkit::memory::{Call, Memory};
use dhow_transport::{Kind, LayerForm};

use super::{
    Events, all, assert_holds, assert_whole, copy, copy_watched, image_of, options, platforms,
    unique,
};

const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm64/v8", "linux/arm/v7"];

/// An OCI layout, as far as the engine sees it.
fn oci(name: &str) -> Memory {
    Memory::new(name).with_caps(|caps| {
        caps.manifests = vec![ManifestKind::OciManifest, ManifestKind::OciIndex];
        caps.layers = LayerForm::Compressed;
    })
}

#[tokio::test]
async fn an_image_arrives_byte_for_byte() {
    for image in [
        ImageSpec::oci(1).build(),
        ImageSpec::docker2(2).build(),
        ImageSpec::artifact(3).build(),
        ImageSpec::oci(4).with_foreign_layer().build(),
        ImageSpec::oci(5).layers(0).build(),
    ] {
        let (from, to) = (Memory::holding("from", &image), Memory::new("to"));
        let report = copy(&from, &to, options()).await.unwrap();
        assert_eq!(to.root(), Some(image.root.clone()));
        assert_holds(&to, &image);
        assert_eq!(report.digest, image.root.digest());
        assert_eq!(report.images, 1);
        assert_eq!(report.sent.blobs, image.blobs.len() as u64);
        assert_eq!(report.sent.bytes, image.blob_bytes());
        assert_eq!(
            to.calls().last(),
            Some(&Call::Commit(image.root.digest())),
            "the root comes last"
        );
    }
}

#[tokio::test]
async fn an_index_arrives_with_all_its_images_and_each_blob_once() {
    let index = IndexSpec::oci(6, &PLATFORMS).build();
    let (from, to) = (Memory::holding("from", &index), Memory::new("to"));
    let report = copy(&from, &to, all()).await.unwrap();
    assert_eq!(to.root(), Some(index.root.clone()));
    assert_holds(&to, &index);
    for manifest in &index.manifests {
        assert_eq!(to.manifest(&manifest.digest()).as_ref(), Some(manifest));
    }
    assert_eq!(report.images, 3);
    assert_eq!(to.sent().len(), index.blobs.len());
    assert_eq!(unique(&to.sent()).len(), index.blobs.len());
    let reads = from.calls();
    let reads = reads.iter().filter(|call| matches!(call, Call::Blob(_)));
    assert_eq!(reads.count(), index.blobs.len());
}

#[tokio::test]
async fn a_manifest_is_written_after_its_blobs_and_an_index_after_its_images() {
    let index = IndexSpec::oci(7, &PLATFORMS).build();
    let (from, to) = (Memory::holding("from", &index), Memory::new("to"));
    copy(&from, &to, all()).await.unwrap();
    let calls = to.calls();
    let place = |wanted: &Call| calls.iter().position(|call| call == wanted).unwrap();
    for manifest in &index.manifests {
        let written = place(&Call::PutManifest(manifest.digest()));
        for blob in image_of(manifest).blobs() {
            assert!(place(&Call::PutBlob(Some(blob.digest))) < written);
        }
        assert!(written < place(&Call::Commit(index.root.digest())));
    }
}

#[tokio::test]
async fn the_largest_blob_starts_first() {
    let sizes = [100, 9000, 700, 4000];
    let images = sizes.map(|size| ImageSpec::oci(size as u64).layer_size(size).build());
    let index = listing(&images);
    let (from, to) = (Memory::holding("from", &index), Memory::new("to"));
    let one = Options {
        parallel: Some(NonZeroUsize::MIN),
        ..all()
    };
    copy(&from, &to, one).await.unwrap();
    let sent = to.sent();
    let sizes = sent.iter().flatten().map(|digest| to.blob(digest));
    let sizes: Vec<usize> = sizes.map(|bytes| bytes.unwrap().len()).collect();
    assert_eq!(sizes.len(), index.blobs.len());
    assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
}

#[tokio::test]
async fn an_index_of_nothing_is_copied() {
    let index = listing(&[]);
    let to = Memory::new("to");
    let report = copy(&Memory::holding("from", &index), &to, all())
        .await
        .unwrap();
    assert_eq!(report.images, 0);
    assert_eq!(to.root(), Some(index.root));
}

#[tokio::test]
async fn images_that_differ_about_the_size_of_a_blob_are_refused() {
    let image = ImageSpec::oci(26).layers(1).build();
    let size = format!("\"size\":{}", image_of(&image.root).layers[0].size);
    let text = String::from_utf8(image.root.bytes().to_vec()).unwrap();
    let text = text.replace(&size, "\"size\":1");
    let mut other = image.clone();
    other.root = RawManifest::new(text.into_bytes().into(), None).unwrap();
    let index = listing(&[image, other]);
    let to = Memory::new("to");
    let error = copy(&Memory::holding("from", &index), &to, all())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::SizeMismatch);
    assert_eq!(to.calls(), [Call::Sink]);
}

#[tokio::test]
async fn blobs_move_at_once_and_no_more_of_them_than_allowed() {
    for (parallel, expected) in [(1, 1), (3, 3), (100, 9)] {
        let image = ImageSpec::oci(10).layers(8).layer_size(8192).build();
        let (from, to) = (Memory::holding("from", &image), Memory::new("to"));
        let options = Options {
            parallel: NonZeroUsize::new(parallel),
            ..options()
        };
        copy(&from, &to, options).await.unwrap();
        // The config is small and may be done before the last layer begins.
        let most = to.most_in_flight();
        assert!(most <= expected && most + 1 >= expected, "{most}");
        assert_eq!(to.expected(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn more_small_blobs_are_on_a_long_way_than_on_a_short_one() {
    let image = ImageSpec::oci(12).layers(60).layer_size(1024).build();
    let from = || Memory::holding("from", &image);
    let to = || Memory::new("to");
    for (from, to, is_far) in [
        (from(), to(), false),
        (from().far_away(), to(), true),
        (from(), to().far_away(), true),
    ] {
        copy(&from, &to, options()).await.unwrap();
        assert_eq!(to.most_in_flight() > 12, is_far, "{}", to.most_in_flight());
    }
}

#[tokio::test]
async fn the_source_makes_ready_for_a_blob_while_a_far_destination_is_asked_for_it() {
    let image = ImageSpec::oci(31).layers(4).build();
    let from = || Memory::holding("from", &image).with_reference("r.test/a:1");
    let to = || Memory::new("to").far_away();
    let near = Memory::new("to").with_reference("other.test/b:1");
    let cases = [
        ("far", to().with_reference("other.test/b:1"), 5),
        ("near: the answer is there at once", near, 0),
        ("mounted", to().with_reference("r.test/b:1"), 0),
    ];
    for (what, to, expected) in cases {
        let from = from();
        copy(&from, &to, options()).await.unwrap();
        assert_eq!(from.awaited(), expected, "{what}");
        if expected > 0 {
            assert_eq!(from.expected(), to.expected(), "{what}");
        }
    }
}

#[tokio::test]
async fn the_caps_of_either_side_bound_the_blobs_in_flight() {
    let image = ImageSpec::oci(11).layers(8).layer_size(8192).build();
    let two = std::num::NonZeroU16::new(2).unwrap();
    let (from, to) = (
        Memory::holding("from", &image),
        Memory::new("to").with_caps(|caps| caps.concurrency = two),
    );
    let events = Arc::new(Events::default());
    let six = Options {
        parallel: NonZeroUsize::new(6),
        ..options()
    };
    copy_watched(&from, &to, six, Arc::clone(&events))
        .await
        .unwrap();
    assert_eq!(to.most_in_flight(), 2);
    let noticed = events.count(|event| matches!(event, Event::Notice(_)));
    assert_eq!(noticed, 1, "it is said");
}

#[tokio::test]
async fn where_reading_is_counted_the_digest_is_asked_for_first() {
    let image = ImageSpec::oci(31).build();
    let index = IndexSpec::oci(32, &["linux/amd64", "linux/arm64"]).build();
    for (held, select, unchanged) in [
        (&image, Select::System, true),
        (&image, Select::All, true),
        (&index, Select::All, true),
        (&index, Select::System, false), // the destination is to have the image, not the index
    ] {
        let from = Memory::holding("from", held).with_source_caps(|caps| caps.counted = true);
        let to = Memory::holding("to", held);
        let wanted = Options {
            select,
            ..options()
        };
        let report = copy(&from, &to, wanted.clone()).await.unwrap();
        assert_eq!(report.unchanged, unchanged);
        assert_eq!(to.calls() == [Call::Sink], unchanged);
        // What is converted has another digest.
        let converted = Options {
            format: Some(Format::Docker2),
            ..wanted
        };
        assert!(!copy(&from, &to, converted).await.unwrap().unchanged);
    }
}

#[tokio::test]
async fn what_is_there_is_not_sent_again() {
    let index = IndexSpec::oci(12, &PLATFORMS).build();
    let (from, to) = (
        Memory::holding("from", &index),
        Memory::holding("to", &index),
    );
    let report = copy(&from, &to, all()).await.unwrap();
    assert_eq!(to.sent(), Vec::new());
    assert_eq!(report.sent.blobs, 0);
    assert_eq!(report.reused.blobs, index.blobs.len() as u64);
    assert!(
        !from
            .calls()
            .iter()
            .any(|call| matches!(call, Call::Blob(_)))
    );
}

#[tokio::test]
async fn repositories_of_one_registry_are_offered_for_mounting() {
    let mounts = [
        ("r.test/a:1", "r.test/b:1", &["r.test/a", "r.test/c"][..]),
        ("other.test/a:1", "r.test/b:1", &["r.test/c"]),
        ("r.test/b:1", "r.test/b:2", &["r.test/c"]),
    ];
    for (source, destination, expected) in mounts {
        let image = ImageSpec::oci(13).build();
        let from = Memory::holding("from", &image).with_reference(source);
        let to = Memory::new("to").with_reference(destination);
        let options = Options {
            mount_from: vec![
                Reference::parse("r.test/c").unwrap(),
                Reference::parse("elsewhere.test/d").unwrap(),
            ],
            ..options()
        };
        copy(&from, &to, options).await.unwrap();
        for call in to.calls() {
            if let Call::Reuse(_, from) = call {
                let names: Vec<String> = from.iter().map(ToString::to_string).collect();
                assert_eq!(names, expected);
            }
        }
    }
}

#[tokio::test]
async fn the_image_for_the_system_is_taken_from_an_index() {
    let index = IndexSpec::docker2(14, &PLATFORMS).build();
    let (from, to) = (Memory::holding("from", &index), Memory::new("to"));
    copy(&from, &to, options()).await.unwrap();
    assert_eq!(to.root(), Some(index.manifests[0].clone()));
    assert_eq!(to.blob_count(), 3);
}

#[tokio::test]
async fn platforms_are_copied_with_the_whole_index_or_with_one_that_is_stripped() {
    let index = IndexSpec::oci(15, &PLATFORMS).build();
    for strip in [false, true] {
        let (from, to) = (Memory::holding("from", &index), Memory::new("to"));
        let options = Options {
            select: platforms(&["linux/arm/v7", "linux/amd64"]),
            strip_removed_platforms: strip,
            ..options()
        };
        let report = copy(&from, &to, options).await.unwrap();
        assert_eq!(report.images, 2);
        assert!(to.manifest(&index.manifests[0].digest()).is_some());
        assert!(to.manifest(&index.manifests[1].digest()).is_none());
        assert!(to.manifest(&index.manifests[2].digest()).is_some());
        let root = to.root().unwrap();
        assert_eq!(root.digest(), report.digest);
        let entries = Index::parse(&root).unwrap().entries;
        assert_eq!(entries.len(), if strip { 2 } else { 3 });
        assert_eq!(root == index.root, !strip);
    }
}

#[tokio::test]
async fn an_index_alone_moves_no_image() {
    let index = IndexSpec::oci(16, &PLATFORMS).build();
    let (from, to) = (Memory::holding("from", &index), Memory::new("to"));
    let options = Options {
        select: Select::IndexOnly,
        ..options()
    };
    copy(&from, &to, options).await.unwrap();
    assert_eq!(to.root(), Some(index.root.clone()));
    assert_eq!(to.blob_count(), 0);
}

#[tokio::test]
async fn an_index_within_an_index_is_followed() {
    let inner = IndexSpec::oci(17, &PLATFORMS).build();
    let outer = nested(&inner);
    let (from, to) = (Memory::holding("from", &outer), Memory::new("to"));
    let report = copy(&from, &to, all()).await.unwrap();
    assert_eq!(report.images, 3);
    assert_eq!(to.root(), Some(outer.root.clone()));
    assert_eq!(to.manifest(&inner.root.digest()), Some(inner.root.clone()));

    let to = Memory::new("to");
    copy(&from, &to, options()).await.unwrap();
    assert_eq!(to.root(), Some(inner.manifests[0].clone()));
}

/// An index that lists another one.
pub(crate) fn nested(inner: &SampleImage) -> SampleImage {
    listing(std::slice::from_ref(inner))
}

/// An index that lists these.
fn listing(images: &[SampleImage]) -> SampleImage {
    let entries: Vec<_> = images.iter().map(|image| image.root.descriptor()).collect();
    let text = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX.as_str(),
        "manifests": entries,
    });
    let text = text.to_string().into_bytes();
    let mut blobs: Vec<_> = images
        .iter()
        .flat_map(|image| image.blobs.clone())
        .collect();
    blobs.sort_by_key(|(descriptor, _)| descriptor.digest);
    blobs.dedup_by_key(|(descriptor, _)| descriptor.digest);
    SampleImage {
        root: RawManifest::new(text.into(), None).expect("this is an index"),
        manifests: images
            .iter()
            .flat_map(|image| image.all_manifests().cloned())
            .collect(),
        blobs,
    }
}

#[tokio::test]
async fn a_converted_image_is_what_the_model_makes_of_it() {
    let cases = [
        (
            ImageSpec::docker2(18),
            Format::Oci,
            ManifestKind::OciManifest,
        ),
        (
            ImageSpec::oci(19),
            Format::Docker2,
            ManifestKind::Docker2Manifest,
        ),
    ];
    for (spec, format, kind) in cases {
        let image = spec.build();
        let view = image_of(&image.root);
        let config = image.blob(&view.config.digest).unwrap();
        let expected = convert::image(&image.root, &view, config, &view.layers, kind).unwrap();
        let (from, to) = (Memory::holding("from", &image), Memory::new("to"));
        let options = Options {
            format: Some(format),
            ..options()
        };
        let report = copy(&from, &to, options.clone()).await.unwrap();
        assert_eq!(to.root(), Some(expected.manifest.clone()));
        assert_eq!(report.digest, expected.manifest.digest());
        assert_eq!(report.sent.blobs, 3, "the new config counts");
        assert_whole(&to, &expected.manifest);

        let dry = Options {
            dry_run: true,
            ..options
        };
        let planned = copy(&from, &Memory::new("dry"), dry).await.unwrap();
        assert_eq!(
            planned.digest,
            expected.manifest.digest(),
            "a dry run knows it"
        );
    }
}

#[tokio::test]
async fn an_index_is_converted_with_its_images() {
    let index = IndexSpec::docker2(20, &PLATFORMS).build();
    let (from, to) = (Memory::holding("from", &index), oci("to"));
    copy(&from, &to, all()).await.unwrap();
    let root = to.root().unwrap();
    assert_eq!(root.kind(), ManifestKind::OciIndex);
    for entry in Index::parse(&root).unwrap().entries {
        let member = to.manifest(&entry.digest).unwrap();
        assert_eq!(member.kind(), ManifestKind::OciManifest);
        assert_eq!(member.bytes().len() as u64, entry.size);
        assert_eq!(member.media_type(), entry.media_type);
        assert_whole(&to, &member);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uncompressed_layers_are_compressed_where_that_is_wanted() {
    let image = ImageSpec::oci(21)
        .layer_size(300_000)
        .uncompressed()
        .build();
    let (from, to) = (Memory::holding("from", &image), oci("to"));
    let report = copy(&from, &to, options()).await.unwrap();
    let root = to.root().unwrap();
    assert_eq!(root.digest(), report.digest);
    assert_whole(&to, &root);
    let (old, new) = (image_of(&image.root), image_of(&root));
    assert_eq!(new.config, old.config);
    for (old, new) in old.layers.iter().zip(&new.layers) {
        assert_eq!(new.media_type, MediaType::OCI_LAYER_GZIP);
        let mut tar = Vec::new();
        // A gzip file may have many members (RFC 1952, section 2.2), and those made here do.
        flate2::read::MultiGzDecoder::new(to.blob(&new.digest).unwrap().as_ref())
            .read_to_end(&mut tar)
            .unwrap();
        assert!(old.digest.matches(&tar));
    }
}

#[tokio::test]
async fn an_uncompressed_layer_that_is_there_stays_as_it_is() {
    let image = ImageSpec::oci(22).uncompressed().build();
    let (from, there) = (
        Memory::holding("from", &image),
        Memory::holding("to", &image),
    );
    let to = there.with_caps(|caps| caps.layers = LayerForm::Compressed);
    copy(&from, &to, options()).await.unwrap();
    assert_eq!(to.sent(), Vec::new());
    assert_eq!(to.root(), Some(image.root.clone()));
}

#[tokio::test]
async fn a_registry_is_asked_for_the_lowest_layer_uncompressed_and_for_the_others_if_it_has_that() {
    let image = ImageSpec::oci(25).layers(4).uncompressed().build();
    let layers = image_of(&image.root).layers;
    let digests: Vec<_> = layers.iter().map(|layer| layer.digest).collect();
    for there in [0, 1, 3] {
        let mut held = ImageSpec::oci(26).build();
        let blobs = image.blobs.iter();
        let blobs = blobs.filter(|(blob, _)| digests[..there].contains(&blob.digest));
        held.blobs = blobs.cloned().collect();
        let from = Memory::holding("from", &image);
        let to = Memory::holding("to", &held)
            .with_reference("r.test/a:1")
            .with_caps(|caps| caps.layers = LayerForm::Compressed);
        copy(&from, &to, options()).await.unwrap();
        let asked: Vec<_> = to
            .calls()
            .into_iter()
            .filter_map(|call| match call {
                Call::Reuse(Some(digest), _) if digests.contains(&digest) => Some(digest),
                _ => None,
            })
            .collect();
        assert_eq!(asked.len(), if there == 0 { 1 } else { 4 }, "{there}");
        assert_eq!(asked[0], digests[0]);
        // The config, and what had to be compressed.
        assert_eq!(to.sent().len(), 1 + 4 - there);
    }
}

#[tokio::test]
async fn a_layer_that_is_compressed_and_not_called_so_stays_as_it_is() {
    let mut image = ImageSpec::oci(23).layers(1).build();
    let text = String::from_utf8(image.root.bytes().to_vec()).unwrap();
    let text = text.replace("v1.tar+gzip", "v1.tar");
    image.root = RawManifest::new(text.into_bytes().into(), None).unwrap();
    let (from, to) = (Memory::holding("from", &image), oci("to"));
    copy(&from, &to, options()).await.unwrap();
    assert_eq!(to.root(), Some(image.root.clone()));
    assert_holds(&to, &image);
}

#[tokio::test]
async fn a_blob_of_two_types_is_kept_in_one_image_and_compressed_in_the_other() {
    // Both images list the same bytes: one as a plain layer, the other as something of its own.
    let image = ImageSpec::oci(24).layers(1).uncompressed().build();
    let text = String::from_utf8(image.root.bytes().to_vec()).unwrap();
    let text = text.replace(
        MediaType::OCI_LAYER.as_str(),
        "application/vnd.example.data",
    );
    let other = RawManifest::new(text.into_bytes().into(), None).unwrap();
    let other = SampleImage {
        root: other,
        ..image.clone()
    };
    let sample = listing(&[image.clone(), other.clone()]);
    let (from, to) = (Memory::holding("from", &sample), oci("to"));
    copy(&from, &to, all()).await.unwrap();
    let entries = Index::parse(&to.root().unwrap()).unwrap().entries;
    assert_ne!(entries[0].digest, image.root.digest());
    assert_eq!(entries[1].digest, other.root.digest());
    for entry in entries {
        assert_whole(&to, &to.manifest(&entry.digest).unwrap());
    }
}

#[tokio::test]
async fn a_foreign_layer_is_copied_where_it_cannot_stay_elsewhere() {
    let mut image = ImageSpec::docker2(25).with_foreign_layer().build();
    let foreign = image_of(&image.root).layers[0].clone();
    let to = Memory::new("to").with_caps(|caps| caps.foreign_layers = false);
    let error = copy(&Memory::holding("from", &image), &to, options()).await;
    assert!(error.is_err(), "the source does not have it");
    let bytes = noise(1, 10);
    assert_ne!(Digest::sha256(&bytes), foreign.digest);
    image.blobs.push((foreign, bytes.into()));
    let error = copy(&Memory::holding("from", &image), &to, options()).await;
    assert!(error.is_err(), "it is verified as any other");
}
