//! What goes wrong, and what must not be there then.

use std::sync::Arc;
use std::time::Duration;

use dhow_copy::{Error, Event, Options, PlanError, Side};
use dhow_model::{Digest, Index, ManifestKind, RawManifest};
use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage};
use dhow_testkit::memory::{Call, Fault, Memory};
use dhow_transport::Kind;

use super::transfers::nested;
use super::{Events, all, assert_holds, copy, copy_watched, image_of, options, platforms};

fn layer(image: &SampleImage, place: usize) -> Digest {
    image_of(&image.root).layers[place].digest
}

fn kind(result: Result<dhow_copy::Report, Error>) -> Kind {
    result.expect_err("the copy ends with an error").kind()
}

#[tokio::test]
async fn a_source_that_is_not_there_leaves_the_destination_alone() {
    let to = Memory::new("to");
    let result = copy(&Memory::new("from"), &to, options()).await;
    assert_eq!(kind(result), Kind::NotFound);
    assert_eq!(to.calls(), Vec::new());
}

#[tokio::test]
async fn wrong_content_is_found_and_nothing_is_committed() {
    let cases = [
        (Fault::Corrupt as fn(Digest) -> Fault, Kind::DigestMismatch),
        (Fault::Truncate, Kind::SizeMismatch),
    ];
    for (fault, expected) in cases {
        let image = ImageSpec::oci(1).build();
        let bad = layer(&image, 1);
        let from = Memory::holding("from", &image).with_fault(fault(bad));
        let to = Memory::new("to");
        let error = copy(&from, &to, options()).await.unwrap_err();
        assert_eq!(error.kind(), expected);
        assert!(
            matches!(&error, Error::Transport { side: Side::Source(name), .. } if name == "memory:from"),
            "{error}"
        );
        assert_eq!(to.root(), None);
        assert_eq!(to.blob(&bad), None);
    }
}

#[tokio::test]
async fn a_blob_that_is_said_to_have_no_bytes_is_not_read() {
    let honest = ImageSpec::oci(9).build();
    let text = String::from_utf8(honest.root.bytes().to_vec()).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    document["layers"][0]["size"] = 0.into();
    let mut image = honest;
    image.root = RawManifest::new(document.to_string().into(), None).unwrap();
    let from = Memory::holding("from", &image);
    let to = Memory::new("to");
    assert_eq!(kind(copy(&from, &to, options()).await), Kind::SizeMismatch);
    assert_eq!(to.blob_count(), 0);
}

#[tokio::test]
async fn wrong_content_that_the_sink_finds_is_the_fault_of_the_source() {
    let image = ImageSpec::oci(2).build();
    let from = Memory::holding("from", &image).with_fault(Fault::Corrupt(layer(&image, 0)));
    let to = Memory::new("to").with_caps(|caps| caps.verifies = true);
    let error = copy(&from, &to, options()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DigestMismatch);
    assert!(matches!(
        error,
        Error::Transport {
            side: Side::Source(_),
            ..
        }
    ));
}

#[tokio::test]
async fn a_config_that_is_wrong_is_found_before_anything_is_converted() {
    let image = ImageSpec::docker2(3).build();
    let config = image_of(&image.root).config.digest;
    let from = Memory::holding("from", &image).with_fault(Fault::Corrupt(config));
    let to = Memory::new("to").with_caps(|caps| caps.manifests = vec![ManifestKind::OciManifest]);
    assert_eq!(
        kind(copy(&from, &to, options()).await),
        Kind::DigestMismatch
    );
    assert_eq!(to.blob_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_breaks_is_tried_again() {
    let image = ImageSpec::oci(4).build();
    let from = Memory::holding("from", &image).with_fault(Fault::Break(layer(&image, 0), 4));
    let (to, events) = (Memory::new("to"), Arc::new(Events::default()));
    let options = Options {
        retries: 4,
        ..options()
    };
    copy_watched(&from, &to, options, Arc::clone(&events))
        .await
        .unwrap();
    assert_holds(&to, &image);
    assert_eq!(to.root(), Some(image.root.clone()));
    let retrying = |event: &Event| matches!(event, Event::Retrying { of: 5, .. });
    assert_eq!(events.count(retrying), 4);
}

#[tokio::test(start_paused = true)]
async fn manifests_are_read_and_written_again() {
    let index = IndexSpec::oci(19, &["linux/amd64", "linux/s390x"]).build();
    let busy = |place: Memory| {
        place
            .with_fault(Fault::Busy(index.root.digest(), 2))
            .with_fault(Fault::Busy(index.manifests[1].digest(), 2))
    };
    for (retries, works) in [(0, false), (1, false), (2, true)] {
        for spoil_source in [true, false] {
            let (mut from, mut to) = (Memory::holding("from", &index), Memory::new("to"));
            if spoil_source {
                from = busy(from);
            } else {
                to = busy(to);
            }
            let options = Options { retries, ..all() };
            let result = copy(&from, &to, options).await;
            assert_eq!(result.is_ok(), works);
            assert_eq!(to.root().is_some(), works);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trying_again_has_an_end() {
    // Where much passes before it breaks, it breaks in the same place all the same.
    for size in [1000, 5_000_000] {
        let image = ImageSpec::oci(5).layer_size(size).build();
        let victim = layer(&image, 0);
        let from = Memory::holding("from", &image).with_fault(Fault::Break(victim, 100));
        let to = Memory::new("to");
        let options = Options {
            retries: 3,
            ..options()
        };
        assert_eq!(kind(copy(&from, &to, options).await), Kind::Io);
        let reads = from.calls();
        let reads = reads.iter().filter(|call| **call == Call::Blob(victim));
        assert_eq!(reads.count(), 4, "{size}");
        assert_eq!(to.root(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_before_trying_again_doubles_unless_it_is_given() {
    let cases = [
        (None, Duration::from_secs(1 + 2 + 4)),
        (Some(Duration::from_secs(5)), Duration::from_secs(15)),
    ];
    for (delay, expected) in cases {
        let image = ImageSpec::oci(6).build();
        let from = Memory::holding("from", &image).with_fault(Fault::Break(layer(&image, 0), 3));
        let options = Options {
            retries: 3,
            retry_delay: delay,
            ..options()
        };
        let start = tokio::time::Instant::now();
        copy(&from, &Memory::new("to"), options).await.unwrap();
        let took = start.elapsed();
        assert!(
            took >= expected && took <= expected.mul_f64(1.11),
            "{took:?}"
        );
    }
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    let image = ImageSpec::oci(7).build();
    let victim = layer(&image, 0);
    let to = Memory::new("to").with_fault(Fault::Full(victim));
    let options = Options {
        retries: 9,
        ..options()
    };
    let error = copy(&Memory::holding("from", &image), &to, options).await;
    assert!(matches!(
        error,
        Err(Error::Transport {
            side: Side::Destination(_),
            ..
        })
    ));
    let puts = to.sent().into_iter().flatten();
    assert_eq!(puts.filter(|digest| *digest == victim).count(), 1);
}

#[tokio::test]
async fn the_first_error_ends_the_transfers_that_hang() {
    let image = ImageSpec::oci(8).layers(3).build();
    let from = Memory::holding("from", &image)
        .with_fault(Fault::Stall(layer(&image, 0)))
        .with_fault(Fault::Corrupt(layer(&image, 1)));
    let to = Memory::new("to");
    let copy = copy(&from, &to, options());
    let result = tokio::time::timeout(Duration::from_secs(10), copy).await;
    assert_eq!(kind(result.expect("it ends")), Kind::DigestMismatch);
    assert_eq!(to.in_flight(), 0, "nothing goes on afterwards");
}

#[tokio::test]
async fn a_copy_that_is_dropped_leaves_nothing_visible() {
    let image = ImageSpec::oci(9).build();
    let stuck = layer(&image, 0);
    let from = Memory::holding("from", &image).with_fault(Fault::Stall(stuck));
    let old = ImageSpec::oci(10).build();
    let to = Memory::holding("to", &old);
    let copy = copy(&from, &to, options());
    let result = tokio::time::timeout(Duration::from_millis(50), copy).await;
    assert!(result.is_err(), "it hangs until it is dropped");
    assert_eq!(to.blob(&stuck), None);
    assert_eq!(to.root(), Some(old.root.clone()));
}

#[tokio::test]
async fn another_format_is_offered_when_one_is_refused() {
    let image = ImageSpec::oci(11).build();
    let kinds = vec![ManifestKind::OciManifest, ManifestKind::Docker2Manifest];
    let picky = || {
        Memory::new("to")
            .with_caps(|caps| caps.manifests.clone_from(&kinds))
            .with_fault(Fault::Refuse(ManifestKind::OciManifest))
    };
    let (to, events) = (picky(), Arc::new(Events::default()));
    let from = Memory::holding("from", &image);
    copy_watched(&from, &to, options(), Arc::clone(&events))
        .await
        .unwrap();
    assert_eq!(to.root().unwrap().kind(), ManifestKind::Docker2Manifest);
    assert_eq!(to.sent().len(), image.blobs.len(), "no blob moves twice");
    assert_eq!(events.count(|event| matches!(event, Event::Notice(_))), 1);

    let frozen = Options {
        preserve_digests: true,
        ..options()
    };
    let to = picky();
    assert_eq!(kind(copy(&from, &to, frozen).await), Kind::ManifestRejected);
    assert_eq!(to.root(), None);
}

#[tokio::test]
async fn another_format_of_index_is_offered_when_one_is_refused() {
    let index = IndexSpec::oci(12, &["linux/amd64", "linux/s390x"]).build();
    let to = Memory::new("to").with_fault(Fault::Refuse(ManifestKind::OciIndex));
    copy(&Memory::holding("from", &index), &to, all())
        .await
        .unwrap();
    let root = to.root().unwrap();
    assert_eq!(root.kind(), ManifestKind::Docker2List);
    for entry in Index::parse(&root).unwrap().entries {
        assert!(to.manifest(&entry.digest).is_some());
    }
}

#[tokio::test]
async fn a_blob_that_was_said_to_be_there_and_is_not_is_sent_after_all() {
    for format in [None, Some(dhow_copy::Format::Docker2)] {
        let image = ImageSpec::oci(13).build();
        let missing = [layer(&image, 0), image_of(&image.root).config.digest];
        let to = Memory::new("to")
            .with_fault(Fault::Pretend(missing[0]))
            .with_fault(Fault::Pretend(missing[1]));
        let options = Options {
            format,
            ..options()
        };
        copy(&Memory::holding("from", &image), &to, options)
            .await
            .unwrap();
        assert_holds(&to, &image);
        assert!(to.root().is_some());
    }
}

#[tokio::test]
async fn an_index_whose_sizes_are_wrong_is_refused() {
    let mut index = IndexSpec::oci(14, &["linux/amd64"]).build();
    let text = String::from_utf8(index.root.bytes().to_vec()).unwrap();
    let size = index.manifests[0].bytes().len();
    let text = text.replace(&format!("\"size\":{size}"), "\"size\":7");
    index.root = dhow_model::RawManifest::new(text.into_bytes().into(), None).unwrap();
    let from = Memory::holding("from", &index);
    for options in [all(), options()] {
        let to = Memory::new("to");
        assert_eq!(kind(copy(&from, &to, options).await), Kind::SizeMismatch);
        assert_eq!(to.calls(), Vec::new());
    }
}

#[tokio::test]
async fn indexes_are_not_followed_without_end() {
    let mut index = IndexSpec::oci(15, &["linux/amd64"]).build();
    for _ in 0..9 {
        index = nested(&index);
    }
    let from = Memory::holding("from", &index);
    for options in [all(), options()] {
        let error = copy(&from, &Memory::new("to"), options).await.unwrap_err();
        assert!(
            matches!(error, Error::Plan(PlanError::TooDeep(_))),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_index_that_lists_too_much_is_refused_before_it_is_read() {
    let mut index = IndexSpec::oci(16, &["linux/amd64"]).build();
    let text = String::from_utf8(index.root.bytes().to_vec()).unwrap();
    let size = index.manifests[0].bytes().len();
    let text = text.replace(&format!("\"size\":{size}"), "\"size\":9000000000");
    index.root = dhow_model::RawManifest::new(text.into_bytes().into(), None).unwrap();
    let from = Memory::holding("from", &index);
    let error = copy(&from, &Memory::new("to"), all()).await.unwrap_err();
    assert!(matches!(error, Error::Plan(PlanError::TooMany)));
    assert!(
        !from
            .calls()
            .iter()
            .any(|call| matches!(call, Call::Manifest(_)))
    );
}

#[tokio::test]
async fn a_platform_that_is_not_there_is_named_with_those_that_are() {
    let index = IndexSpec::oci(17, &["linux/arm64/v8", "linux/s390x"]).build();
    let image = ImageSpec::oci(18).build();
    let cases = [
        (&index, options(), "linux/arm64/v8, linux/s390x"),
        (
            &index,
            Options {
                select: platforms(&["linux/s390x", "linux/riscv64"]),
                ..options()
            },
            "linux/arm64/v8, linux/s390x",
        ),
        (
            &image,
            Options {
                select: platforms(&["linux/s390x"]),
                ..options()
            },
            "linux/amd64",
        ),
    ];
    for (image, options, named) in cases {
        let to = Memory::new("to");
        let error = copy(&Memory::holding("from", image), &to, options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains(named), "{error}");
        assert!(error.hint_text().is_some());
        assert_eq!(to.calls(), Vec::new());
    }
}
