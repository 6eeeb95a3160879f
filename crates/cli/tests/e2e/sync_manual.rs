//! The examples of skopeo-sync(1), command lines and YAML, run by Debian's skopeo and by dhow on the
//! same registries: the same folders, tags and digests at the destination.

use std::collections::BTreeMap;

use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage, write_layout};
use serde_json::Value;

use crate::authority::Authority;
use crate::dhow::{Desk, outcome};
use crate::registry::{Registry, Wanted};
use crate::sync::OPEN;
use crate::sync_choices::folders;
use crate::{samples, tools};

/// Who is let in at the one registry: its password has spaces, as in the manual.
const JOHN: (&str, &str) = ("john", "this is a secret");
const TOOLS: [&str; 2] = ["skopeo", "dhow"];

/// The registries of the manual.
struct World {
    desk: Desk,
    /// registry.example.com, with a certificate and a password.
    example: Registry,
    authority: Authority,
    /// quay.io, open.
    quay: Registry,
    /// my-registry.local.lan, for each tool.
    local: [Registry; 2],
    redis: SampleImage,
}

fn images() -> Vec<(&'static str, SampleImage)> {
    let image = |seed| ImageSpec::oci(seed).layers(1).build();
    let index = |seed| IndexSpec::oci(seed, &samples::PLATFORMS).build();
    vec![
        ("busybox:1-glibc", index(1)),
        ("busybox:1-musl", index(2)),
        ("busybox:1-ubuntu", image(3)),
        ("busybox:latest", index(1)),
        ("repo/busybox:1-glibc", image(4)),
        ("repo/busybox:latest", ImageSpec::docker2(5).build()),
        ("redis:1.0", image(6)),
        ("redis:2.0", image(7)),
        ("redis:3.0", image(8)),
        ("nginx:1.13.1-alpine-perl", image(9)),
        ("nginx:1.13.2-alpine-perl", image(10)),
        ("nginx:1.13.3-alpine-perl", image(11)),
        ("nginx:1.13.1-alpine", image(12)),
        ("alpine:3.11.9", image(13)),
        ("alpine:3.12.0", image(14)),
        ("alpine:3.20.1", image(15)),
        ("alpine:edge", image(16)),
    ]
}

impl World {
    fn new() -> Self {
        let desk = Desk::new();
        let authority = Authority::create(&desk.work());
        let wanted = Wanted {
            tls: Some(&authority),
            user: Some(JOHN),
            ..Wanted::default()
        };
        let example = Registry::debian(&desk, "example", wanted);
        let quay = Registry::debian(&desk, "quay", Wanted::default());
        let local = TOOLS.map(|tool| Registry::debian(&desk, tool, Wanted::default()));
        let images = images();
        let pairs: Vec<_> = images.iter().map(|(name, image)| (*name, image)).collect();
        write_layout(&desk.path("images"), &pairs);
        let etcd = ImageSpec::oci(20).build();
        let redis = ImageSpec::oci(21).build();
        write_layout(
            &desk.path("etcd"),
            &[("coreos/etcd:latest", &etcd), ("coreos/etcd:v2", &redis)],
        );
        let fill = |layout: &str, more: &[&str], to: &str| {
            let flags = [
                "sync", "--all", "--scoped", "--src", "oci", "--dest", "docker",
            ];
            desk.dhow(&[&flags[..], more, &[layout, to]].concat()).ok();
        };
        let cert_dir = format!("--dest-cert-dir={}", authority.trusted.display());
        let creds = format!("--dest-creds={}:{}", JOHN.0, JOHN.1);
        fill("images", &[&cert_dir, &creds], &example.address);
        fill("etcd", &[OPEN[1]], &quay.address);
        let redis = images.into_iter().find(|(name, _)| *name == "redis:3.0");
        Self {
            desk,
            example,
            authority,
            quay,
            local,
            redis: redis.unwrap().1,
        }
    }

    /// Runs a command line with one of the tools and returns what it says.
    #[track_caller]
    fn run(&self, tool: usize, line: &str) {
        let line = line
            .replace("registry.example.com", &self.example.address)
            .replace("my-registry.local.lan", &self.local[tool].address)
            .replace("/media/usb", &format!("usb-{}", TOOLS[tool]));
        let mut command = if tool == 0 {
            tools::skopeo(&self.desk)
        } else {
            self.desk.command()
        };
        command.args(line.split(' ').filter(|word| !word.is_empty()));
        if line.contains("--src docker") {
            command.arg(format!(
                "--src-cert-dir={}",
                self.authority.trusted.display()
            ));
            command.arg(format!("--src-creds={}:{}", JOHN.0, JOHN.1));
        }
        if line.contains("--dest docker") {
            command.arg(OPEN[1]);
        }
        outcome(&mut command).ok();
    }

    /// Returns the digests of all tags in the registry of a tool.
    fn tags(&self, tool: usize) -> BTreeMap<String, String> {
        let address = &self.local[tool].address;
        let list = ["list-repositories", "--tls-verify=false", address];
        let names = |value: &Value| -> Vec<String> {
            let names = value.as_array().unwrap().iter();
            names
                .map(|name| name.as_str().unwrap().to_owned())
                .collect()
        };
        let mut found = BTreeMap::new();
        for repository in names(&self.desk.dhow(&list).json()["Repositories"]) {
            let name = format!("docker://{address}/{repository}");
            let list = ["list-tags", "--tls-verify=false", &name];
            for tag in names(&self.desk.dhow(&list).json()["Tags"]) {
                let raw = [
                    "inspect",
                    "--raw",
                    "--tls-verify=false",
                    &format!("{name}:{tag}"),
                ];
                let raw = self.desk.dhow(&raw).ok();
                let digest = dhow_model::Digest::sha256(raw.as_bytes()).to_string();
                found.insert(format!("{repository}:{tag}"), digest);
            }
        }
        found
    }

    /// Runs a command line with both tools; both registries and folders are alike then, and have these.
    #[track_caller]
    fn alike(&self, line: &str, expected: &[&str]) {
        let found = [0, 1].map(|tool| {
            let usb = self.desk.path(&format!("usb-{}", TOOLS[tool]));
            std::fs::create_dir_all(&usb).unwrap();
            self.run(tool, line);
            let folders = folders(&usb).into_iter();
            let mut all = self.tags(tool);
            all.extend(folders.map(|(name, digest)| (format!("usb/{name}"), digest.to_string())));
            all
        });
        assert_eq!(found[1], found[0], "{line}");
        for name in expected {
            let name = name.replace("registry.example.com", &self.example.address);
            assert!(
                found[1].contains_key(&name),
                "{line}: {name} {:?}",
                found[1]
            );
        }
    }

    fn forget_folders(&self) {
        for tool in TOOLS {
            std::fs::remove_dir_all(self.desk.path(&format!("usb-{tool}"))).ok();
        }
    }
}

#[test]
fn the_command_lines_of_the_manual_do_what_skopeo_does() {
    if !tools::has("skopeo") || !tools::has("docker-registry") {
        return;
    }
    let world = World::new();
    for all in ["", "--all "] {
        world.forget_folders();
        world.alike(
            &format!("sync {all}--src docker --dest dir registry.example.com/busybox /media/usb"),
            &[
                "usb/busybox:1-glibc",
                "usb/busybox:1-musl",
                "usb/busybox:1-ubuntu",
                "usb/busybox:latest",
            ],
        );
        world.alike(
            &format!("sync {all}--src dir --dest docker /media/usb/busybox:1-glibc my-registry.local.lan/test/"),
            &["test/busybox:1-glibc"],
        );
        world.forget_folders();
        world.alike(
            &format!(
                "sync {all}--src docker --dest dir --scoped registry.example.com/busybox /media/usb"
            ),
            &[
                "usb/registry.example.com/busybox:1-glibc",
                "usb/registry.example.com/busybox:latest",
            ],
        );
        world.alike(
            &format!("sync {all}--src docker --dest docker registry.example.com/busybox my-registry.local.lan"),
            &["busybox:1-glibc", "busybox:1-musl", "busybox:1-ubuntu", "busybox:latest"],
        );
        world.alike(
            &format!(
                "sync {all}--src docker --dest docker registry.example.com/repo/busybox \
                 my-registry.local.lan/repo"
            ),
            &["repo/busybox:1-glibc", "repo/busybox:latest"],
        );
    }
    // Options of the manual that change names or bytes, and one that changes nothing.
    let before = [0, 1].map(|tool| world.tags(tool));
    world.alike(
        "sync --dry-run --src docker --dest docker registry.example.com/redis my-registry.local.lan",
        &[],
    );
    assert_eq!([0, 1].map(|tool| world.tags(tool)), before);
    for (line, name) in [
        (
            "--format v2s2 registry.example.com/redis my-registry.local.lan/v2s2",
            "v2s2/redis:1.0",
        ),
        (
            "--append-suffix -x registry.example.com/redis:2.0 my-registry.local.lan/suffix",
            "suffix/redis:2.0-x",
        ),
        (
            "--preserve-digests --keep-going --remove-signatures --retry-times 2 \
             registry.example.com/redis:2.0 my-registry.local.lan/kept",
            "kept/redis:2.0",
        ),
    ] {
        if line.contains("--append-suffix") && !has_flag(&world.desk, "--append-suffix") {
            continue;
        }
        world.alike(&format!("sync --src docker --dest docker {line}"), &[name]);
    }
}

/// Returns whether Debian's skopeo is new enough for a flag of sync.
fn has_flag(desk: &Desk, flag: &str) -> bool {
    tools::run_skopeo(desk, &["sync", "--help"]).contains(flag)
}

#[test]
fn the_yaml_files_of_the_manual_do_what_skopeo_does() {
    if !tools::has("skopeo") || !tools::has("docker-registry") {
        return;
    }
    let world = World::new();
    let by_digest = world.redis.root.digest();
    let file = format!(
        r#"{example}:
    images:
        busybox: []
        redis:
            - "1.0"
            - "2.0"
            - "{by_digest}"
    images-by-tag-regex:
        nginx: ^1\.13\.[12]-alpine-perl$
    credentials:
        username: john
        password: this is a secret
    tls-verify: true
    cert-dir: {certificates}
{quay}:
    tls-verify: false
    images:
        coreos/etcd:
            - latest
"#,
        example = world.example.address,
        certificates = world.authority.trusted.display(),
        quay = world.quay.address,
    );
    std::fs::write(world.desk.path("sync.yml"), &file).unwrap();
    let expected = [
        "repo/busybox:1-glibc",
        "repo/busybox:latest",
        "repo/redis:1.0",
        "repo/redis:2.0",
        "repo/nginx:1.13.1-alpine-perl",
        "repo/nginx:1.13.2-alpine-perl",
        "repo/etcd:latest",
    ];
    for all in ["", "--all "] {
        let line =
            format!("sync {all}--src yaml --dest docker sync.yml my-registry.local.lan/repo/");
        world.alike(&line, &expected);
    }
    let tags = world.tags(1);
    for name in [
        "repo/redis:3.0",
        "repo/nginx:1.13.3-alpine-perl",
        "repo/etcd:v2",
    ] {
        assert!(!tags.contains_key(name), "{name}");
    }
    // What was named by its digest is there by its digest.
    for local in &world.local {
        let name = format!("docker://{}/repo/redis@{by_digest}", local.address);
        world
            .desk
            .dhow(&["inspect", "--tls-verify=false", &name])
            .ok();
    }
    world.alike(
        "sync --src yaml --dest dir --scoped sync.yml /media/usb",
        &["usb/registry.example.com/busybox:latest"],
    );
    // images-by-semver came into the manual later; Debian's skopeo may not know it.
    let semver = file
        .replace(r"nginx: ^1\.13\.[12]-alpine-perl$", "nginx: ^none$")
        .replace(
            "    credentials:",
            "    images-by-semver:\n        alpine: \">= 3.12.0\"\n    credentials:",
        );
    std::fs::write(world.desk.path("semver.yml"), semver).unwrap();
    world.run(
        1,
        "sync --src yaml --dest docker semver.yml my-registry.local.lan/semver",
    );
    let tags: Vec<_> = world.tags(1).into_keys().collect();
    let alpine: Vec<_> = tags
        .iter()
        .filter(|name| name.starts_with("semver/alpine"))
        .collect();
    assert_eq!(alpine, ["semver/alpine:3.12.0", "semver/alpine:3.20.1"]);
}
