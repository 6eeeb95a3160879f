//! Images in a real Docker engine: put there, taken from there, and what it saves and loads.

use std::fs;

use dhow_model::{Admitted, Digest, ImageManifest};
use dhow_testkit::image::{ImageSpec, SampleImage, validate_layout, write_layout};
use serde_json::{Value, json};

use crate::authority::{Authority, Flavour};
use crate::dhow::{Desk, outcome};
use crate::engine::Engine;
use crate::registry::{Registry, Wanted};

fn config_of(image: &SampleImage) -> Digest {
    let view = ImageManifest::parse(&Admitted::by_policy(image.root.clone())).unwrap();
    view.config.digest
}

fn diff_ids(image: &SampleImage) -> Value {
    let config: Value = serde_json::from_slice(image.blob(&config_of(image)).unwrap()).unwrap();
    config["rootfs"]["diff_ids"].clone()
}

#[test]
fn images_go_into_an_engine_and_come_out_of_it_heavy() {
    let desk = Desk::new();
    let Some(engine) = Engine::start(&desk, "engine", &[]) else {
        return;
    };
    let registry = Registry::dhow(&desk, "registry", Wanted::default());
    let dhow = |arguments: &[&str]| {
        let mut command = desk.command();
        outcome(command.env("DOCKER_HOST", &engine.host).args(arguments))
    };
    let insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let copy = |from: &str, to: &str| {
        dhow(&[&["copy", "--output", "json"], &insecure[..], &[from, to]].concat())
    };

    // From a registry into the engine; it knows the image as we do.
    let docker = ImageSpec::docker2(91).layers(3).empty_steps(1).build();
    let zstd = ImageSpec::oci(92).zstd().build();
    write_layout(
        &desk.path("origin"),
        &[("docker", &docker), ("zstd", &zstd)],
    );
    for (name, image) in [("docker", &docker), ("zstd", &zstd)] {
        let remote = format!("docker://{}/{name}:1", registry.address);
        let keep = [
            "copy",
            "-q",
            "--preserve-digests",
            "--dest-tls-verify=false",
        ];
        let format: &[&str] = if name == "docker" {
            &["--format", "v2s2"]
        } else {
            &[]
        };
        let from = format!("oci:./origin:{name}");
        dhow(&[&keep[..], format, &[&from, &remote]].concat()).ok();
        copy(&remote, &format!("docker-daemon:test/{name}:1")).ok();
        let told = engine.image(&desk, &format!("test/{name}:1"));
        assert_eq!(told["Id"], config_of(image).to_string());
        assert_eq!(told["RootFS"]["Layers"], diff_ids(image));
        assert_eq!(told["RepoTags"], json!([format!("test/{name}:1")]));
    }

    // What the engine has is not sent again.
    let again = copy("oci:./origin:zstd", "docker-daemon:again:1").json();
    assert_eq!(
        (&again["sent"]["blobs"], &again["reused"]["blobs"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        engine.image(&desk, "again:1")["RootFS"]["Layers"],
        diff_ids(&zstd)
    );

    // Out of the engine, by name and by id.
    let id = config_of(&docker).to_string();
    for name in [
        "docker-daemon:test/docker:1".to_owned(),
        format!("docker-daemon:{id}"),
    ] {
        drop(fs::remove_dir_all(desk.path("out")));
        copy(&name, "oci:./out:1").ok();
        validate_layout(&desk.path("out")).unwrap();
        let config = dhow(&["inspect", "--config", "--raw", &name]).ok();
        assert_eq!(Digest::sha256(config.as_bytes()).to_string(), id);
        let summary = dhow(&["inspect", &name]).json();
        assert_eq!(summary["Layers"], diff_ids(&docker));
    }

    // docker save, read by us; docker load of what we wrote, two images in one archive.
    let saved = desk.path("saved.tar").display().to_string();
    let url = "http://engine/images/get?names=test/docker:1&names=test/zstd:1";
    engine.curl(&desk, &["-o", &saved, url]).ok();
    let tags = dhow(&["list-tags", "docker-archive:./saved.tar"]).json();
    assert_eq!(tags["Tags"].as_array().unwrap().len(), 2);
    for (name, image) in [("test/docker:1", &docker), ("test/zstd:1", &zstd)] {
        let summary = dhow(&["inspect", &format!("docker-archive:./saved.tar:{name}")]).json();
        assert_eq!(summary["Layers"], diff_ids(image));
        copy(
            &format!("oci:./origin:{}", &name[5..name.len() - 2]),
            &format!("docker-archive:./ours.tar:loaded/{name}"),
        )
        .ok();
    }
    let file = format!("@{}", desk.path("ours.tar").display());
    engine
        .curl(
            &desk,
            &["-X", "POST", "-T", &file[1..], "http://engine/images/load"],
        )
        .ok();
    for (name, image) in [("test/docker:1", &docker), ("test/zstd:1", &zstd)] {
        let told = engine.image(&desk, &format!("loaded/{name}"));
        assert_eq!(told["Id"], config_of(image).to_string());
    }
    refusals(&desk, &engine, &dhow);
    contexts(&desk, &engine);
}

fn refusals(desk: &Desk, engine: &Engine, dhow: &dyn Fn(&[&str]) -> crate::dhow::Outcome) {
    let told = dhow(&["inspect", "docker-daemon:none:1"]).fails(2);
    assert!(told.contains("none:1") && told.contains("hint:"), "{told}");
    let id = format!("docker-daemon:sha256:{}", "0".repeat(64));
    for destination in [
        id.as_str(),
        "docker-daemon:none@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        let told = dhow(&["copy", "oci:./origin:zstd", destination]).fails(10);
        assert!(told.contains("must be a name:tag"), "{told}");
    }
    // What the engine says no to is told in its words, and ends no sooner than it should.
    let windows = ImageSpec::docker2(95).platform("windows/amd64").build();
    write_layout(&desk.path("windows"), &[("image", &windows)]);
    let told = dhow(&["copy", "oci:./windows:image", "docker-daemon:windows:1"]);
    assert!(!matches!(told.code, Some(0 | 101)), "{told:?}");
    assert!(told.stderr.contains("docker engine reported"), "{told:?}");
    // A name is taken away; the image stays while it has another.
    dhow(&["delete", "docker-daemon:again:1"]).ok();
    dhow(&["inspect", "docker-daemon:again:1"]).fails(2);
    engine.image(desk, "test/zstd:1");
}

fn contexts(desk: &Desk, engine: &Engine) {
    let config = desk.path("docker-config");
    let meta = config
        .join("contexts/meta")
        .join(Digest::sha256(b"mine").hex());
    fs::create_dir_all(&meta).unwrap();
    let text = json!({ "Name": "mine", "Endpoints": { "docker": { "Host": engine.host } } });
    fs::write(meta.join("meta.json"), text.to_string()).unwrap();
    fs::write(config.join("config.json"), r#"{"currentContext":"mine"}"#).unwrap();
    let mut command = desk.command();
    command
        .env("DOCKER_CONFIG", &config)
        .args(["inspect", "docker-daemon:test/zstd:1"]);
    outcome(&mut command).ok();
    let mut command = desk.command();
    command.args([
        "inspect",
        "--daemon-host",
        &engine.host,
        "docker-daemon:test/zstd:1",
    ]);
    outcome(&mut command).ok();
}

#[test]
fn an_engine_that_is_not_there_is_named() {
    let desk = Desk::new();
    write_layout(
        &desk.path("origin"),
        &[("image", &ImageSpec::oci(93).build())],
    );
    let host = format!("unix://{}", desk.path("none.sock").display());
    for arguments in [
        ["copy", "docker-daemon:a:1", "oci:./out:1"],
        ["copy", "oci:./origin:image", "docker-daemon:a:1"],
    ] {
        let mut command = desk.command();
        command.env("DOCKER_HOST", &host).args(arguments);
        let outcome = outcome(&mut command);
        assert!(!matches!(outcome.code, Some(0 | 101)), "{outcome:?}");
        for word in [host.as_str(), "start Docker", "DOCKER_HOST"] {
            assert!(outcome.stderr.contains(word), "{outcome:?}");
        }
    }
    let mut command = desk.command();
    command
        .env("DOCKER_HOST", "ssh://host")
        .args(["inspect", "docker-daemon:a:1"]);
    let told = outcome(&mut command);
    assert!(
        told.stderr.contains("`ssh://` is not supported"),
        "{told:?}"
    );
}

#[test]
fn an_engine_behind_tls_wants_certificates_heavy() {
    let desk = Desk::new();
    let authority = Authority::create(&desk.path("authority"));
    let ca = authority.trusted.join("ca.crt");
    let files = desk.path("certs");
    fs::create_dir_all(&files).unwrap();
    fs::copy(&ca, files.join("ca.pem")).unwrap();
    let (certificate, key) = (files.join("cert.pem"), files.join("key.pem"));
    authority.issue(&certificate, &key, &["client"], Flavour::Client);
    let port = free_port();
    let show = |path: &std::path::Path| path.display().to_string();
    let more = [
        "--tlsverify".to_owned(),
        format!("--tlscacert={}", show(&ca)),
        format!("--tlscert={}", show(&authority.certificate)),
        format!("--tlskey={}", show(&authority.key)),
        format!("--host=tcp://127.0.0.1:{port}"),
    ];
    let Some(_engine) = Engine::start(&desk, "engine", &more) else {
        return;
    };
    write_layout(
        &desk.path("origin"),
        &[("image", &ImageSpec::oci(94).build())],
    );
    let host = format!("--dest-daemon-host=tcp://127.0.0.1:{port}");
    let certs = format!("--dest-cert-dir={}", show(&files));
    let copy = |flags: &[&str]| {
        desk.dhow(
            &[
                &["copy", "-q"],
                flags,
                &["oci:./origin:image", "docker-daemon:a:1"],
            ]
            .concat(),
        )
    };
    copy(&[&host, &certs]).ok();
    // As Docker's own client is told.
    let mut command = desk.command();
    command
        .env("DOCKER_HOST", format!("tcp://127.0.0.1:{port}"))
        .env("DOCKER_TLS_VERIFY", "1")
        .env("DOCKER_CERT_PATH", &files)
        .args(["inspect", "docker-daemon:a:1"]);
    outcome(&mut command).ok();
    // Nobody vouches for it; nobody vouches for us.
    let told = copy(&[&host]);
    assert!(
        told.code != Some(0) && told.stderr.contains("--cert-dir"),
        "{told:?}"
    );
    let told = copy(&[&host, "--dest-tls-verify=false"]);
    assert!(!matches!(told.code, Some(0 | 101)), "{told:?}");
    copy(&[&host, &certs, "--dest-tls-verify=false"]).ok();
    let plain = format!("--dest-daemon-host=http://127.0.0.1:{port}");
    assert_ne!(copy(&[&plain]).code, Some(0));
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
