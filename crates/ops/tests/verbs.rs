//! The verbs over layouts and directories, as a program that uses the library calls them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use dhow_config::{Config, Registries};
use dhow_model::{ManifestKind, MediaType, PlatformWish};
use dhow_ops::{
    CopyOptions, CopyRequest, DeleteRequest, EndpointOptions, Error, Event, Format, ImageName,
    InspectMode, InspectRequest, Inspection, ListTagsRequest, PolicyOption, Progress, RetryOptions,
    Select, Session, SessionOptions,
};
use dhow_testkit::image::{
    ImageSpec, IndexSpec, SampleImage, validate_layout, write_dir, write_layout,
};
use dhow_transport::Kind;

#[derive(Debug)]
struct Silent;

impl Progress for Silent {
    fn event(&self, _event: &Event) {}
}

fn session(policy: PolicyOption) -> Session {
    Session::new(SessionOptions {
        config: Arc::new(Config::default().with_registries(Registries::default())),
        user_agent: "test".to_owned(),
        tmp: std::env::temp_dir(),
        policy,
        platform: PlatformWish::new("linux", "amd64", None),
        stall: None,
    })
    .unwrap()
}

fn name(text: impl Into<String>) -> ImageName {
    ImageName {
        name: text.into(),
        endpoint: EndpointOptions::default(),
    }
}

fn oci(path: &Path, image: &str) -> ImageName {
    name(format!("oci:{}:{image}", path.display()))
}

async fn copy(
    from: ImageName,
    to: ImageName,
    options: CopyOptions,
) -> Result<dhow_ops::CopyReport, Error> {
    let request = CopyRequest {
        source: from,
        destination: to,
        options,
    };
    dhow_ops::copy(
        &session(PolicyOption::AcceptAnything),
        &request,
        Arc::new(Silent),
    )
    .await
}

async fn inspect(image: ImageName, mode: InspectMode) -> Result<Inspection, Error> {
    let request = InspectRequest {
        image,
        mode,
        retry: RetryOptions::default(),
    };
    dhow_ops::inspect(&session(PolicyOption::AcceptAnything), &request).await
}

fn layout_with(image: &SampleImage) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_layout(directory.path(), &[("app:1", image)]);
    directory
}

#[tokio::test]
async fn an_image_goes_from_layout_to_directory_and_back_unchanged() {
    let image = ImageSpec::oci(1).layers(3).build();
    let source = layout_with(&image);
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("dir");
    let through = name(format!("dir:{}", directory.display()));
    let first = copy(
        oci(source.path(), "app:1"),
        through.clone(),
        CopyOptions::default(),
    )
    .await
    .unwrap();
    assert_eq!(first.report.digest, image.root.digest());
    assert_eq!(first.report.sent.blobs, 4);
    let target = place.path().join("target");
    copy(through, oci(&target, "again:2"), CopyOptions::default())
        .await
        .unwrap();
    let content = validate_layout(&target).unwrap();
    drop(content);
    let Inspection::Bytes(bytes) = inspect(oci(&target, "again:2"), InspectMode::Raw)
        .await
        .unwrap()
    else {
        panic!("raw gives bytes")
    };
    assert_eq!(&bytes, image.root.bytes());
}

#[tokio::test]
async fn a_second_copy_moves_nothing() {
    let source = layout_with(&ImageSpec::oci(2).build());
    let target = tempfile::tempdir().unwrap();
    for sent in [true, false] {
        let done = copy(
            oci(source.path(), "app:1"),
            oci(target.path(), "t"),
            CopyOptions::default(),
        );
        assert_eq!(done.await.unwrap().report.sent.blobs > 0, sent);
    }
}

#[tokio::test]
async fn system_copies_one_image_of_an_index_and_all_copies_the_index() {
    let index = IndexSpec::oci(3, &["linux/amd64", "linux/arm64/v8"]).build();
    let source = layout_with(&index);
    let target = tempfile::tempdir().unwrap();
    let one = copy(
        oci(source.path(), "app:1"),
        oci(target.path(), "one"),
        CopyOptions::default(),
    )
    .await
    .unwrap();
    assert_eq!(one.report.media_type, MediaType::OCI_MANIFEST);
    let options = CopyOptions {
        select: Select::All,
        ..CopyOptions::default()
    };
    let all = copy(
        oci(source.path(), "app:1"),
        oci(target.path(), "all"),
        options,
    )
    .await
    .unwrap();
    assert_eq!(
        (all.report.digest, all.report.images),
        (index.root.digest(), 2)
    );
    validate_layout(target.path()).unwrap();
}

#[tokio::test]
async fn a_docker_image_becomes_an_oci_image_in_a_layout() {
    let image = ImageSpec::docker2(4).build();
    let place = tempfile::tempdir().unwrap();
    let (from, to) = (place.path().join("dir"), place.path().join("oci"));
    write_dir(&from, &image);
    let from = name(format!("dir:{}", from.display()));
    let done = copy(from.clone(), oci(&to, "x"), CopyOptions::default())
        .await
        .unwrap();
    assert_eq!(
        done.report.media_type,
        ManifestKind::OciManifest.media_type()
    );
    validate_layout(&to).unwrap();
    let frozen = CopyOptions {
        preserve_digests: true,
        ..CopyOptions::default()
    };
    let refused = copy(from, oci(&to, "y"), frozen).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unsupported);
    assert!(!refused.hints().is_empty());
}

#[tokio::test]
async fn a_missing_source_leaves_the_destination_untouched() {
    let source = layout_with(&ImageSpec::oci(5).build());
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    let error = copy(
        oci(source.path(), "nope"),
        oci(&target, "x"),
        CopyOptions::default(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hints()[0].contains("app:1"), "{:?}", error.hints());
    assert!(!target.exists());
}

#[tokio::test]
async fn a_dry_run_says_what_would_move_and_moves_nothing() {
    let source = layout_with(&ImageSpec::oci(6).layers(2).build());
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    let options = CopyOptions {
        dry_run: true,
        format: Some(Format::Docker2),
        ..CopyOptions::default()
    };
    let done = copy(oci(source.path(), "app:1"), oci(&target, "x"), options)
        .await
        .unwrap();
    let plan = done.report.plan.unwrap();
    assert!(plan.blobs.iter().all(|blob| blob.present == Some(false)));
    assert!(plan.manifests[0].change.is_some());
    assert!(!target.exists());
}

#[tokio::test]
async fn a_policy_that_rejects_stops_the_copy_before_anything_is_written() {
    let source = layout_with(&ImageSpec::oci(7).build());
    let place = tempfile::tempdir().unwrap();
    let policy = place.path().join("policy.json");
    std::fs::write(&policy, r#"{"default":[{"type":"reject"}]}"#).unwrap();
    let target = place.path().join("target");
    let request = CopyRequest {
        source: oci(source.path(), "app:1"),
        destination: oci(&target, "x"),
        options: CopyOptions::default(),
    };
    let error = dhow_ops::copy(
        &session(PolicyOption::File(policy)),
        &request,
        Arc::new(Silent),
    )
    .await;
    assert_eq!(error.unwrap_err().kind(), Kind::Rejected);
    assert!(!target.exists());
}

#[tokio::test]
async fn inspect_tells_the_image_for_the_platform_and_the_digest_of_the_index() {
    let index = IndexSpec::oci(8, &["linux/arm64/v8", "linux/amd64"]).build();
    let source = layout_with(&index);
    let mode = InspectMode::Summary { tags: true };
    let Inspection::Summary(summary) = inspect(oci(source.path(), "app:1"), mode).await.unwrap()
    else {
        panic!("a summary was asked for")
    };
    assert_eq!(summary.digest, index.root.digest());
    assert_eq!(summary.architecture, "amd64");
    assert_eq!(summary.repo_tags.as_deref(), Some(&[][..]));
    assert_eq!(summary.layers.len(), summary.layers_data.len());
}

#[tokio::test]
async fn an_artifact_can_be_looked_at_only_as_it_is() {
    let source = layout_with(&ImageSpec::artifact(9).build());
    let mode = InspectMode::Summary { tags: false };
    let error = inspect(oci(source.path(), "app:1"), mode)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(
        inspect(oci(source.path(), "app:1"), InspectMode::Raw)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn names_of_a_layout_are_listed_and_deleted() {
    let source = tempfile::tempdir().unwrap();
    let (one, two) = (ImageSpec::oci(10).build(), ImageSpec::oci(11).build());
    write_layout(source.path(), &[("1", &one), ("2", &two)]);
    let session = session(PolicyOption::AcceptAnything);
    let list = ListTagsRequest {
        filter: dhow_ops::TagFilter::default(),
        image: name(format!("oci:{}", source.path().display())),
        retry: RetryOptions::default(),
    };
    assert_eq!(
        dhow_ops::list_tags(&session, &list).await.unwrap().tags,
        ["1", "2"]
    );
    let image = oci(source.path(), "1");
    dhow_ops::delete(
        &session,
        &DeleteRequest {
            image,
            retry: RetryOptions::default(),
        },
    )
    .await
    .unwrap();
    assert_eq!(
        dhow_ops::list_tags(&session, &list).await.unwrap().tags,
        ["2"]
    );
    validate_layout(source.path()).unwrap();
}

#[tokio::test]
async fn wrong_names_are_told_apart() {
    for bad in [
        "centos:7",
        "ftp:x",
        "docker:centos",
        "oci:",
        "dir:",
        "docker://quay.io/UPPER",
    ] {
        let error = inspect(name(bad), InspectMode::Raw).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{bad}");
    }
}
