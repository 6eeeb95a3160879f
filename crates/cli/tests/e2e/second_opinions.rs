//! What dhow writes, Debian's skopeo and umoci read, and the other way round; images that are
//! converted come out with skopeo's digests.

use dhow_model::Digest;
use dhow_testkit::image::{
    ImageSpec, IndexSpec, SampleImage, validate_dir, write_dir, write_layout,
};

use crate::dhow::{Desk, outcome};
use crate::{samples, tools};

#[test]
fn skopeo_and_umoci_read_what_dhow_wrote() {
    if !tools::has("skopeo") || !tools::has("umoci") {
        return;
    }
    let desk = Desk::new();
    let image = ImageSpec::oci(1).build();
    let index = IndexSpec::oci(2, &samples::PLATFORMS).build();
    write_layout(&desk.path("origin"), &[("one", &image), ("all", &index)]);
    for (name, sample) in [("one", &image), ("all", &index)] {
        let from = format!("oci:./origin:{name}");
        let layout = format!("oci:./copied:{name}");
        desk.dhow(&["copy", "--all", &from, &layout]).ok();
        let raw = tools::run_skopeo(&desk, &["inspect", "--raw", &layout]);
        assert_eq!(raw.as_bytes(), sample.root.bytes().as_ref());
        tools::run_skopeo(
            &desk,
            &["copy", "-q", "--all", &layout, &format!("dir:./on-{name}")],
        );
        assert_eq!(
            validate_dir(&desk.path(&format!("on-{name}"))).unwrap(),
            sample.root.digest()
        );

        let directory = format!("dir:./dir-{name}");
        desk.dhow(&["copy", "--all", &layout, &directory]).ok();
        let again = format!("dir:./again-{name}");
        tools::run_skopeo(&desk, &["copy", "-q", "--all", &directory, &again]);
        assert_eq!(
            validate_dir(&desk.path(&format!("again-{name}"))).unwrap(),
            sample.root.digest()
        );
    }
    let unpack = [
        "unpack",
        "--rootless",
        "--image",
        "./copied:one",
        "./bundle",
    ];
    outcome(desk.dressed("umoci").args(unpack)).ok();
    let note = std::fs::read_to_string(desk.path("bundle/rootfs/etc/note-1")).unwrap();
    assert!(note.starts_with("layer 1 of image 1"), "{note}");
}

#[test]
fn dhow_reads_what_skopeo_and_umoci_wrote() {
    if !tools::has("skopeo") || !tools::has("umoci") {
        return;
    }
    let desk = Desk::new();
    let index = IndexSpec::oci(3, &samples::PLATFORMS).build();
    write_layout(&desk.path("origin"), &[("all", &index)]);
    for target in ["oci:./theirs:all", "dir:./theirs-dir"] {
        tools::run_skopeo(&desk, &["copy", "-q", "--all", "oci:./origin:all", target]);
        desk.dhow(&["copy", "--all", target, "dir:./back"]).ok();
        assert_eq!(
            validate_dir(&desk.path("back")).unwrap(),
            index.root.digest()
        );
    }
    for arguments in [
        &["init", "--layout", "./fresh"][..],
        &["new", "--image", "./fresh:empty"],
        &[
            "config",
            "--image",
            "./fresh:empty",
            "--author",
            "umoci",
            "--architecture",
            "amd64",
        ],
    ] {
        outcome(desk.dressed("umoci").args(arguments)).ok();
    }
    let summary = desk
        .dhow(&["inspect", "--config", "oci:./fresh:empty"])
        .json();
    assert_eq!(summary["author"], "umoci");
    desk.dhow(&["copy", "oci:./fresh:empty", "oci:./fresh:copied"])
        .ok();
}

#[test]
fn inspect_says_what_skopeo_says() {
    if !tools::has("skopeo") {
        return;
    }
    let desk = Desk::new();
    let image = ImageSpec::oci(4).layers(3).build();
    write_layout(&desk.path("layout"), &[("one", &image)]);
    let place = "oci:./layout:one";
    let ours = desk.dhow(&["inspect", place]).json();
    let theirs: serde_json::Value =
        serde_json::from_str(&tools::run_skopeo(&desk, &["inspect", place])).unwrap();
    for (key, value) in theirs.as_object().expect("it is an object") {
        assert_eq!(&ours[key], value, "{key}");
    }
    let ours = desk.dhow(&["inspect", "--config", place]).json();
    let theirs: serde_json::Value =
        serde_json::from_str(&tools::run_skopeo(&desk, &["inspect", "--config", place])).unwrap();
    assert_eq!(ours, theirs);
    for format in [
        "{{.Digest}} {{.Architecture}}",
        "{{range .Layers}}{{.}},{{end}}",
    ] {
        let ours = desk.dhow(&["inspect", "--format", format, place]).ok();
        assert_eq!(
            ours,
            tools::run_skopeo(&desk, &["inspect", "--format", format, place]),
            "{format}"
        );
    }
}

#[test]
fn converted_images_have_skopeos_digests() {
    if !tools::has("skopeo") {
        return;
    }
    let desk = Desk::new();
    // Debian's skopeo is older than the one that dhow follows and writes `variant` elsewhere, so that
    // no platform has one here (docs/design/compat-skopeo.md).
    let images: [(&str, SampleImage); 3] = [
        ("gzip", ImageSpec::docker2(5).layers(3).build()),
        ("tar", ImageSpec::docker2(6).uncompressed().build()),
        (
            "list",
            IndexSpec::docker2(7, &["linux/amd64", "linux/s390x"]).build(),
        ),
    ];
    for (name, image) in &images {
        write_dir(&desk.path(name), image);
        let from = format!("dir:./{name}");
        let oci = both(&desk, "oci", &from, &format!("{name}-oci"));
        assert_ne!(oci, image.root.digest(), "{name}");
        both(
            &desk,
            "v2s2",
            &format!("dir:./{name}-oci-dhow"),
            &format!("{name}-back"),
        );
    }
}

/// Lets both tools convert an image and returns the digest that both must come to.
#[track_caller]
fn both(desk: &Desk, format: &str, from: &str, to: &str) -> Digest {
    let flags = ["copy", "-q", "--all", "--format", format, from];
    let ours = format!("dir:./{to}-dhow");
    desk.dhow(&[&flags[..], &[&ours]].concat()).ok();
    tools::run_skopeo(
        desk,
        &[&flags[..], &[&format!("dir:./{to}-skopeo")]].concat(),
    );
    let ours = validate_dir(&desk.path(&format!("{to}-dhow"))).unwrap();
    let theirs = validate_dir(&desk.path(&format!("{to}-skopeo"))).unwrap();
    assert_eq!(ours, theirs, "{from} as {format}");
    ours
}
