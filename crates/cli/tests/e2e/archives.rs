//! Archives: what others write is read, and what is written here others read.

use std::fs;

use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage, write_layout};

use crate::dhow::Desk;
use crate::samples::PLATFORMS;
use crate::tools;

fn desk(images: &[(&str, &SampleImage)]) -> Desk {
    let desk = Desk::new();
    write_layout(&desk.path("origin"), images);
    desk
}

#[test]
fn skopeo_reads_our_oci_archives_and_we_read_its() {
    if !tools::has("skopeo") {
        return;
    }
    let one = ImageSpec::oci(41).layers(3).build();
    let all = IndexSpec::oci(42, &PLATFORMS).build();
    let desk = desk(&[("one", &one), ("all", &all)]);
    for (name, image) in [("one", &one), ("all", &all)] {
        let from = format!("oci:./origin:{name}");
        let digest = image.root.digest().to_string();
        desk.dhow(&[
            "copy",
            "--all",
            &from,
            &format!("oci-archive:./ours.tar:{name}"),
        ])
        .ok();
        let theirs = format!("oci-archive:./theirs-{name}.tar:{name}");
        tools::run_skopeo(&desk, &["copy", "-q", "--all", &from, &theirs]);
        let back = format!("dir:./back-{name}");
        let ours = format!("oci-archive:./ours.tar:{name}");
        tools::run_skopeo(&desk, &["copy", "-q", "--all", &ours, &back]);
        let manifest = fs::read(desk.path(&format!("back-{name}/manifest.json"))).unwrap();
        assert_eq!(manifest, image.root.bytes()[..]);
        desk.dhow(&["copy", "--all", &theirs, &format!("oci:./again:{name}")])
            .ok();
        let summary = desk.dhow(&["inspect", &theirs]).json();
        assert_eq!(summary["Digest"], digest);
        let raw = desk.dhow(&["inspect", "--raw", &ours]).ok();
        assert_eq!(raw.as_bytes(), &image.root.bytes()[..]);
    }
    let tags = desk.dhow(&["list-tags", "oci-archive:./ours.tar"]).json();
    assert_eq!(tags["Tags"], serde_json::json!(["one", "all"]));
    // GNU tar sees the same files.
    let listed = crate::dhow::outcome(desk.dressed("tar").args(["-tf", "ours.tar"])).ok();
    let names: Vec<&str> = listed.lines().collect();
    assert_eq!(names[..2], ["blobs/", "blobs/sha256/"]);
    assert_eq!(names[names.len() - 2..], ["index.json", "oci-layout"]);
}

#[test]
fn what_podman_saves_is_read() {
    if !tools::has("podman") || !tools::has("skopeo") || !tools::is_root() {
        return;
    }
    let image = ImageSpec::oci(43).build();
    let desk = desk(&[("image", &image)]);
    let policy = desk.path("policy.json");
    fs::write(
        &policy,
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    let policy = format!("--signature-policy={}", policy.display());
    let podman = |arguments: &[&str]| {
        let mut command = desk.dressed("podman");
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(desk.path("root"))
            .arg("--runroot")
            .arg(desk.path("run"))
            .args(arguments);
        crate::dhow::outcome(&mut command).ok()
    };
    let pulled = podman(&["pull", "--quiet", &policy, "oci:origin:image"]);
    let save = [
        "save",
        "--quiet",
        "--format",
        "oci-archive",
        "-o",
        "saved.tar",
        pulled.trim(),
    ];
    podman(&save);
    let summary = desk.dhow(&["inspect", "oci-archive:./saved.tar"]).json();
    assert_eq!(summary["Architecture"], "amd64");
    desk.dhow(&["copy", "oci-archive:./saved.tar", "oci:./copied:image"])
        .ok();
    dhow_testkit::image::validate_layout(&desk.path("copied")).expect("every digest is right");
    podman(&["rmi", "--all", "--force"]);
}

#[test]
fn an_archive_goes_through_a_pipe() {
    let image = ImageSpec::oci(44).build();
    let desk = desk(&[("image", &image)]);
    let script = format!(
        "{} copy -q oci:./origin:image oci-archive:/dev/stdout:image | cat > piped.tar",
        crate::dhow::binary().display()
    );
    crate::dhow::outcome(desk.dressed("sh").args(["-c", &script])).ok();
    let raw = desk
        .dhow(&["inspect", "--raw", "oci-archive:./piped.tar:image"])
        .ok();
    assert_eq!(raw.as_bytes(), &image.root.bytes()[..]);
    let told = desk
        .dhow(&["inspect", "oci-archive:./missing.tar"])
        .fails(9);
    assert!(told.contains("missing.tar"), "{told}");
    let told = desk
        .dhow(&["inspect", "oci-archive:./piped.tar:other"])
        .fails(2);
    assert!(told.contains("other") && told.contains("image"), "{told}");
}
