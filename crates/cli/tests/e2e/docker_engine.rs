//! Images in a real Docker engine: what dhow puts there the engine knows as its own, and what the
//! engine saves dhow reads.

use std::fs;

use dhow_model::Digest;
use dhow_testkit::image::{
    ImageSpec, IndexSpec, SampleImage, docker1, validate_dir, validate_layout, write_dir,
    write_layout,
};
use serde_json::{Value, json};

use crate::dhow::{Desk, Outcome, outcome};
use crate::engine::Engine;
use crate::registry::{Registry, Wanted};
use crate::samples::{self, PLATFORMS};
use crate::tools;

/// Runs dhow with the engine in its environment.
fn dhow(desk: &Desk, engine: &Engine, arguments: &[&str]) -> Outcome {
    let mut command = desk.command();
    outcome(command.env("DOCKER_HOST", engine.host()).args(arguments))
}

/// Returns the digest of the config of an image, which is its ID in an engine.
fn id(image: &SampleImage) -> String {
    image.blobs[0].0.digest.to_string()
}

/// Returns the digests of the contents of the layers of an image, base first.
fn diff_ids(image: &SampleImage) -> Value {
    let config: Value = serde_json::from_slice(&image.blobs[0].1).unwrap();
    config["rootfs"]["diff_ids"].clone()
}

/// Checks that the engine has an image under a name, with its config and its layers.
#[track_caller]
fn assert_has(engine: &Engine, name: &str, image: &SampleImage) {
    let told = engine.image(name);
    assert_eq!(told["Id"], id(image), "{name}");
    assert_eq!(told["RootFS"]["Layers"], diff_ids(image), "{name}");
    let names = told["RepoTags"].as_array().expect("it is a list");
    assert!(names.contains(&json!(name)), "{names:?}");
}

/// Checks that a layout holds one image, nothing but what its digests say, and the contents of the
/// layers of that image. Its config is one of OCI's own.
#[track_caller]
fn assert_layout_has(desk: &Desk, name: &str, image: &SampleImage) {
    let content = validate_layout(&desk.path(name)).expect("every digest is right");
    assert_eq!(content.names, ["1"]);
    let layers = diff_ids(image);
    let count = layers.as_array().expect("it is a list").len();
    assert_eq!(content.blobs.len(), count + 2, "{content:?}");
    let config = ["inspect", "--config", &format!("oci:./{name}:1")];
    assert_eq!(desk.dhow(&config).json()["rootfs"]["diff_ids"], layers);
}

#[test]
fn heavy_an_image_goes_from_a_registry_into_an_engine_and_back() {
    if !tools::has("docker-registry") {
        return;
    }
    let Some(engine) = Engine::start() else {
        return;
    };
    let desk = Desk::new();
    let hub = Registry::debian(&desk, "hub", Wanted::default());
    let image = ImageSpec::oci(61).layers(3).empty_steps(2).build();
    write_layout(&desk.path("origin"), &[("image", &image)]);
    let remote = format!("docker://{}/x:1", hub.address);
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    desk.dhow(&["copy", plain[1], "oci:./origin:image", &remote])
        .ok();

    dhow(
        &desk,
        &engine,
        &["copy", plain[0], &remote, "docker-daemon:x:1"],
    )
    .ok();
    assert_has(&engine, "x:1", &image);
    let told = engine.image("x:1");
    assert_eq!(told["Config"]["WorkingDir"], "/data");
    assert_eq!(told["Architecture"], "amd64");

    // What the engine saves.
    engine.save(&["x:1"], &desk.path("saved.tar"));
    let config = ["inspect", "--config", "docker-archive:./saved.tar"];
    assert_eq!(desk.dhow(&config).json()["rootfs"]["diff_ids"], {
        diff_ids(&image)
    });
    let summary = desk.dhow(&["inspect", "docker-archive:./saved.tar"]).json();
    let tags = desk
        .dhow(&["list-tags", "docker-archive:./saved.tar"])
        .json();
    assert_eq!(tags["Tags"], json!(["x:1"]));
    desk.dhow(&["copy", "docker-archive:./saved.tar", "oci:./saved:1"])
        .ok();
    assert_layout_has(&desk, "saved", &image);

    // The image of the engine itself, by its name and by its ID.
    let by_id = format!("docker-daemon:{}", id(&image));
    for (from, to) in [("docker-daemon:x:1", "by-name"), (&by_id, "by-id")] {
        let inspected = dhow(&desk, &engine, &["inspect", from]).json();
        assert_eq!(inspected["Layers"], summary["Layers"], "{from}");
        assert_eq!(inspected["Architecture"], "amd64");
        assert_eq!(inspected["Labels"]["seed"], "61");
        let raw = dhow(&desk, &engine, &["inspect", "--config", "--raw", from]).ok();
        assert_eq!(raw.as_bytes(), &image.blobs[0].1[..], "{from}");
        dhow(&desk, &engine, &["copy", from, &format!("oci:./{to}:1")]).ok();
        assert_layout_has(&desk, to, &image);
    }
    // All the way back, where nothing that was there is sent again.
    let again = format!("docker://{}/again:1", hub.address);
    dhow(
        &desk,
        &engine,
        &["copy", plain[1], "docker-daemon:x:1", &again],
    )
    .ok();
    let raw = desk
        .dhow(&["inspect", "--tls-verify=false", "--config", "--raw", &again])
        .ok();
    assert_eq!(raw.as_bytes(), &image.blobs[0].1[..]);
}

#[test]
fn heavy_the_engine_loads_our_archives_and_we_read_what_it_saves() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let desk = Desk::new();
    let base = ImageSpec::oci(62).layers(2).build();
    let above = ImageSpec::oci(62).layers(3).build();
    let other = ImageSpec::docker2(63).uncompressed().build();
    write_layout(
        &desk.path("origin"),
        &[("base", &base), ("above", &above), ("other", &other)],
    );
    let copied = |from: &str, to: &str| {
        desk.dhow(&["copy", &format!("oci:./origin:{from}"), to])
            .ok();
    };
    copied("base", "docker-archive:./one.tar:x:2");
    let said = engine.load(&desk.path("one.tar"));
    assert!(said.contains("Loaded image: x:2"), "{said}");
    assert_has(&engine, "x:2", &base);

    copied("above", "docker-archive:./more.tar:y:1");
    copied(
        "other",
        "docker-archive:./more.tar:registry.example:5000/team/z:1",
    );
    engine.load(&desk.path("more.tar"));
    assert_has(&engine, "y:1", &above);
    assert_has(&engine, "registry.example:5000/team/z:1", &other);
    assert_has(&engine, "x:2", &base);

    // An archive without a name gives an image without one.
    engine.remove("registry.example:5000/team/z:1");
    copied("other", "docker-archive:./nameless.tar");
    engine.load(&desk.path("nameless.tar"));
    let told = engine.image(&id(&other));
    assert_eq!(told["RootFS"]["Layers"], diff_ids(&other));

    engine.save(&["x:2", "y:1"], &desk.path("saved.tar"));
    let tags = desk
        .dhow(&["list-tags", "docker-archive:./saved.tar"])
        .json();
    let mut tags: Vec<String> = serde_json::from_value(tags["Tags"].clone()).unwrap();
    tags.sort();
    assert_eq!(tags, ["x:2", "y:1"]);
    let config = |place: &str| {
        let place = format!("docker-archive:./saved.tar{place}");
        let shown = desk.dhow(&["inspect", "--config", "--raw", &place]).ok();
        Digest::sha256(shown.as_bytes()).to_string()
    };
    assert_eq!(config(":x:2"), id(&base));
    assert_eq!(config(":y:1"), id(&above));
    let mut places = [config(":@0"), config(":@1")];
    let mut ids = [id(&base), id(&above)];
    places.sort();
    ids.sort();
    assert_eq!(places, ids);
    // Which of the two is meant has to be said.
    let told = desk.dhow(&["inspect", "docker-archive:./saved.tar"]);
    let code = told.code;
    assert!(!matches!(code, Some(0 | 2)), "{told:?}");
    desk.dhow(&["inspect", "docker-archive:./saved.tar:@2"])
        .fails(2);
    desk.dhow(&["copy", "docker-archive:./saved.tar:y:1", "oci:./y:1"])
        .ok();
    assert_layout_has(&desk, "y", &above);
    // The image without a name is saved without one.
    engine.save(&[&id(&other)], &desk.path("by-id.tar"));
    let shown = desk
        .dhow(&["inspect", "--config", "--raw", "docker-archive:./by-id.tar"])
        .ok();
    assert_eq!(shown.as_bytes(), &other.blobs[0].1[..]);
}

#[test]
fn heavy_only_layers_that_the_engine_lacks_are_sent() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let desk = Desk::new();
    let base = ImageSpec::oci(64).layers(3).layer_size(200_000).build();
    let above = ImageSpec::oci(64).layers(4).layer_size(200_000).build();
    write_layout(&desk.path("origin"), &[("base", &base), ("above", &above)]);
    let copied = |from: &str, to: &str| {
        let (from, to) = (
            format!("oci:./origin:{from}"),
            format!("docker-daemon:{to}"),
        );
        dhow(&desk, &engine, &["copy", "--output", "json", &from, &to]).json()
    };
    let first = copied("base", "x:1");
    assert_eq!(first["reused"]["blobs"], 0, "{first}");
    assert_eq!(first["sent"]["blobs"], 4, "{first}");

    let second = copied("above", "x:2");
    assert_has(&engine, "x:2", &above);
    let [config, .., top] = &above.blobs[..] else {
        panic!("it has layers");
    };
    assert_eq!(second["reused"]["blobs"], 3, "{second}");
    assert_eq!(
        second["sent"]["bytes"],
        config.1.len() + top.1.len(),
        "{second}"
    );

    // The same image under another name, and again under the same one.
    for name in ["y:1", "x:2"] {
        let again = copied("above", name);
        assert_has(&engine, name, &above);
        assert_eq!(again["reused"]["blobs"], 4, "{again}");
    }
    // What the engine was told without their files is whole.
    engine.save(&["x:2"], &desk.path("saved.tar"));
    desk.dhow(&["copy", "docker-archive:./saved.tar", "oci:./saved:1"])
        .ok();
    assert_layout_has(&desk, "saved", &above);
    // Without the images the layers are gone, and are sent again.
    for name in ["x:1", "x:2", "y:1"] {
        engine.remove(name);
    }
    let fresh = copied("above", "x:3");
    assert_eq!(fresh["reused"]["blobs"], 0, "{fresh}");
    assert_has(&engine, "x:3", &above);
}

#[test]
fn heavy_an_engine_takes_every_format_and_compression() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let desk = Desk::new();
    let images = [
        ("gzip", ImageSpec::oci(65).build()),
        ("plain", ImageSpec::oci(66).uncompressed().build()),
        ("zstd", ImageSpec::oci(67).zstd().layers(3).build()),
        ("docker", ImageSpec::docker2(68).build()),
    ];
    let named: Vec<(&str, &SampleImage)> =
        images.iter().map(|(name, image)| (*name, image)).collect();
    write_layout(&desk.path("origin"), &named);
    for (name, image) in &images {
        let from = format!("oci:./origin:{name}");
        let (to, tag) = (format!("docker-daemon:{name}:1"), format!("{name}:1"));
        dhow(&desk, &engine, &["copy", &from, &to]).ok();
        assert_has(&engine, &tag, image);
        dhow(&desk, &engine, &["copy", &to, &format!("dir:./{name}")]).ok();
        validate_dir(&desk.path(name)).expect("every digest is right");
    }
    // Of an index, the image of this machine; all of them are too many.
    let all = IndexSpec::oci(69, &PLATFORMS).build();
    write_layout(&desk.path("index"), &[("all", &all)]);
    let copy = ["copy", "oci:./index:all", "docker-daemon:index:1"];
    dhow(
        &desk,
        &engine,
        &[&["--override-arch=arm64"], &copy[..]].concat(),
    )
    .ok();
    assert_eq!(engine.image("index:1")["Architecture"], "arm64");
    dhow(&desk, &engine, &copy).ok();
    assert_eq!(engine.image("index:1")["Architecture"], "amd64");
    let many = ["--all", "oci:./index:all", "docker-daemon:index:2"];
    dhow(&desk, &engine, &[&["copy"], &many[..]].concat()).fails(10);
    // Schema 1, whose config is made on the way.
    let old = docker1(70, 3);
    write_dir(&desk.path("old"), &old);
    dhow(
        &desk,
        &engine,
        &["copy", "dir:./old", "docker-daemon:old:1"],
    )
    .ok();
    let layers = engine.image("old:1")["RootFS"]["Layers"].clone();
    assert_eq!(layers.as_array().expect("it is a list").len(), 3);
    // What is no image stays outside, and says so.
    let artifact = ImageSpec::artifact(71).build();
    write_layout(&desk.path("artifact"), &[("it", &artifact)]);
    let copy = ["copy", "oci:./artifact:it", "docker-daemon:artifact:1"];
    let told = dhow(&desk, &engine, &copy);
    assert!(!matches!(told.code, Some(0 | 101)), "{told:?}");
    let names = engine.names();
    let expected = [
        "docker:1", "gzip:1", "index:1", "old:1", "plain:1", "zstd:1",
    ];
    assert_eq!(names, expected);
}

#[test]
fn heavy_a_copy_that_breaks_changes_nothing_in_the_engine() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let desk = Desk::new();
    let kept = ImageSpec::oci(72).build();
    let next = ImageSpec::oci(73).layers(3).build();
    write_layout(&desk.path("origin"), &[("kept", &kept), ("next", &next)]);
    dhow(
        &desk,
        &engine,
        &["copy", "oci:./origin:kept", "docker-daemon:x:1"],
    )
    .ok();
    // The last layer is another file than its digest says, of the same size.
    let broken = next.blobs.last().expect("it has layers");
    let file = desk.path("origin/blobs/sha256").join(broken.0.digest.hex());
    let mut bytes = broken.1.to_vec();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    fs::write(&file, bytes).unwrap();
    for to in ["docker-daemon:x:1", "docker-daemon:new:1"] {
        let told = dhow(&desk, &engine, &["copy", "oci:./origin:next", to]).fails(7);
        assert!(told.contains(&broken.0.digest.to_string()), "{told}");
    }
    // Neither is there when the file is not.
    fs::remove_file(&file).unwrap();
    let copy = ["copy", "oci:./origin:next", "docker-daemon:x:1"];
    let told = dhow(&desk, &engine, &copy);
    assert!(!matches!(told.code, Some(0 | 101)), "{told:?}");
    assert_has(&engine, "x:1", &kept);
    assert_eq!(engine.names(), ["x:1"]);
    dhow(
        &desk,
        &engine,
        &["copy", "docker-daemon:x:1", "oci:./whole:1"],
    )
    .ok();
    assert_layout_has(&desk, "whole", &kept);
}

#[test]
fn heavy_names_that_the_engine_does_not_have_or_take_are_told() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let desk = Desk::new();
    let image = ImageSpec::oci(74).build();
    write_layout(&desk.path("origin"), &[("image", &image)]);
    let none = format!("docker-daemon:sha256:{}", "0".repeat(64));
    for missing in ["docker-daemon:not-there:1", none.as_str()] {
        for arguments in [&["inspect", missing][..], &["copy", missing, "oci:./o:1"]] {
            let told = dhow(&desk, &engine, arguments).fails(2);
            let name = missing.trim_start_matches("docker-daemon:");
            assert!(told.contains(name), "{told}");
            assert!(told.contains("docker images"), "{told}");
        }
    }
    assert!(!desk.path("o").exists());
    let digest = format!(
        "docker-daemon:x@{none}",
        none = &none["docker-daemon:".len()..]
    );
    for to in ["docker-daemon:x", none.as_str(), digest.as_str()] {
        let told = dhow(&desk, &engine, &["copy", "oci:./origin:image", to]);
        assert!(!matches!(told.code, Some(0 | 2 | 101)), "{told:?}");
        assert!(told.stderr.contains("tag"), "{told:?}");
    }
    // What the engine says no to is told in its words.
    let windows = ImageSpec::docker2(75).platform("windows/amd64").build();
    write_layout(&desk.path("windows"), &[("image", &windows)]);
    let copy = ["copy", "oci:./windows:image", "docker-daemon:windows:1"];
    let told = dhow(&desk, &engine, &copy);
    assert!(!matches!(told.code, Some(0 | 2 | 101)), "{told:?}");
    assert!(told.stderr.contains("docker engine reported"), "{told:?}");
    assert!(engine.names().is_empty());
    // A name can be taken away; other names of the image stay.
    for name in ["docker-daemon:x:1", "docker-daemon:y:1"] {
        dhow(&desk, &engine, &["copy", "oci:./origin:image", name]).ok();
    }
    dhow(&desk, &engine, &["delete", "docker-daemon:x:1"]).ok();
    assert_eq!(engine.names(), ["y:1"]);
    dhow(&desk, &engine, &["delete", "docker-daemon:x:1"]).fails(2);
}

#[test]
fn heavy_memory_stays_bounded_into_an_engine_and_out_of_it() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let desk = Desk::new();
    samples::large_layout(&desk.path("large"), crate::memory::mebibytes());
    for (from, to) in [
        ("oci:./large:image", "docker-daemon:large:1"),
        ("docker-daemon:large:1", "oci:./copied:1"),
    ] {
        let mut command = desk.command();
        command.env("DOCKER_HOST", engine.host());
        command.args(["copy", from, to]);
        let peak = crate::memory::peak_of(command);
        assert!(peak < crate::memory::BOUND, "{from} to {to}: {peak} KiB");
        eprintln!("{from} to {to}: {peak} KiB");
    }
}
