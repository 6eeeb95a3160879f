//! The walkthrough: from a public registry into a layout, into a private registry, and back.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dhow_testkit::image::validate_layout;

use crate::authority::Authority;
use crate::dhow::Desk;
use crate::registry::{Registry, Wanted};
use crate::{samples, tools};

const USER: &str = "skopeo";
const TOKEN: &str = "a-service-account's.token_0123456789";

/// The two registries of the walkthrough, and who is who.
struct Stage {
    desk: Desk,
    authority: Authority,
    hub: Registry,
    private: Registry,
}

impl Stage {
    fn new(private: fn(&Desk, &str, Wanted<'_>) -> Registry, tokens: bool) -> Self {
        let desk = Desk::new();
        let authority = Authority::create(&desk.home());
        let hub = Registry::debian(&desk, "hub", Wanted::default());
        let images = samples::walkthrough();
        samples::publish(&desk, &hub.address, &images, &["--dest-tls-verify=false"]);
        let wanted = Wanted {
            tls: Some(&authority),
            user: Some((USER, TOKEN)),
            tokens,
            ..Wanted::default()
        };
        let private = private(&desk, "private", wanted);
        Self {
            desk,
            authority,
            hub,
            private,
        }
    }

    fn hub(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.hub.address)
    }

    fn private(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.private.address)
    }

    /// `--FLAG=DIR`.
    fn certs(&self, flag: &str) -> String {
        format!("--{flag}={}", self.authority.trusted.display())
    }
}

/// Returns `--FLAG=user:token`.
fn login(flag: &str) -> String {
    format!("--{flag}={USER}:{TOKEN}")
}

#[test]
fn walkthrough_with_htpasswd_and_a_private_authority() {
    if tools::has("docker-registry") {
        play(&Stage::new(Registry::debian, false));
    }
}

#[test]
fn walkthrough_with_a_registry_that_issues_tokens() {
    if tools::has("docker-registry") {
        play(&Stage::new(Registry::dhow, true));
    }
}

fn play(stage: &Stage) {
    copies_into_one_layout(stage);
    a_certificate_error_says_how_to_solve_it(stage);
    pushes_with_a_token(stage);
    copies_on_the_fly(stage);
    pulls_back(stage);
    remembers_credentials(stage);
    wrong_credentials_are_denied(stage);
}

fn copies_into_one_layout(stage: &Stage) {
    let desk = &stage.desk;
    for (repository, tag, image) in samples::walkthrough() {
        let remote = stage.hub(&format!("{repository}:{tag}"));
        let summary = desk
            .dhow(&["inspect", "--tls-verify=false", &remote])
            .json();
        assert_eq!(summary["Digest"], image.root.digest().to_string());
        assert_eq!(summary["Os"], "linux");
        let tags = summary["RepoTags"].as_array().expect("tags are listed");
        assert!(tags.iter().any(|listed| listed == tag), "{tags:?}");

        let name = repository.trim_start_matches("library/");
        let local = format!("oci:./target:{name}:{tag}");
        let flags = ["copy", "--src-tls-verify=false", "--override-arch=amd64"];
        desk.dhow(&[&flags[..], &[&remote, &local]].concat()).ok();
    }
    for name in [
        "centos:7",
        "centos:7.5.1804",
        "centos:7.4.1708",
        "rhel7:7.5",
    ] {
        let summary = desk
            .dhow(&["inspect", &format!("oci:./target:{name}")])
            .json();
        assert_eq!(summary["Architecture"], "amd64", "{name}");
        assert!(
            !summary["Layers"]
                .as_array()
                .expect("layers are listed")
                .is_empty()
        );
    }
    assert_eq!(names(desk, "target").len(), 4);
    let list = stage.hub("library/centos");
    let tags = desk
        .dhow(&["list-tags", "--tls-verify=false", &list])
        .json();
    let mut tags = tags["Tags"].as_array().expect("tags are listed").clone();
    tags.sort_by_key(ToString::to_string);
    assert_eq!(tags, ["7", "7.4.1708", "7.5.1804"]);
}

fn a_certificate_error_says_how_to_solve_it(stage: &Stage) {
    let desk = &stage.desk;
    let creds = login("dest-creds");
    let target = stage.private("my-images/rhel7:7.5");
    let copy = ["copy", creds.as_str(), "oci:./target:rhel7:7.5", &target];
    let message = desk.dhow(&copy).fails(UNTRUSTED);
    assert!(message.contains("certificate"), "{message}");
    assert!(message.contains("tls-verify=false"), "{message}");
    assert!(message.contains("certs.d"), "{message}");
    assert!(!message.contains(TOKEN), "{message}");

    // What the hint says: the authority in certs.d of the user.
    let directory = desk.home().join(format!(
        ".config/containers/certs.d/{}",
        stage.private.address
    ));
    fs::create_dir_all(&directory).unwrap();
    fs::copy(
        stage.authority.trusted.join("ca.crt"),
        directory.join("ca.crt"),
    )
    .unwrap();
    desk.dhow(&copy).ok();
    fs::remove_dir_all(&directory).unwrap();
    // And the other hint.
    desk.dhow(&[&copy[..1], &["--dest-tls-verify=false"], &copy[1..]].concat())
        .ok();
    desk.dhow(&copy).fails(UNTRUSTED);
}

fn pushes_with_a_token(stage: &Stage) {
    let desk = &stage.desk;
    let creds = login("dest-creds");
    let certs = stage.certs("dest-cert-dir");
    for (from, to) in [
        ("rhel7:7.5", "my-images/rhel7:7.5"),
        ("centos:7", "openshift/nodejs:latest"),
    ] {
        let source = format!("oci:./target:{from}");
        desk.dhow(&["copy", &creds, &certs, &source, &stage.private(to)])
            .ok();
        let local = desk.dhow(&["inspect", "--raw", &source]).ok();
        let (creds, certs) = (login("creds"), stage.certs("cert-dir"));
        let remote = desk
            .dhow(&["inspect", "--raw", &creds, &certs, &stage.private(to)])
            .ok();
        assert_eq!(local, remote);
    }
    let (creds, certs) = (login("creds"), stage.certs("cert-dir"));
    let image = stage.private("openshift/nodejs");
    let summary = desk.dhow(&["inspect", &creds, &certs, &image]).json();
    assert_eq!(summary["RepoTags"], serde_json::json!(["latest"]));
}

fn copies_on_the_fly(stage: &Stage) {
    let desk = &stage.desk;
    let before = entries(&desk.work());
    let (creds, certs) = (login("dest-creds"), stage.certs("dest-cert-dir"));
    let target = stage.private("my-images/centos:7");
    let source = stage.hub("library/centos:7");
    let flags = ["copy", "--all", "--src-tls-verify=false"];
    desk.dhow(&[&flags[..], &[&creds, &certs, &source, &target]].concat())
        .ok();
    assert_eq!(entries(&desk.work()), before, "nothing is left behind");
    assert_eq!(entries(&desk.work().join("../tmp")), Vec::<String>::new());

    let digest = |flags: &[&str], image: &str| {
        let format = ["inspect", "--no-tags", "--format", "{{.Digest}}"];
        desk.dhow(&[&format[..], flags, &[image]].concat()).ok()
    };
    let (creds, certs) = (login("creds"), stage.certs("cert-dir"));
    assert_eq!(
        digest(&["--tls-verify=false"], &source),
        digest(&[&creds, &certs], &target)
    );
}

fn pulls_back(stage: &Stage) {
    let desk = &stage.desk;
    let (creds, certs) = (login("src-creds"), stage.certs("src-cert-dir"));
    let source = stage.private("my-images/rhel7:7.5");
    desk.dhow(&["copy", &creds, &certs, &source, "oci:./target:back:latest"])
        .ok();
    let raw = |image: &str| desk.dhow(&["inspect", "--raw", image]).ok();
    assert_eq!(
        raw("oci:./target:back:latest"),
        raw("oci:./target:rhel7:7.5")
    );
    assert_eq!(names(desk, "target").len(), 5);
}

fn remembers_credentials(stage: &Stage) {
    let desk = &stage.desk;
    let image = stage.private("openshift/nodejs:latest");
    let message = desk
        .dhow(&["inspect", "--tls-verify=false", &image])
        .fails(DENIED);
    assert!(message.contains("hint:"), "{message}");

    let auth = STANDARD.encode(format!("{USER}:{TOKEN}"));
    let file = serde_json::json!({"auths": {&stage.private.address: {"auth": auth}}}).to_string();
    for place in [".docker/config.json", ".config/containers/auth.json"] {
        let path = desk.home().join(place);
        fs::create_dir_all(path.parent().expect("it has one")).unwrap();
        fs::write(&path, &file).unwrap();
        desk.dhow(&["inspect", "--tls-verify=false", &image]).ok();
        fs::remove_file(&path).unwrap();
    }
    let path = desk.path("auth.json");
    fs::write(&path, &file).unwrap();
    let authfile = format!("--authfile={}", path.display());
    desk.dhow(&["inspect", "--tls-verify=false", &authfile, &image])
        .ok();
    desk.dhow(&[
        "inspect",
        "--tls-verify=false",
        &authfile,
        "--no-creds",
        &image,
    ])
    .fails(DENIED);
}

fn wrong_credentials_are_denied(stage: &Stage) {
    let desk = &stage.desk;
    let certs = stage.certs("dest-cert-dir");
    let target = stage.private("my-images/denied:1");
    let message = desk
        .dhow(&[
            "copy",
            "--dest-creds=skopeo:wrong-secret",
            &certs,
            "oci:./target:rhel7:7.5",
            &target,
        ])
        .fails(DENIED);
    assert!(message.contains("--dest-creds"), "{message}");
    assert!(!message.contains("wrong-secret"), "{message}");
}

/// The names in a layout, which must be whole.
fn names(desk: &Desk, layout: &str) -> Vec<String> {
    validate_layout(&desk.path(layout))
        .expect("the layout is whole")
        .names
}

fn entries(directory: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

const DENIED: i32 = 3;
const UNTRUSTED: i32 = 6;
