//! Sync chooses, names and places images as skopeo does; and what it can do beyond that.

use std::collections::BTreeMap;
use std::path::Path;

use dhow_model::Digest;
use dhow_testkit::image::{ImageSpec, IndexSpec, write_layout};

use crate::dhow::Desk;
use crate::registry::{Registry, Wanted};
use crate::sync::{OPEN, layout};
use crate::{samples, tools};

/// Returns the digest of each manifest in folders below a path.
pub(crate) fn folders(root: &Path) -> BTreeMap<String, Digest> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Digest>) {
        for entry in std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map_while(Result::ok)
        {
            let path = entry.path();
            if path.is_dir() {
                walk(root, &path, found);
            } else if path.file_name().is_some_and(|name| name == "manifest.json") {
                let name = folder.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, Digest::sha256(&std::fs::read(path).unwrap()));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// Fills a registry with two repositories of single images and an index.
fn fill(desk: &Desk, registry: &Registry) {
    let names = ["1.0.0", "1.2.0", "1.10.0", "2.0.0-rc1", "latest", "v3.1"];
    let names: Vec<_> = names.iter().map(|tag| format!("app:{tag}")).collect();
    layout(&desk.path("apps"), &names);
    let index = IndexSpec::oci(77, &samples::PLATFORMS).build();
    write_layout(&desk.path("indexes"), &[("multi/arch:l", &index)]);
    for name in ["apps", "indexes"] {
        let flags = [
            "sync", "--all", "--scoped", "--src", "oci", "--dest", "docker", OPEN[1],
        ];
        desk.dhow(&[&flags[..], &[name, &registry.address]].concat())
            .ok();
    }
}

#[test]
fn what_skopeo_syncs_dhow_syncs_under_the_same_names() {
    if !tools::has("skopeo") || !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let from = Registry::debian(&desk, "from", Wanted::default());
    fill(&desk, &from);
    let host = from.address.as_str();
    let yaml = format!(
        "{host}:\n  tls-verify: false\n  images:\n    app: [\"1.0.0\", latest]\n    multi/arch: []\n  \
         images-by-tag-regex:\n    app: ^1\\.[12]\n  images-by-semver:\n    app: \">= 1.2, < 2.1\"\n"
    );
    std::fs::write(desk.path("list.yaml"), yaml).unwrap();
    for (number, line) in [
        format!("--src docker --dest dir --src-tls-verify=false {host}/app"),
        format!("--src docker --dest dir --src-tls-verify=false --scoped {host}/app"),
        format!("--src docker --dest dir --src-tls-verify=false --scoped {host}/app:1.2.0"),
        format!("--src docker --dest dir --src-tls-verify=false --all {host}/multi/arch"),
        format!("--src docker --dest dir --src-tls-verify=false {host}/multi/arch:l"),
        "--src yaml --dest dir --scoped list.yaml".to_owned(),
        "--src yaml --dest dir --all list.yaml".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let run = |tool: &str| {
            let folder = format!("{tool}-{number}");
            std::fs::create_dir(desk.path(&folder)).unwrap();
            let mut arguments = vec!["sync"];
            arguments.extend(line.split(' '));
            arguments.push(&folder);
            if tool == "dhow" {
                desk.dhow(&arguments).ok();
            } else {
                tools::run_skopeo(&desk, &arguments);
            }
            folders(&desk.path(&folder))
        };
        let theirs = run("skopeo");
        assert!(!theirs.is_empty(), "{line}");
        assert_eq!(run("dhow"), theirs, "{line}");
    }
}

#[test]
fn folders_that_skopeo_wrote_go_into_registries_under_the_same_names() {
    if !tools::has("skopeo") || !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let from = Registry::debian(&desk, "from", Wanted::default());
    let to = Registry::debian(&desk, "to", Wanted::default());
    fill(&desk, &from);
    let app = format!("{}/app", from.address);
    std::fs::create_dir(desk.path("usb")).unwrap();
    let out = [
        "sync", "--src", "docker", "--dest", "dir", OPEN[0], "--scoped", &app, "usb",
    ];
    tools::run_skopeo(&desk, &out);
    let lists = ["skopeo", "dhow"].map(|tool| {
        let into = format!("{}/{tool}", to.address);
        let arguments = [
            "sync", "--src", "dir", "--dest", "docker", OPEN[1], "usb", &into,
        ];
        if tool == "dhow" {
            desk.dhow(&arguments).ok();
        } else {
            tools::run_skopeo(&desk, &arguments);
        }
        let name = format!("docker://{into}/app");
        desk.dhow(&["list-tags", "--tls-verify=false", &name])
            .json()["Tags"]
            .clone()
    });
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[0].as_array().unwrap().len(), 6);
}

#[test]
fn a_second_run_updates_a_folder_a_layout_and_an_archive() {
    let desk = Desk::new();
    let old: Vec<_> = (0..4).map(|number| format!("app:t{number}")).collect();
    layout(&desk.path("source"), &old);
    let from = Registry::dhow(&desk, "source", Wanted::default());
    let app = format!("{}/app", from.address);
    for (seed, target) in [(901, "dir"), (902, "oci"), (903, "oci-archive")] {
        let run = || {
            let flags = [
                "sync",
                "--src",
                "docker",
                "--dest",
                target,
                OPEN[0],
                "--output=json",
            ];
            let report = desk.dhow(&[&flags[..], &[&app, target]].concat()).json();
            ["added", "changed", "unchanged"].map(|field| report["report"][field].as_u64().unwrap())
        };
        let before = run();
        assert!(before[0] >= 4, "{before:?}");
        assert_eq!(run(), [0, 0, before[0]]);
        let image = ImageSpec::oci(seed).build();
        write_layout(&desk.path("new"), &[("x", &image)]);
        for tag in ["t1", target] {
            let name = format!("docker://{app}:{tag}");
            desk.dhow(&["copy", OPEN[1], "oci:new:x", &name]).ok();
        }
        assert_eq!(run(), [1, 1, before[0] - 1], "{target}");
    }
}

#[test]
fn tags_are_chosen_by_expression_version_and_number() {
    let desk = Desk::new();
    let from = Registry::dhow(&desk, "from", Wanted::default());
    fill(&desk, &from);
    let app = format!("{}/app", from.address);
    for (flags, expected) in [
        ("--tags-regex=^1", "1.0.0 1.10.0 1.2.0"),
        ("--tags-semver=>=1.2,<2", "1.10.0 1.2.0"),
        ("--exclude=rc --exclude=latest", "1.0.0 1.10.0 1.2.0 v3.1"),
        ("--newest=2", "2.0.0-rc1 v3.1"),
        ("--tags-regex=^1 --newest=1", "1.10.0"),
    ] {
        let flags: Vec<_> = flags.split(' ').collect();
        let listed = ["list-tags", "--tls-verify=false", "--output=table"];
        let name = format!("docker://{app}");
        let list = desk.dhow(&[&listed[..], &flags, &[&name]].concat()).ok();
        assert_eq!(
            list.split_whitespace().collect::<Vec<_>>().join(" "),
            expected
        );
        let out = format!("out-{}", flags.join("").len() * 31 + expected.len());
        let sync = ["sync", "--src", "docker", "--dest", "dir", OPEN[0]];
        desk.dhow(&[&sync[..], &flags, &[&app, &out]].concat()).ok();
        let found = folders(&desk.path(&out)).into_keys();
        let found: Vec<_> = found
            .map(|name| name.trim_start_matches("app:").to_owned())
            .collect();
        assert_eq!(found.join(" "), expected);
    }
}

#[test]
fn a_whole_registry_is_synced_and_its_repositories_are_listed() {
    let desk = Desk::new();
    let from = Registry::dhow(&desk, "from", Wanted::default());
    let to = Registry::dhow(&desk, "to", Wanted::default());
    fill(&desk, &from);
    let into = format!("{}/copy", to.address);
    let flags = [
        "sync", "--all", "--scoped", "--src", "registry", "--dest", "docker", OPEN[0], OPEN[1],
    ];
    let rename = format!("--rename=^{}/=", from.address.replace('.', "\\."));
    desk.dhow(&[&flags[..], &[&rename, &from.address, &into]].concat())
        .ok();
    let list = desk
        .dhow(&["list-repositories", "--tls-verify=false", &to.address])
        .json();
    assert_eq!(
        list["Repositories"],
        serde_json::json!(["copy/app", "copy/multi/arch"])
    );
    let part = format!("{}/copy/multi", to.address);
    let table = [
        "list-repositories",
        "--tls-verify=false",
        "--output=table",
        &part,
    ];
    assert_eq!(desk.dhow(&table).ok(), "copy/multi/arch\n");
}

#[test]
fn command_lines_that_make_no_sense_are_refused() {
    let desk = Desk::new();
    for (line, words) in [
        (
            "--src docker --dest docker a",
            "Exactly two arguments expected",
        ),
        ("--dest docker a b", "A source transport must be specified"),
        (
            "--src docker a b",
            "A destination transport must be specified",
        ),
        (
            "--src ftp --dest docker a b",
            "\"ftp\" is not a valid source transport",
        ),
        (
            "--src docker --dest ftp a b",
            "\"ftp\" is not a valid destination transport",
        ),
        (
            "--src dir --dest dir a b",
            "sync from 'dir' to 'dir' not implemented",
        ),
        (
            "--src docker --dest dir --tags-regex ( a b",
            "`--tags-regex` makes no sense",
        ),
        (
            "--src docker --dest dir --shard 3/2 a b",
            "`--shard` makes no sense",
        ),
        (
            "--src docker --dest docker --delete --max-delete x a b",
            "neither a number nor a share",
        ),
    ] {
        let mut arguments = vec!["sync"];
        arguments.extend(line.split(' '));
        let stderr = desk.dhow(&arguments).fails(64);
        assert!(stderr.contains(words), "{line}: {stderr}");
    }
    std::fs::create_dir(desk.path("empty")).unwrap();
    let stderr = desk
        .dhow(&[
            "sync",
            "--src",
            "dir",
            "--dest",
            "docker",
            "empty",
            "localhost:1/m",
        ])
        .fails(2);
    assert!(
        stderr.contains("no images to sync found in \"empty\""),
        "{stderr}"
    );
    std::fs::write(desk.path("bad.yaml"), "quay.io: {images: [a]}").unwrap();
    desk.dhow(&["sync", "--src", "yaml", "--dest", "dir", "bad.yaml", "out"])
        .fails(8);
}
