//! Bad input and bad luck: each gives a clear error with its exit code, and nothing is lost.

use std::fs;

use dhow_model::ManifestKind;
use dhow_testkit::image::{ImageSpec, SampleImage, validate_layout, write_layout};
use dhow_testkit::scripted::{Reply, ScriptedServer};

use crate::dhow::{Desk, outcome};
use crate::registry::{Registry, Wanted};
use crate::{samples, tools};

const NOT_FOUND: i32 = 2;
const UNREACHABLE: i32 = 5;
const VERIFICATION: i32 = 7;
const INVALID: i32 = 8;
const IO: i32 = 9;
const USAGE: i32 = 64;

/// A desk with a layout `target` that holds an image named `kept`.
fn desk() -> Desk {
    let desk = Desk::new();
    write_layout(
        &desk.path("target"),
        &[("kept", &ImageSpec::oci(1).build())],
    );
    desk
}

/// The layout still holds what it held, and nothing else.
#[track_caller]
fn nothing_is_lost(desk: &Desk) {
    let content = validate_layout(&desk.path("target")).expect("the layout is whole");
    assert_eq!(content.names, ["kept"]);
}

#[test]
fn names_that_are_none_are_refused() {
    let desk = desk();
    for (source, code, word) in [
        ("bogus:x", USAGE, "bogus"),                    // No such transport.
        ("centos:7", USAGE, "centos"), // A transport that is none, as Docker's users write it.
        ("docker:centos", USAGE, "//"), // Without the slashes.
        ("docker://127.0.0.1:1/UPPER", USAGE, "UPPER"), // Not a repository.
        ("docker://127.0.0.1:1/x:", USAGE, "x:"), // Not a tag.
        ("docker://127.0.0.1:1/x@sha256:12", USAGE, "sha256:12"), // Not a digest.
        ("oci:./target:missing", NOT_FOUND, "missing"), // Not in the layout.
        ("oci:./nowhere:kept", IO, "nowhere"), // No layout.
        ("dir:./nowhere", IO, "nowhere"), // No directory.
        ("docker://127.0.0.1:1/x:1", UNREACHABLE, "127.0.0.1:1"), // Nobody listens.
    ] {
        let message = desk
            .dhow(&["copy", "--src-tls-verify=false", source, "oci:./target:new"])
            .fails(code);
        assert!(message.contains(word), "{source}: {message}");
        nothing_is_lost(&desk);
    }
}

#[test]
fn a_missing_tag_is_not_found_and_near_tags_are_named() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = desk();
    let registry = Registry::debian(&desk, "hub", Wanted::default());
    let images = [("centos", "7.5.1804", ImageSpec::oci(2).build())];
    samples::publish(
        &desk,
        &registry.address,
        &images,
        &["--dest-tls-verify=false"],
    );
    let image = format!("docker://{}/centos:7.5.1840", registry.address);
    let message = desk
        .dhow(&["copy", "--src-tls-verify=false", &image, "oci:./target:new"])
        .fails(NOT_FOUND);
    assert!(
        message.contains("7.5.1840") && message.contains("7.5.1804"),
        "{message}"
    );
    nothing_is_lost(&desk);
}

/// What an evil registry does.
#[derive(Clone, Copy, Debug)]
enum Twist {
    OtherBytesAsBlob,
    OtherBytesAsManifest,
    TruncatedBlob,
    OversizedManifest,
    ManifestAndIndex,
    NotJson,
}

fn answer(image: &SampleImage, twist: Twist, path: &str) -> Reply {
    if path == "/v2/" {
        return Reply::status(200);
    }
    let kind = ManifestKind::OciManifest.media_type();
    let manifest = |bytes: Vec<u8>| {
        Reply::status(200)
            .header("content-type", kind.as_str())
            .body(bytes)
    };
    if let Some((_, name)) = path.split_once("/manifests/") {
        return match twist {
            Twist::OversizedManifest => {
                let mut bytes = image.root.bytes().to_vec();
                bytes.resize(5 * 1024 * 1024, b' ');
                manifest(bytes)
            }
            Twist::ManifestAndIndex => {
                let text = String::from_utf8_lossy(image.root.bytes());
                manifest(text.replacen('{', r#"{"manifests":[],"#, 1).into_bytes())
            }
            Twist::NotJson => manifest(b"<html>welcome</html>".to_vec()),
            Twist::OtherBytesAsManifest if name.starts_with("sha256:") => {
                manifest(ImageSpec::oci(99).build().root.bytes().to_vec())
            }
            _ => manifest(image.root.bytes().to_vec()),
        };
    }
    let found = image
        .blobs
        .iter()
        .find(|(blob, _)| path.ends_with(&blob.digest.to_string()));
    let Some((_, bytes)) = found else {
        return Reply::status(404);
    };
    match twist {
        Twist::OtherBytesAsBlob => {
            let mut other = bytes.to_vec();
            other[0] ^= 1;
            Reply::status(200).body(other)
        }
        Twist::TruncatedBlob => Reply::status(200)
            .body(bytes.clone())
            .cut_after(bytes.len() / 2),
        _ => Reply::status(200).body(bytes.clone()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evil_registry_is_found_out() {
    let image = ImageSpec::oci(5).build();
    for (twist, name, code) in [
        (Twist::OtherBytesAsBlob, ":1".to_owned(), VERIFICATION),
        (
            Twist::OtherBytesAsManifest,
            format!("@{}", image.root.digest()),
            VERIFICATION,
        ),
        (Twist::TruncatedBlob, ":1".to_owned(), UNREACHABLE),
        (Twist::OversizedManifest, ":1".to_owned(), INVALID),
        (Twist::ManifestAndIndex, ":1".to_owned(), INVALID),
        (Twist::NotJson, ":1".to_owned(), INVALID),
    ] {
        let desk = desk();
        let evil = image.clone();
        let server = ScriptedServer::start(move |seen, _| answer(&evil, twist, &seen.path)).await;
        let source = format!("docker://{}/evil{name}", server.address());
        for destination in ["oci:./target:new", "dir:./target-dir"] {
            if matches!(twist, Twist::TruncatedBlob) && destination.starts_with("dir:") {
                continue; // It is tried again for some seconds, which once is enough.
            }
            let copy = [
                "copy",
                "--quiet",
                "--src-tls-verify=false",
                &source,
                destination,
            ];
            let message = desk.dhow(&copy).fails(code);
            assert!(message.contains("error: "), "{twist:?}: {message}");
            assert!(message.lines().count() <= 12, "{twist:?}: {message}");
            nothing_is_lost(&desk);
            assert!(!desk.path("target-dir/manifest.json").exists(), "{twist:?}");
        }
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let desk = desk();
    fs::write(desk.path("in-the-way"), "a file").unwrap();
    for destination in [
        "oci:./in-the-way:new",
        "dir:./in-the-way",
        "oci:./in-the-way/deeper:new",
    ] {
        let message = desk
            .dhow(&["copy", "oci:./target:kept", destination])
            .fails(IO);
        assert!(message.contains("in-the-way"), "{message}");
    }
    assert_eq!(
        fs::read_to_string(desk.path("in-the-way")).unwrap(),
        "a file"
    );
    nothing_is_lost(&desk);
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    if !tools::is_root() {
        eprintln!("skipped: only root can mount a small disk");
        return;
    }
    let desk = desk();
    let small = desk.path("small");
    fs::create_dir(&small).unwrap();
    let mount = outcome(
        desk.dressed("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(&small),
    );
    if mount.code != Some(0) {
        eprintln!("skipped: this place lets nobody mount");
        return;
    }
    let _mounted = Mounted(&desk);
    let kept = ImageSpec::oci(1).build();
    write_layout(&small.join("target"), &[("kept", &kept)]);
    let large = ImageSpec::oci(8).layer_size(3 * 1024 * 1024).build();
    write_layout(&desk.path("large"), &[("image", &large)]);
    for destination in ["oci:./small/target:new", "dir:./small/dir"] {
        let message = desk
            .dhow(&["copy", "oci:./large:image", destination])
            .fails(IO);
        assert!(message.to_lowercase().contains("no space"), "{message}");
        let content = validate_layout(&small.join("target")).expect("the layout is whole");
        assert_eq!(content.names, ["kept"]);
        assert!(!small.join("dir/manifest.json").exists());
    }
    // What was begun does not keep the disk full.
    let little = ImageSpec::oci(9).build();
    write_layout(&desk.path("little"), &[("image", &little)]);
    desk.dhow(&["copy", "oci:./little:image", "oci:./small/target:new"])
        .ok();
}

/// A mounted `small`, taken away when it is dropped.
struct Mounted<'a>(&'a Desk);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        outcome(self.0.dressed("umount").arg(self.0.path("small"))).ok();
    }
}
