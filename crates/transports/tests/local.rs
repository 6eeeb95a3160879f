//! What `oci:` and `dir:` do beyond the conformance suite: names, errors, deletion, hostile input.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dhow_model::ManifestKind;
use dhow_testkit::conformance::{content, store, stored, want};
use dhow_testkit::image::{
    ImageSpec, IndexSpec, SampleImage, validate_dir, validate_layout, write_dir, write_layout,
};
use dhow_transport::{ByteRange, Deletion, Error, Kind, Location, Transport};
use dhow_transports::{dir, oci};
use futures_util::TryStreamExt as _;

fn layout(path: &Path, rest: &str) -> Arc<dyn Location> {
    let name = format!("{}{rest}", path.display());
    let parsed = oci::Oci::new(None).parse(&name);
    parsed.expect("the test names a place")
}

fn directory(path: &Path) -> Arc<dyn Location> {
    let parsed = dir::Dir::new().parse(&path.display().to_string());
    parsed.expect("the test names a place")
}

async fn source_error(location: &dyn Location) -> Error {
    let opened = location.source().await;
    opened.map(drop).expect_err("there is nothing to read")
}

async fn write(location: &dyn Location, image: &SampleImage) {
    let sink = location.sink().await.expect("the place opens");
    store(&*sink, image).await.expect("the image is stored");
}

#[tokio::test]
async fn an_image_of_a_layout_is_chosen_by_name_place_or_being_alone() {
    let place = tempfile::tempdir().unwrap();
    let (one, two) = (ImageSpec::oci(1).build(), ImageSpec::docker2(2).build());
    let path = place.path().join("a");
    write_layout(&path, &[("centos:7", &one), ("a/b@c", &two)]);
    for (rest, image) in [
        (":centos:7", &one),
        (":a/b@c", &two),
        (":@0", &one),
        (":@1", &two),
    ] {
        stored(&*layout(&path, rest).source().await.unwrap(), image).await;
    }
    for (rest, kind) in [
        ("", Kind::Invalid),
        (":centos:8", Kind::NotFound),
        (":@2", Kind::NotFound),
    ] {
        assert_eq!(source_error(&*layout(&path, rest)).await.kind(), kind);
    }
    let hint = source_error(&*layout(&path, ":centos:8")).await;
    assert!(hint.hint_text().unwrap().contains("centos:7"));
    // COMPAT(skopeo): not the exit code of a missing image.
    let nowhere = place.path().join("nowhere");
    for location in [layout(&nowhere, ":v1"), directory(&nowhere)] {
        assert_eq!(source_error(&*location).await.kind(), Kind::Io);
    }
    let alone = place.path().join("b");
    write_layout(&alone, &[("", &one)]);
    stored(&*layout(&alone, "").source().await.unwrap(), &one).await;
    assert!(layout(&alone, ":@0").sink().await.is_err());
}

#[tokio::test]
async fn names_are_listed_and_deleted_and_the_rest_stays() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a");
    let (one, two) = (ImageSpec::oci(3).build(), ImageSpec::oci(4).build());
    write_layout(&path, &[("v1", &one), ("v2", &two), ("v1.0", &one)]);
    let location = layout(&path, ":v2");
    let catalog = location.catalog().unwrap();
    let tags: Vec<String> = catalog.tags().try_collect().await.unwrap();
    assert_eq!(tags, ["v1", "v2", "v1.0"]);
    catalog.delete(Deletion::Named).await.unwrap();
    let again = catalog.delete(Deletion::Named).await.unwrap_err();
    assert_eq!(again.kind(), Kind::NotFound);
    let left = validate_layout(&path).unwrap();
    assert_eq!(left.names, ["v1", "v1.0"]);
    assert_eq!(left.blobs.len(), 1 + one.blobs.len());
    assert!(directory(&path).catalog().is_none());
}

#[tokio::test]
async fn dockers_types_are_stored_in_a_layout_when_somebody_insists() {
    let place = tempfile::tempdir().unwrap();
    let location = layout(&place.path().join("a"), ":v1");
    let list = IndexSpec::docker2(5, &["linux/amd64", "linux/arm64"]).build();
    let sink = location.sink().await.unwrap();
    assert!(!sink.caps().accepts(ManifestKind::Docker2List));
    drop(sink);
    write(&*location, &list).await;
    stored(&*location.source().await.unwrap(), &list).await;
}

#[tokio::test]
async fn a_broken_copy_of_a_blob_is_seen_when_read_and_replaced_when_written() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a");
    let image = ImageSpec::oci(6).build();
    write_layout(&path, &[("v1", &image)]);
    let (blob, bytes) = &image.blobs[1];
    fs::write(path.join("blobs/sha256").join(blob.digest.hex()), "cut").unwrap();
    let location = layout(&path, ":v1");
    let source = location.source().await.unwrap();
    let error = content(&*source, blob, ByteRange::All).await.unwrap_err();
    assert_eq!(error.kind(), Kind::SizeMismatch);
    let sink = location.sink().await.unwrap();
    assert!(!sink.has(&want(blob)).await.unwrap());
    write(&*location, &image).await;
    assert_eq!(
        content(&*source, blob, ByteRange::All).await.unwrap(),
        *bytes
    );
}

#[tokio::test]
async fn hostile_layouts_are_refused() {
    let image = ImageSpec::oci(7).build();
    let hex = image.root.digest().hex();
    let entry = |digest: &str, size: usize| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size}}}"#
        )
    };
    let size = image.root.bytes().len();
    let good = format!("sha256:{hex}");
    let index = |entry: &str| format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
    for (text, kind) in [
        (String::new(), Kind::Invalid),
        ("null".to_owned(), Kind::Invalid),
        (r#"{"manifests":7}"#.to_owned(), Kind::Invalid),
        (
            index(&entry("sha256:../../index.json", size)),
            Kind::Invalid,
        ),
        (index(&entry(&good.to_uppercase(), size)), Kind::Invalid),
        (index(&entry(&good, size + 1)), Kind::SizeMismatch),
        (
            index(&entry(&good, size)).replace("manifest.v1", "unknown.v1"),
            Kind::Unsupported,
        ),
        (
            index(&entry(&good, size)).replace("manifest.v1", "index.v1"),
            Kind::Invalid,
        ),
    ] {
        let place = tempfile::tempdir().unwrap();
        write_layout(place.path(), &[("", &image)]);
        fs::write(place.path().join("index.json"), &text).unwrap();
        let error = source_error(&*layout(place.path(), "")).await;
        assert_eq!(error.kind(), kind, "{text}: {error}");
    }
    // A manifest that is not what its digest says, and one that is no file.
    let place = tempfile::tempdir().unwrap();
    write_layout(place.path(), &[("", &image)]);
    let manifest = place.path().join("blobs/sha256").join(&hex);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        text.replace("\"size\":", "\"siz\u{65}\" :")
            .split_at(size)
            .0,
    )
    .unwrap();
    let error = source_error(&*layout(place.path(), "")).await;
    let kind = error.kind();
    assert!(
        matches!(kind, Kind::Invalid | Kind::DigestMismatch),
        "{error}"
    );
    fs::remove_file(&manifest).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &manifest, rustix::fs::Mode::RUSR).unwrap();
    let error = source_error(&*layout(place.path(), "")).await;
    assert_eq!(error.kind(), Kind::Io, "a pipe is not waited for");
}

#[tokio::test]
async fn a_directory_that_is_no_image_is_not_overwritten() {
    let image = ImageSpec::oci(8).build();
    for (file, text) in [
        ("thesis.tex", "important"),
        ("version", "Directory Transport Version: 1.0\n"),
        ("version", "Directory Transport Version: 1.1\n\n"),
    ] {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(file), text).unwrap();
        let location = directory(place.path());
        let error = location.sink().await.map(drop).unwrap_err();
        assert_eq!(error.kind(), Kind::Exists);
        assert_eq!(fs::read_to_string(place.path().join(file)).unwrap(), text);
    }
    // Also when it appears while the copy runs.
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("image");
    let sink = directory(&path).sink().await.unwrap();
    let (blob, bytes) = &image.blobs[0];
    let body = dhow_transport::Blob::from_bytes(bytes.clone());
    sink.put_blob(&want(blob), body).await.unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("thesis.tex"), "important").unwrap();
    assert_eq!(
        sink.commit(&image.root).await.unwrap_err().kind(),
        Kind::Exists
    );
    assert!(path.join("thesis.tex").exists());
    // A file is no directory, for either transport.
    let file = place.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(directory(&file).sink().await.is_err());
    assert!(layout(&file, ":v1").sink().await.is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
}

#[tokio::test]
async fn blobs_of_the_old_directory_are_taken_over_when_they_are_right() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("image");
    let image = ImageSpec::oci(9).build();
    write_dir(&path, &image);
    let (broken, bytes) = &image.blobs[1];
    let wrong = vec![0; bytes.len()];
    fs::write(path.join(broken.digest.hex()), wrong).unwrap();
    let sink = directory(&path).sink().await.unwrap();
    for (blob, bytes) in &image.blobs {
        let placed = sink.reuse(&want(blob)).await.unwrap();
        assert_eq!(placed.is_none(), blob.digest == broken.digest);
        if placed.is_none() {
            let body = dhow_transport::Blob::from_bytes(bytes.clone());
            sink.put_blob(&want(blob), body).await.unwrap();
        }
    }
    sink.commit(&image.root).await.unwrap();
    assert_eq!(validate_dir(&path).unwrap(), image.root.digest());
}

#[tokio::test]
async fn a_link_to_a_directory_stays_a_link() {
    let place = tempfile::tempdir().unwrap();
    let real = place.path().join("real");
    fs::create_dir(&real).unwrap();
    let link = place.path().join("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let image = ImageSpec::oci(10).build();
    for _ in 0..2 {
        write(&*directory(&link), &image).await;
        assert!(link.is_symlink());
        assert_eq!(validate_dir(&real).unwrap(), image.root.digest());
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn policy_scopes_are_absolute_and_without_links() {
    let place = tempfile::tempdir().unwrap();
    let real = place.path().canonicalize().unwrap();
    fs::create_dir(real.join("a")).unwrap();
    std::os::unix::fs::symlink(real.join("a"), real.join("link")).unwrap();
    let text = |path: &Path| path.display().to_string();
    let scopes = layout(&real.join("link/new"), ":v:1").policy_scopes();
    let expected = text(&real.join("a/new"));
    assert_eq!(scopes.identity.unwrap(), format!("{expected}:v:1"));
    assert_eq!(scopes.parents[..2], [expected, text(&real.join("a"))]);
    assert!(!scopes.parents.contains(&"/".to_owned()));
    let scopes = directory(&real.join("a")).policy_scopes();
    assert_eq!(scopes.identity.unwrap(), text(&real.join("a")));
    assert_eq!(scopes.parents[0], text(&real));
    for (scope, right) in [
        ("/a/b", true),
        ("/a/b:name", true),
        ("a", false),
        ("/", false),
        ("/a/../b", false),
        ("/a//b", false),
        ("", false),
    ] {
        let valid = oci::Oci::new(None).validate_policy_scope(scope).is_ok();
        assert_eq!(valid, right, "{scope}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_not_read() {
    let place = tempfile::tempdir().unwrap();
    let image = ImageSpec::oci(11).build();
    let large = " ".repeat(5 * 1024 * 1024);
    write_dir(&place.path().join("dir"), &image);
    fs::write(place.path().join("dir/manifest.json"), &large).unwrap();
    write_layout(&place.path().join("layout"), &[("v1", &image)]);
    let hex = image.root.digest().hex();
    let manifest = place.path().join("layout/blobs/sha256").join(hex);
    fs::write(manifest, &large).unwrap();
    for location in [
        directory(&place.path().join("dir")),
        layout(&place.path().join("layout"), ":v1"),
    ] {
        let kind = source_error(&*location).await.kind();
        assert!(matches!(kind, Kind::Invalid | Kind::Io), "{kind:?}");
    }
}

#[tokio::test]
async fn an_index_that_is_not_understood_is_not_overwritten() {
    let image = ImageSpec::oci(12).build();
    for text in ["", "{", "[]", r#"{"manifests":[{"digest":"sha256:x"}]}"#] {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("index.json"), text).unwrap();
        let sink = layout(place.path(), ":v1").sink().await.unwrap();
        let error = store(&*sink, &image).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let left = fs::read_to_string(place.path().join("index.json")).unwrap();
        assert_eq!(left, text);
    }
}
