//! Compression as users ask for it: formats, levels, what is remembered, what cannot be.

use std::fs;
use std::path::Path;

use dhow_model::{Admitted, Digest, ImageManifest, RawManifest};
use dhow_testkit::image::{ImageSpec, write_layout};

use crate::dhow::{Desk, outcome};
use crate::registry::{Registry, Wanted};
use crate::tools;

fn desk(seed: u64) -> Desk {
    let desk = Desk::new();
    let image = ImageSpec::oci(seed)
        .layer_size(400_000)
        .uncompressed()
        .build();
    write_layout(&desk.path("origin"), &[("image", &image)]);
    desk
}

fn layers(path: &Path) -> Vec<dhow_model::Descriptor> {
    let bytes = fs::read(path.join("manifest.json")).unwrap();
    let raw = RawManifest::new(bytes.into(), None).unwrap();
    ImageManifest::parse(&Admitted::by_policy(raw))
        .unwrap()
        .layers
}

#[test]
fn a_directory_gets_layers_in_the_form_that_is_asked_for() {
    let desk = desk(81);
    for (flags, end) in [
        ("", ".tar"),
        ("--dest-compress", ".tar+gzip"),
        ("--dest-compress --dest-compress-format=zstd", ".tar+zstd"),
        (
            "--dest-compress --dest-compress-format=zstd:chunked",
            ".tar+zstd",
        ),
        (
            "--dest-compress --dest-compress-format=gzip --dest-compress-level=9",
            ".tar+gzip",
        ),
        ("--dest-decompress", ".tar"),
    ] {
        let arguments: Vec<&str> = ["copy"]
            .into_iter()
            .chain(flags.split_terminator(' '))
            .chain(["oci:./origin:image", "dir:./out"])
            .collect();
        desk.dhow(&arguments).ok();
        dhow_testkit::image::validate_dir(&desk.path("out")).unwrap();
        for layer in layers(&desk.path("out")) {
            assert!(
                layer.media_type.as_str().ends_with(end),
                "{flags}: {}",
                layer.media_type
            );
            let chunked = layer
                .annotations
                .value("io.github.containers.zstd-chunked.manifest-checksum");
            assert_eq!(chunked.is_some(), flags.ends_with("chunked"), "{flags}");
        }
    }
    // And back: what was compressed is what it was.
    desk.dhow(&[
        "copy",
        "--dest-compress",
        "oci:./origin:image",
        "dir:./packed",
    ])
    .ok();
    desk.dhow(&["copy", "--dest-decompress", "dir:./packed", "dir:./plain"])
        .ok();
    desk.dhow(&["copy", "oci:./origin:image", "dir:./first"])
        .ok();
    let digests = |name: &str| {
        layers(&desk.path(name))
            .iter()
            .map(|layer| layer.digest)
            .collect::<Vec<_>>()
    };
    assert_eq!(digests("plain"), digests("first"));
}

#[test]
fn what_cannot_be_is_said_before_anything_moves() {
    let desk = desk(82);
    for (flags, code, said) in [
        (
            "--dest-compress-format=foo",
            64,
            "cannot find compressor for \"foo\"",
        ),
        ("--dest-compress-format=bzip2", 64, "bzip2"),
        (
            "--dest-compress-format=gzip --dest-compress-level=99",
            64,
            "99",
        ),
        ("--dest-force-compress-format", 64, "--dest-compress-format"),
        ("--dest-compress --dest-decompress", 64, "same time"),
        (
            "--dest-compress --dest-compress-format=zstd --format=v2s2",
            10,
            "zstd",
        ),
        (
            "--dest-compress --dest-compress-format=zstd --preserve-digests",
            10,
            "preserve",
        ),
    ] {
        let arguments: Vec<&str> = ["copy"]
            .into_iter()
            .chain(flags.split_terminator(' '))
            .chain(["oci:./origin:image", "dir:./out"])
            .collect();
        let told = desk.dhow(&arguments).fails(code);
        assert!(told.contains(said), "{flags}: {told}");
        assert!(!desk.path("out").exists(), "{flags}");
    }
    for (format, destination) in [
        ("oci", "docker-archive:./out.tar:a:1"),
        ("v2s1", "oci:./out:1"),
        ("v2s1", "docker-archive:./out.tar:a:1"),
    ] {
        let told = desk
            .dhow(&[
                "copy",
                "--format",
                format,
                "oci:./origin:image",
                destination,
            ])
            .fails(10);
        assert!(told.contains("hint:"), "{told}");
    }
    // Elsewhere than in a directory the flag is only a warning, as with skopeo.
    let told = desk.dhow(&[
        "copy",
        "--dest-compress",
        "oci:./origin:image",
        "oci:./layout:1",
    ]);
    assert!(
        told.stderr.contains("--dest-compress can only be used"),
        "{told:?}"
    );
    assert_eq!(told.code, Some(0));
}

#[test]
fn a_layout_keeps_uncompressed_layers_when_it_may() {
    let desk = desk(83);
    let accept = "--dest-oci-accept-uncompressed-layers";
    desk.dhow(&["copy", accept, "oci:./origin:image", "oci:./kept:1"])
        .ok();
    let raw = |name: &str| desk.dhow(&["inspect", "--raw", name]).ok();
    assert_eq!(raw("oci:./kept:1"), raw("oci:./origin:image"));
    desk.dhow(&["copy", "oci:./origin:image", "oci:./packed:1"])
        .ok();
    assert!(raw("oci:./packed:1").contains("tar+gzip"));
    dhow_testkit::image::validate_layout(&desk.path("packed")).unwrap();
}

#[test]
fn a_second_copy_mounts_or_uses_again_what_was_compressed_before() {
    let desk = desk(84);
    let registry = Registry::dhow(&desk, "registry", Wanted::default());
    let to = |repository: &str| format!("docker://{}/{repository}:1", registry.address);
    let copy = |repository: &str| {
        let to = to(repository);
        let flags = ["copy", "--output", "json", "--dest-tls-verify=false"];
        desk.dhow(&[&flags[..], &["oci:./origin:image", &to]].concat())
            .json()
    };
    let first = copy("one");
    assert_eq!(first["sent"]["blobs"], 3);
    let again = copy("one");
    assert_eq!(
        (&again["sent"]["blobs"], &again["digest"]),
        (&0.into(), &first["digest"])
    );
    let other = copy("two");
    assert_eq!(other["sent"]["blobs"], 0);
    assert!(other["mounted"]["blobs"].as_u64() >= Some(2), "{other}");
    assert_eq!(other["digest"], first["digest"]);
    // Without what is remembered the same bytes come out: they do not depend on the machine's state.
    fs::remove_dir_all(desk.home().join(".cache/dhow")).unwrap();
    assert_eq!(copy("three")["digest"], first["digest"]);
}

#[test]
fn schema_1_comes_out_of_a_registry_as_it_was_put_there() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = desk(85);
    let registry = Registry::debian(&desk, "registry", Wanted::default());
    let name = format!("docker://{}/old:1", registry.address);
    let flags = ["copy", "--dest-tls-verify=false", "--format", "v2s1"];
    desk.dhow(&[&flags[..], &["oci:./origin:image", &name]].concat())
        .ok();
    let raw = desk
        .dhow(&["inspect", "--tls-verify=false", "--raw", &name])
        .ok();
    let raw = RawManifest::new(raw.into_bytes().into(), None).unwrap();
    assert_eq!(raw.kind(), dhow_model::ManifestKind::Docker1Signed);
    if tools::has("skopeo") {
        let from = [
            "copy",
            "-q",
            "--src-tls-verify=false",
            &name,
            "oci:./theirs:1",
        ];
        tools::run_skopeo(&desk, &from);
        desk.dhow(&["copy", "--src-tls-verify=false", &name, "oci:./ours:1"])
            .ok();
        let config = |name: &str| desk.dhow(&["inspect", "--config", "--raw", name]).ok();
        assert_eq!(config("oci:./ours:1"), config("oci:./theirs:1"));
        fs::write(desk.path("manifest"), raw.bytes()).unwrap();
        let digest = tools::run_skopeo(&desk, &["manifest-digest", "manifest"]);
        assert_eq!(digest.trim(), raw.digest().to_string());
    }
}

#[test]
fn podman_takes_what_was_compressed_here() {
    if !tools::has("podman") || !tools::is_root() {
        return;
    }
    let desk = desk(86);
    let policy = desk.path("policy.json");
    fs::write(
        &policy,
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    for format in ["gzip", "zstd", "zstd:chunked"] {
        let flags = ["copy", "--dest-compress", "--dest-compress-format", format];
        desk.dhow(&[&flags[..], &["oci:./origin:image", "dir:./out"]].concat())
            .ok();
        let mut podman = desk.dressed("podman");
        podman
            .args(["--storage-driver", "vfs", "--root"])
            .arg(desk.path("root"));
        podman
            .arg("--runroot")
            .arg(desk.path("run"))
            .arg("pull")
            .arg("--quiet");
        podman
            .arg(format!("--signature-policy={}", policy.display()))
            .arg("dir:./out");
        let id = outcome(&mut podman).ok();
        assert!(
            Digest::parse(&format!("sha256:{}", id.trim())).is_ok(),
            "{format}: {id}"
        );
    }
}

#[test]
fn an_archive_gets_more_names_and_goes_through_a_pipe() {
    let desk = desk(87);
    let flags = [
        "copy",
        "--additional-tag",
        "two:2,quay.io/three:3",
        "--additional-tag=four:4",
    ];
    desk.dhow(
        &[
            &flags[..],
            &["oci:./origin:image", "docker-archive:./a.tar:one:1"],
        ]
        .concat(),
    )
    .ok();
    let tags = desk.dhow(&["list-tags", "docker-archive:./a.tar"]).json();
    let hub = |name: &str| format!("docker.io/library/{name}");
    let wanted = [
        hub("one:1"),
        hub("two:2"),
        "quay.io/three:3".to_owned(),
        hub("four:4"),
    ];
    assert_eq!(tags["Tags"], serde_json::json!(wanted));
    assert!(tags.get("Repository").is_none());
    for (tag, code) in [("two", 64), ("two@sha256:00", 64), ("UPPER:1", 64)] {
        let arguments = [
            "copy",
            "--additional-tag",
            tag,
            "oci:./origin:image",
            "docker-archive:./b.tar:b:1",
        ];
        desk.dhow(&arguments).fails(code);
    }
    let script = format!(
        "{} copy oci:./origin:image docker-archive:/dev/stdout:piped:1 2>/dev/null | cat > piped.tar",
        crate::dhow::binary().display()
    );
    outcome(desk.dressed("sh").args(["-c", &script])).ok();
    let config = |name: &str| desk.dhow(&["inspect", "--config", "--raw", name]).ok();
    assert_eq!(
        config("docker-archive:./piped.tar"),
        config("docker-archive:./a.tar:one:1")
    );
    let script = format!(
        "cat piped.tar | {} inspect --config --raw docker-archive:/dev/stdin",
        crate::dhow::binary().display()
    );
    let through = outcome(desk.dressed("sh").args(["-c", &script])).ok();
    assert_eq!(through, config("docker-archive:./piped.tar"));
    if tools::has("skopeo") {
        let theirs = tools::run_skopeo(
            &desk,
            &["inspect", "--config", "--raw", "docker-archive:piped.tar"],
        );
        assert_eq!(theirs, through);
        // skopeo's digest of the image is ours.
        let digest = tools::run_skopeo(
            &desk,
            &[
                "inspect",
                "--format",
                "{{.Digest}}",
                "docker-archive:piped.tar",
            ],
        );
        let ours = desk
            .dhow(&[
                "inspect",
                "--format",
                "{{.Digest}}",
                "docker-archive:./piped.tar",
            ])
            .ok();
        assert_eq!(digest, ours);
    }
}

#[test]
fn tar_files_become_an_image() {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("files")).unwrap();
    fs::write(desk.path("files/hello"), "hello").unwrap();
    let tar = |arguments: &[&str]| {
        outcome(desk.dressed("tar").args(["-C", "files"]).args(arguments)).ok();
    };
    tar(&["-cf", "one.tar", "hello"]);
    tar(&["-czf", "two.tar.gz", "hello"]);
    tar(&["-cJf", "three.tar.xz", "hello"]);
    for name in ["one.tar", "two.tar.gz", "three.tar.xz"] {
        fs::rename(desk.path("files").join(name), desk.path(name)).ok();
    }
    let name = "tarball:one.tar:two.tar.gz:three.tar.xz";
    let digest = desk
        .dhow(&["inspect", "--format", "{{.Digest}}", name])
        .ok();
    assert_eq!(
        desk.dhow(&["inspect", "--format", "{{.Digest}}", name])
            .ok(),
        digest,
        "it is the same each time"
    );
    desk.dhow(&["copy", name, "oci:./out:1"]).ok();
    dhow_testkit::image::validate_layout(&desk.path("out")).unwrap();
    let summary = desk.dhow(&["inspect", name]).json();
    let types: Vec<&str> = summary["LayersData"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| {
            layer["MIMEType"]
                .as_str()
                .unwrap()
                .rsplit('.')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(types, ["tar", "tar+gzip", "tar"]);
    let script = format!(
        "cat one.tar | {} copy tarball:- oci:./piped:1",
        crate::dhow::binary().display()
    );
    outcome(desk.dressed("sh").args(["-c", &script])).ok();
    dhow_testkit::image::validate_layout(&desk.path("piped")).unwrap();
    let told = desk
        .dhow(&["copy", "oci:./out:1", "tarball:new.tar"])
        .fails(10);
    assert!(told.contains("can only be read from"), "{told}");
    let told = desk.dhow(&["delete", "tarball:one.tar"]).fails(10);
    assert!(
        told.contains("remove the files") && desk.path("one.tar").exists(),
        "{told}"
    );
    desk.dhow(&["inspect", "tarball:none.tar"]).fails(9);
}

#[test]
fn podman_fetches_single_files_by_the_table_of_a_chunked_layer_heavy() {
    if !tools::has("podman") || !tools::has("docker-registry") || !tools::is_root() {
        return;
    }
    let desk = desk(88);
    let registry = Registry::debian(&desk, "registry", Wanted::default());
    let flags = [
        "copy",
        "-q",
        "--dest-compress",
        "--dest-compress-format=zstd:chunked",
    ];
    desk.dhow(&[&flags[..], &["oci:./origin:image", "dir:./chunked"]].concat())
        .ok();
    // Podman before 4.4 looks for the table under the names that the annotations had then.
    let manifest = desk.path("chunked/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let old = text.replace(
        "io.github.containers.zstd-chunked",
        "io.containers.zstd-chunked",
    );
    assert_ne!(old, text);
    fs::write(&manifest, old).unwrap();
    let name = format!("{}/chunked:1", registry.address);
    let target = format!("docker://{name}");
    desk.dhow(&[
        "copy",
        "-q",
        "--dest-tls-verify=false",
        "dir:./chunked",
        &target,
    ])
    .ok();
    let place = |name: &str| desk.path(name).display().to_string();
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\nrunroot = \"{}\"\ngraphroot = \"{}\"\n[storage.options]\n\
         pull_options = {{enable_partial_images = \"true\", use_hard_links = \"false\", ostree_repos = \"\"}}\n",
        place("run"),
        place("root"),
    );
    fs::write(desk.path("storage.conf"), storage).unwrap();
    fs::write(
        desk.path("policy.json"),
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    let podman = |arguments: &[&str]| {
        let mut podman = desk.dressed("podman");
        podman.env("CONTAINERS_STORAGE_CONF", desk.path("storage.conf"));
        outcome(podman.args(arguments))
    };
    let policy = format!("--signature-policy={}", place("policy.json"));
    let pulled = podman(&[
        "--log-level=debug",
        "pull",
        &policy,
        "--tls-verify=false",
        &name,
    ]);
    let told = pulled.stderr.clone();
    pulled.ok();
    assert!(told.contains("Retrieved partial blob"), "{told}");
    // What it put together from single files is what the layers hold.
    let mounted = podman(&["image", "mount", &name]).ok();
    desk.dhow(&[
        "copy",
        "-q",
        "--dest-decompress",
        "oci:./origin:image",
        "dir:./plain",
    ])
    .ok();
    fs::create_dir(desk.path("unpacked")).unwrap();
    for layer in layers(&desk.path("plain")) {
        let mut tar = desk.dressed("tar");
        tar.arg("-C").arg(desk.path("unpacked")).arg("-xf");
        outcome(tar.arg(desk.path("plain").join(layer.digest.hex()))).ok();
    }
    let mut diff = desk.dressed("diff");
    outcome(
        diff.arg("-r")
            .arg(mounted.trim())
            .arg(desk.path("unpacked")),
    )
    .ok();
    podman(&["image", "umount", &name]).ok();
    podman(&["rmi", "--all", "--force"]).ok();
    // As root, podman mounts its store over itself.
    drop(
        desk.dressed("umount")
            .arg(place("root") + "/overlay")
            .output(),
    );
}

#[test]
fn schema_1_is_skopeos_to_the_byte_there_and_back() {
    if !tools::has("skopeo") {
        return;
    }
    let desk = Desk::new();
    let image = ImageSpec::docker2(89).layers(3).empty_steps(2).build();
    dhow_testkit::image::write_dir(&desk.path("origin"), &image);
    tools::run_skopeo(
        &desk,
        &["copy", "-q", "--format=v2s1", "dir:origin", "dir:theirs"],
    );
    desk.dhow(&["copy", "-q", "--format=v2s1", "dir:origin", "dir:ours"])
        .ok();
    // Each signs with a key of the moment; what is signed is the same.
    let digest = |name: &str| {
        let manifest = desk.path(name).join("manifest.json").display().to_string();
        desk.dhow(&["manifest-digest", &manifest]).ok()
    };
    assert_eq!(digest("ours"), digest("theirs"));
    for format in ["v2s2", "oci"] {
        let format = format!("--format={format}");
        tools::run_skopeo(
            &desk,
            &["copy", "-q", &format, "dir:theirs", "dir:back-theirs"],
        );
        desk.dhow(&["copy", "-q", &format, "dir:ours", "dir:back-ours"])
            .ok();
        assert_eq!(digest("back-ours"), digest("back-theirs"), "{format}");
    }
}
