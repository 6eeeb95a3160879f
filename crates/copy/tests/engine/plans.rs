//! What is planned: formats, changes, and what cannot be done.

use std::mem::discriminant;

use dhow_copy::{Error, Format, Options, PlanError, Select};
use dhow_model::ManifestKind;
use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage};
use dhow_testkit::memory::{Call, Memory};
use dhow_transport::{Kind, LayerForm};

use super::{all, copy, options, platforms};

use ManifestKind::{Docker2List, Docker2Manifest, OciIndex, OciManifest};

const OCI: &[ManifestKind] = &[OciManifest, OciIndex];
const DOCKER: &[ManifestKind] = &[Docker2Manifest, Docker2List];
const IMAGES: &[ManifestKind] = &[OciManifest, Docker2Manifest];
const ANY: &[ManifestKind] = &[];

fn taking(kinds: &'static [ManifestKind]) -> Memory {
    Memory::new("to").with_caps(|caps| {
        caps.manifests = kinds.to_vec();
        caps.layers = LayerForm::Compressed;
    })
}

async fn plan(
    image: &SampleImage,
    to: &Memory,
    options: Options,
) -> Result<dhow_copy::Report, Error> {
    let dry = Options {
        dry_run: true,
        ..options
    };
    copy(&Memory::holding("from", image), to, dry).await
}

fn formatted(format: Format) -> Options {
    Options {
        format: Some(format),
        ..all()
    }
}

#[tokio::test]
async fn formats_are_kept_where_taken_and_converted_where_not() {
    let oci = ImageSpec::oci(1).build();
    let docker = ImageSpec::docker2(1).build();
    let index = IndexSpec::oci(1, &["linux/amd64"]).build();
    let list = IndexSpec::docker2(1, &["linux/amd64"]).build();
    let (to_oci, to_docker) = (formatted(Format::Oci), formatted(Format::Docker2));
    let cases: &[(
        &SampleImage,
        &'static [ManifestKind],
        Options,
        ManifestKind,
        bool,
    )] = &[
        (&oci, ANY, all(), OciManifest, false),
        (&docker, ANY, all(), Docker2Manifest, false),
        (&docker, OCI, all(), OciManifest, true),
        (&oci, DOCKER, all(), Docker2Manifest, true),
        (&oci, ANY, to_docker.clone(), Docker2Manifest, true),
        (&oci, ANY, to_oci.clone(), OciManifest, false),
        (&docker, OCI, to_docker.clone(), Docker2Manifest, false), // as skopeo: force wins
        (&index, OCI, all(), OciIndex, false),
        (&index, DOCKER, all(), Docker2List, true),
        (&list, OCI, all(), OciIndex, true),
        (&list, ANY, to_oci, OciIndex, true),
        (&index, ANY, to_docker, Docker2List, true),
    ];
    for (number, (image, kinds, options, kind, changes)) in cases.iter().enumerate() {
        let report = plan(image, &taking(kinds), options.clone()).await.unwrap();
        let manifests = report.plan.unwrap().manifests;
        let root = manifests.last().unwrap();
        assert_eq!(root.media_type, kind.media_type(), "case {number}");
        assert_eq!(root.change.is_some(), *changes, "case {number}");
        assert_eq!(report.media_type, kind.media_type(), "case {number}");
    }
}

#[tokio::test]
async fn what_must_not_change_is_an_error_with_a_hint() {
    let oci = ImageSpec::oci(2).build();
    let docker = ImageSpec::docker2(2).build();
    let index = IndexSpec::oci(2, &["linux/amd64", "linux/s390x"]).build();
    let strip = Options {
        select: platforms(&["linux/s390x"]),
        strip_removed_platforms: true,
        ..options()
    };
    let cases = [
        (&oci, ANY, formatted(Format::Docker2)),
        (&docker, OCI, all()),
        (&index, ANY, strip),
        (&index, DOCKER, all()),
    ];
    for (image, kinds, options) in cases {
        let to = taking(kinds);
        plan(image, &to, options.clone())
            .await
            .expect("it works where it may change");
        let frozen = Options {
            preserve_digests: true,
            ..options.clone()
        };
        let name = format!("r.test/a@{}", image.root.digest());
        let by_digest = taking(kinds).with_reference(&name);
        for (to, options) in [(&to, frozen), (&by_digest, options)] {
            let error = plan(image, to, options).await.unwrap_err();
            assert!(
                matches!(error, Error::Plan(PlanError::Frozen { .. })),
                "{error}"
            );
            assert!(error.hint_text().is_some());
        }
    }
}

#[tokio::test]
async fn digests_are_preserved_where_nothing_must_change() {
    let image = ImageSpec::oci(3).uncompressed().build();
    let options = Options {
        preserve_digests: true,
        ..formatted(Format::Oci)
    };
    let to = taking(OCI);
    let report = copy(&Memory::holding("from", &image), &to, options)
        .await
        .unwrap();
    assert_eq!(report.digest, image.root.digest());
    assert_eq!(to.root(), Some(image.root));
}

#[tokio::test]
async fn a_destination_by_digest_takes_only_what_has_it() {
    let index = IndexSpec::oci(4, &["linux/amd64", "linux/s390x"]).build();
    let name = |digest| Memory::new("to").with_reference(&format!("r.test/a@{digest}"));
    let from = Memory::holding("from", &index);
    let (whole, image) = (index.root.digest(), index.manifests[0].digest());
    copy(&from, &name(whole), all()).await.unwrap();
    copy(&from, &name(image), options()).await.unwrap();
    for (digest, options) in [(whole, options()), (image, all())] {
        let to = name(digest);
        let error = copy(&from, &to, options).await.unwrap_err();
        assert_eq!(error.kind(), Kind::DigestMismatch);
        assert_eq!(to.calls(), [Call::Sink], "nothing moves");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said_before_anything_moves() {
    let image = ImageSpec::oci(5).build();
    let artifact = ImageSpec::artifact(5).build();
    let index = IndexSpec::oci(5, &["linux/amd64", "linux/s390x"]).build();
    let only = |names: &[&str]| Options {
        select: platforms(names),
        ..options()
    };
    let index_only = Options {
        select: Select::IndexOnly,
        ..options()
    };
    let strip = |options: Options| Options {
        strip_removed_platforms: true,
        ..options
    };
    let dense = || Memory::new("to").with_caps(|caps| caps.sparse_index = false);
    let to_docker = PlanError::Convert {
        to: Docker2Manifest,
        source: dhow_model::convert::ConvertError::LayerCount {
            expected: 0,
            actual: 0,
        },
    };
    let cases = [
        (
            &image,
            taking(ANY),
            index_only.clone(),
            PlanError::NotAnIndex(""),
        ),
        (
            &image,
            taking(ANY),
            strip(only(&["linux/amd64"])),
            PlanError::NotAnIndex(""),
        ),
        (&index, taking(ANY), strip(all()), PlanError::NothingToStrip),
        (
            &index,
            taking(ANY),
            strip(index_only.clone()),
            PlanError::NothingToStrip,
        ),
        (&index, taking(IMAGES), all(), PlanError::NoIndexes),
        (&index, dense(), index_only, PlanError::NoSparseIndexes),
        (
            &index,
            dense(),
            only(&["linux/amd64"]),
            PlanError::NoSparseIndexes,
        ),
        (
            &artifact,
            taking(ANY),
            formatted(Format::Docker2),
            to_docker,
        ),
    ];
    for (image, to, options, expected) in cases {
        let error = copy(&Memory::holding("from", image), &to, options)
            .await
            .unwrap_err();
        let Error::Plan(found) = &error else {
            panic!("{error}");
        };
        assert_eq!(discriminant(found), discriminant(&expected), "{error}");
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.hint_text().is_some(), "{error}");
        assert!(to.calls().is_empty() || to.calls() == [Call::Sink]);
    }
    // Where the index is stripped, no image is missing.
    let options = strip(only(&["linux/amd64"]));
    copy(&Memory::holding("from", &index), &dense(), options)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dry_run_says_what_is_there_and_changes_nothing() {
    let index = IndexSpec::oci(6, &["linux/amd64", "linux/s390x"]).build();
    let mut half = index.clone();
    half.blobs.truncate(3);
    let (from, to) = (
        Memory::holding("from", &index),
        Memory::holding("to", &half),
    );
    let report = plan(&index, &to, all()).await.unwrap();
    let plan = report.plan.unwrap();
    assert_eq!(plan.manifests.len(), 3);
    assert_eq!(plan.blobs.len(), index.blobs.len());
    assert!(plan.blobs.is_sorted_by(|a, b| a.size >= b.size));
    for blob in &plan.blobs {
        assert_eq!(blob.present, Some(half.blob(&blob.digest).is_some()));
    }
    assert_eq!(report.images, 2);
    assert!(
        to.calls()
            .iter()
            .all(|call| matches!(call, Call::Sink | Call::Has(_)))
    );
    assert!(
        !from
            .calls()
            .iter()
            .any(|call| matches!(call, Call::Blob(_)))
    );
}
