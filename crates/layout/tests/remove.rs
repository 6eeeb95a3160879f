//! Deleting images from a layout, and only what nothing else uses.

use std::fs;
use std::path::PathBuf;

use dhow_layout::Layout;
use dhow_model::{Annotations, Descriptor};
use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage, validate_layout, write_layout};
use tempfile::TempDir;

struct Fixture {
    _place: TempDir,
    path: PathBuf,
    layout: Layout,
}

fn layout_of(images: &[(&str, &SampleImage)]) -> Fixture {
    let place = tempfile::tempdir().expect("there is a place for files");
    let path = place.path().join("layout");
    write_layout(&path, images);
    Fixture {
        _place: place,
        layout: Layout::new(&path),
        path,
    }
}

fn named(name: &str) -> impl Fn(&Descriptor) -> bool {
    move |entry| entry.annotations.value(Annotations::REF_NAME) == Some(name)
}

#[test]
fn blobs_of_the_removed_image_go_and_shared_ones_stay() {
    let platforms = ["linux/amd64", "linux/arm64/v8"];
    let index = IndexSpec::oci(1, &platforms).build();
    let member = ImageSpec {
        shared_layers: 1,
        ..ImageSpec::oci(1)
    };
    let member = member.build();
    let other = ImageSpec::docker2(2).build();
    let all = [("all", &index), ("one", &member), ("other", &other)];

    let fixture = layout_of(&all);
    assert_eq!(fixture.layout.remove(named("all")).unwrap(), 1);
    let left = validate_layout(&fixture.path).unwrap();
    assert_eq!(left.names, ["one", "other"]);
    assert_eq!(left.blobs.len(), 2 * (1 + member.blobs.len()));

    let fixture = layout_of(&all);
    assert_eq!(fixture.layout.remove(named("one")).unwrap(), 1);
    let left = validate_layout(&fixture.path).unwrap();
    assert_eq!(left.names, ["all", "other"]);
    let of_index = 1 + index.manifests.len() + index.blobs.len();
    assert_eq!(left.blobs.len(), of_index + 1 + other.blobs.len());
}

#[test]
fn the_last_image_leaves_an_empty_layout() {
    let image = ImageSpec::oci(3).build();
    let fixture = layout_of(&[("a", &image), ("b", &image), ("", &image)]);
    assert_eq!(fixture.layout.remove(named("a")).unwrap(), 1);
    assert_eq!(fixture.layout.remove(named("a")).unwrap(), 0);
    assert_eq!(validate_layout(&fixture.path).unwrap().names, ["b"]);
    assert_eq!(fixture.layout.remove(|_| true).unwrap(), 2);
    assert!(validate_layout(&fixture.path).unwrap().blobs.is_empty());
}

#[test]
fn nothing_goes_when_it_is_not_known_what_the_others_use() {
    let (image, other) = (ImageSpec::oci(4).build(), ImageSpec::oci(5).build());
    let fixture = layout_of(&[("a", &image), ("b", &other)]);
    let before = fs::read(fixture.path.join("index.json")).unwrap();
    // A directory in the place of a manifest cannot be read, not even by root.
    let manifest = fixture.layout.blob_path(&other.root.digest());
    fs::remove_file(&manifest).unwrap();
    fs::create_dir(&manifest).unwrap();
    assert!(fixture.layout.remove(named("a")).is_err());
    let after = fs::read(fixture.path.join("index.json")).unwrap();
    assert_eq!(after, before);
    for (blob, _) in &image.blobs {
        assert_eq!(
            fixture.layout.blob_size(&blob.digest, None),
            Some(blob.size)
        );
    }
}

#[test]
fn what_a_document_of_an_unknown_kind_mentions_stays() {
    let image = ImageSpec::oci(6).build();
    let fixture = layout_of(&[("a", &image)]);
    let layer = image.blobs[1].0.clone();
    let text = format!(r#"{{"new":[{{"uses":"{}"}}]}}"#, layer.digest);
    let unknown = Descriptor::of(dhow_model::MediaType::OCTET_STREAM, text.as_bytes());
    fixture
        .layout
        .put_blob(&unknown.digest, text.as_bytes())
        .unwrap();
    fixture
        .layout
        .update_index(|index| {
            index.insert(&unknown, Some("unknown"));
            Ok(())
        })
        .unwrap();
    fixture.layout.remove(named("a")).unwrap();
    let left = |blob: &Descriptor| fixture.layout.blob_size(&blob.digest, None).is_some();
    assert!(left(&layer) && left(&unknown));
    assert!(!left(&image.root.descriptor()) && !left(&image.blobs[0].0));
}

#[test]
fn shared_blobs_are_left_alone() {
    let image = ImageSpec::oci(7).build();
    let fixture = layout_of(&[("a", &image)]);
    let shared = fixture.path.join("elsewhere");
    fs::rename(fixture.path.join("blobs"), &shared).unwrap();
    let layout = Layout::with_shared_blobs(&fixture.path, &shared);
    assert_eq!(layout.remove(named("a")).unwrap(), 1);
    assert!(layout.read_index().unwrap().entries().is_empty());
    for (blob, _) in &image.blobs {
        assert_eq!(layout.blob_size(&blob.digest, None), Some(blob.size));
    }
}

#[test]
fn removal_waits_for_those_who_are_writing() {
    let image = ImageSpec::oci(8).build();
    let fixture = layout_of(&[("a", &image)]);
    let writing = fixture.layout.lock_for_writing().unwrap();
    let layout = fixture.layout.clone();
    let (done, is_done) = std::sync::mpsc::channel();
    let remover = std::thread::spawn(move || {
        layout.remove(named("a")).unwrap();
        done.send(()).unwrap();
    });
    let early = is_done.recv_timeout(std::time::Duration::from_millis(100));
    assert!(early.is_err(), "a blob could be lost");
    drop(writing);
    is_done.recv().unwrap();
    remover.join().unwrap();
}
