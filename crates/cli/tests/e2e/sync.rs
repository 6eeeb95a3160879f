//! Sync: many images, complete whatever happens on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dhow_testkit::image::{ImageSpec, SampleImage, write_layout};
use dhow_testkit::unruly::Unruly;
use serde_json::Value;

use crate::dhow::Desk;
use crate::memory::peak_of;
use crate::registry::{Registry, Wanted};
use crate::tools;

/// Flags for registries without encryption.
pub(crate) const OPEN: [&str; 2] = ["--src-tls-verify=false", "--dest-tls-verify=false"];

/// How many tags there are. `DHOW_E2E_TAGS=2000` is the full test.
#[expect(
    clippy::disallowed_methods,
    reason = "the size of the test is its runner's choice"
)]
fn how_many(usual: usize) -> usize {
    let given = std::env::var("DHOW_E2E_TAGS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Writes a layout with an image under each of these names.
pub(crate) fn layout(path: &Path, names: &[String]) {
    let images: Vec<SampleImage> = (0..names.len())
        .map(|number| {
            ImageSpec::oci(number as u64)
                .layers(1)
                .layer_size(500)
                .build()
        })
        .collect();
    let pairs: Vec<_> = names.iter().map(String::as_str).zip(&images).collect();
    write_layout(path, &pairs);
}

/// Serves a layout with tags `t0`, `t1`, … of the repository `app`.
fn source(desk: &Desk, tags: usize) -> Registry {
    let names: Vec<_> = (0..tags).map(|number| format!("app:t{number}")).collect();
    layout(&desk.path("source"), &names);
    Registry::dhow(desk, "source", Wanted::default())
}

/// Runs a sync from one registry to another and returns its words on stderr.
fn sync(desk: &Desk, from: &str, to: &str, more: &[&str]) -> crate::dhow::Outcome {
    let mut arguments = vec!["sync", "--src", "docker", "--dest", "docker"];
    arguments.extend(OPEN);
    arguments.extend(more);
    let (from, to) = (format!("{from}/app"), format!("{to}/mirror"));
    arguments.extend([from.as_str(), to.as_str()]);
    desk.dhow(&arguments)
}

/// Returns the verdicts of a dry run, by name at the destination.
fn verdicts(desk: &Desk, from: &str, to: &str, more: &[&str]) -> BTreeMap<String, String> {
    let flags = [&["--dry-run", "--output", "json"], more].concat();
    let report = sync(desk, from, to, &flags).json();
    let images = report["images"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    images
        .map(|image| (text(&image["destination"]), text(&image["verdict"])))
        .collect()
}

#[track_caller]
fn is_complete(desk: &Desk, from: &str, to: &str, tags: usize) {
    let verdicts = verdicts(desk, from, to, &[]);
    assert_eq!(verdicts.len(), tags);
    let wrong: Vec<_> = verdicts
        .iter()
        .filter(|(_, verdict)| *verdict != "unchanged")
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_sync_ends_complete_whatever_the_registries_answer() {
    let tags = how_many(80);
    let desk = Desk::new();
    let from = source(&desk, tags);
    for (seed, killed) in [(1, false), (2, true)] {
        let to = Registry::dhow(&desk, &format!("target-{seed}"), Wanted::default());
        let near = Unruly::start(&from.address, 100, seed);
        let far = Unruly::start(&to.address, 100, seed + 1000);
        let flags = [
            "--keep-going",
            "--retry-times=10",
            "--retry-delay=10ms",
            "--stall-timeout=1s",
        ];
        if killed {
            let mut command = desk.command();
            command
                .args(["sync", "--src", "docker", "--dest", "docker"])
                .args(OPEN)
                .args(flags);
            command.args([
                format!("{}/app", near.address),
                format!("{}/mirror", far.address),
            ]);
            let mut child = command.stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(700));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        sync(&desk, &near.address, &far.address, &flags).ok();
        assert!(
            near.bad() + far.bad() > tags as u64 / 4,
            "it was too good a day"
        );
        is_complete(&desk, &from.address, &to.address, tags);
    }
}

#[test]
fn a_killed_run_is_continued_without_asking_for_what_it_had_settled() {
    let desk = Desk::new();
    let from = source(&desk, 60);
    let to = Registry::dhow(&desk, "target", Wanted::default());
    // One image lacks a layer, so that the first run does not come to its end.
    let spoiled = spoil(&desk.path("source"), "app:t59");
    let stderr = sync(&desk, &from.address, &to.address, &["--parallel=1"]).fails(2);
    assert!(stderr.contains("app:t59"), "{stderr}");
    let before = from.requests().len();
    std::fs::write(&spoiled.0, &spoiled.1).unwrap();
    sync(&desk, &from.address, &to.address, &[]).ok();
    let asked = from.requests().split_off(before);
    let settled = asked
        .iter()
        .filter(|line| line.contains("/manifests/"))
        .count();
    assert!(
        settled < 10,
        "{settled} of 60 images were asked for again: {asked:?}"
    );
    is_complete(&desk, &from.address, &to.address, 60);
}

/// Takes the layer of an image away, and returns it.
fn spoil(layout: &Path, name: &str) -> (std::path::PathBuf, Vec<u8>) {
    let read =
        |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| {
        let digest = digest
            .as_str()
            .unwrap()
            .trim_start_matches("sha256:")
            .to_owned();
        layout.join("blobs/sha256").join(digest)
    };
    let index = read(&layout.join("index.json"));
    let mut entries = index["manifests"].as_array().unwrap().iter();
    let entry = entries
        .find(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == name)
        .unwrap();
    let layer = blob(&read(&blob(&entry["digest"]))["layers"][0]["digest"]);
    let bytes = std::fs::read(&layer).unwrap();
    std::fs::remove_file(&layer).unwrap();
    (layer, bytes)
}

#[test]
fn one_tag_with_a_missing_layer_is_named_and_everything_else_is_there() {
    let desk = Desk::new();
    let from = source(&desk, 12);
    let to = Registry::dhow(&desk, "target", Wanted::default());
    spoil(&desk.path("source"), "app:t7");
    let flags = [
        "--keep-going",
        "--failures=failed.jsonl",
        "--digestfile=digests",
    ];
    let stderr = sync(&desk, &from.address, &to.address, &flags).fails(11);
    assert!(stderr.contains("1 of 12 could not be synced"), "{stderr}");
    let failures = std::fs::read_to_string(desk.path("failed.jsonl")).unwrap();
    let failure: Value = serde_json::from_str(failures.trim()).unwrap();
    assert_eq!(
        failure["source"],
        format!("docker://{}/app:t7", from.address)
    );
    assert_eq!(failure["verdict"], "failed");
    assert_eq!(failure["failure"]["kind"], "not-found");
    let verdicts = verdicts(&desk, &from.address, &to.address, &[]);
    for (name, verdict) in &verdicts {
        let expected = if name.ends_with(":t7") {
            "added"
        } else {
            "unchanged"
        };
        assert_eq!(verdict, expected, "{name}");
    }
    let digests = std::fs::read_to_string(desk.path("digests")).unwrap();
    assert_eq!(digests.lines().count(), 11);
    assert!(
        digests
            .lines()
            .all(|line| line.starts_with("sha256:") && line.contains(" docker://"))
    );
}

#[test]
fn two_shards_do_together_what_one_run_does() {
    let desk = Desk::new();
    let from = source(&desk, 40);
    let (one, two) = (
        Registry::dhow(&desk, "one", Wanted::default()),
        Registry::dhow(&desk, "two", Wanted::default()),
    );
    sync(&desk, &from.address, &one.address, &[]).ok();
    let parts = ["1/2", "2/2"].map(|part| {
        let shard = format!("--shard={part}");
        sync(
            &desk,
            &from.address,
            &two.address,
            &[&shard, "--output=json"],
        )
        .json()
    });
    let counts = parts.map(|part| part["report"]["added"].as_u64().unwrap());
    assert_eq!(counts[0] + counts[1], 40);
    assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
    is_complete(&desk, &from.address, &two.address, 40);
}

#[test]
fn blobs_that_images_share_are_sent_once_and_mounted_elsewhere() {
    let desk = Desk::new();
    let image = ImageSpec::oci(1).layers(3).build();
    let names = ["a:1", "a:2", "b:1", "c/d:1"];
    write_layout(&desk.path("source"), &names.map(|name| (name, &image)));
    let to = Registry::dhow(&desk, "target", Wanted::default());
    let into = format!("{}/m", to.address);
    let arguments = [
        "sync", "--src", "oci", "--dest", "docker", "--scoped", OPEN[1], "source", &into,
    ];
    desk.dhow(&arguments).ok();
    let requests = to.requests();
    let count = |begin: &str| {
        requests
            .iter()
            .filter(|line| line.starts_with(begin))
            .count()
    };
    let blobs = image.blobs.len();
    let mut sent = 0;
    for repository in ["a", "b", "c/d"] {
        let posted = count(&format!("POST /v2/m/{repository}/blobs"));
        // Two images of `a` ask once; where a blob comes first is a matter of chance.
        assert_eq!(posted, blobs, "{repository}: {requests:?}");
        sent += count(&format!("PUT /v2/m/{repository}/blobs"));
    }
    assert_eq!(sent, blobs, "{requests:?}");
}

#[test]
fn two_images_for_one_name_are_told_and_one_that_is_chosen_twice_is_not() {
    let desk = Desk::new();
    let names = ["one/app:1", "two/app:1", "one/app:2"].map(str::to_owned);
    layout(&desk.path("source"), &names);
    let from = Registry::dhow(&desk, "source", Wanted::default());
    let list = format!(
        "{}:\n  tls-verify: false\n  images: {{one/app: [], two/app: []}}\n  \
         images-by-tag-regex: {{one/app: '2'}}\n",
        from.address
    );
    std::fs::write(desk.path("list.yaml"), list).unwrap();
    let flags = ["sync", "--src", "yaml", "--dest", "dir", "--parallel=1"];
    let stderr = desk
        .dhow(&[&flags[..], &["list.yaml", "out"]].concat())
        .fails(11);
    assert!(
        stderr.contains("tell their names apart with `--scoped`"),
        "{stderr}"
    );
    assert!(stderr.contains("1 of 3 could not be synced"), "{stderr}");
    desk.dhow(&[&flags[..], &["--scoped", "list.yaml", "out"]].concat())
        .ok();
}

#[test]
fn tags_that_are_gone_are_removed_and_nothing_else() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let names: Vec<_> = (0..20).map(|number| format!("app:t{number}")).collect();
    layout(&desk.path("all"), &names);
    layout(&desk.path("fewer"), &names[..17]);
    for debian in [false, true] {
        let to = if debian {
            Registry::debian(&desk, "debian", Wanted::default())
        } else {
            Registry::dhow(&desk, "own", Wanted::default())
        };
        let fill = |layout: &str, below: &str, more: &[&str]| {
            let into = format!("{}/{below}", to.address);
            let flags = ["sync", "--src", "oci", "--dest", "docker", OPEN[1]];
            desk.dhow(&[&flags[..], more, &[layout, &into]].concat())
        };
        let tags = |repository: &str| {
            let name = format!("docker://{}/{repository}", to.address);
            let list = desk
                .dhow(&["list-tags", "--tls-verify=false", &name])
                .json();
            let tags = list["Tags"].as_array().unwrap().iter();
            tags.map(|tag| tag.as_str().unwrap().to_owned())
                .collect::<BTreeSet<_>>()
        };
        fill("all", "m", &[]).ok();
        fill("all", "other", &[]).ok();
        // Another name of an image that stays, and a signature: neither is at the source.
        let signature = format!("sha256-{}.sig", "a".repeat(64));
        for (name, from) in [("t0-again", "t0"), (signature.as_str(), "t1")] {
            let copy = |tag: &str| format!("docker://{}/m/app:{tag}", to.address);
            desk.dhow(&["copy", OPEN[0], OPEN[1], &copy(from), &copy(name)])
                .ok();
        }
        let source = Registry::dhow(&desk, "fewer", Wanted::default());
        let from = &source.address;
        let into = format!("{}/m", to.address);
        let run = |more: &[&str]| {
            let flags = [
                "sync", "--src", "docker", "--dest", "docker", OPEN[0], OPEN[1],
            ];
            let repository = format!("{from}/app");
            desk.dhow(&[&flags[..], more, &[&repository, &into]].concat())
        };
        let all = tags("m/app");
        run(&[]).ok();
        assert_eq!(
            tags("m/app"),
            all,
            "nothing is removed unless it is asked for"
        );
        run(&["--delete"]).fails(11);
        assert_eq!(tags("m/app"), all, "4 of 22 are more than a tenth");
        run(&["--delete", "--max-delete=3"]).fails(11);
        run(&["--delete", "--max-delete=4", "--dry-run"]).ok();
        assert_eq!(tags("m/app"), all);
        // Tags that are not chosen are not gone.
        run(&["--delete", "--max-delete=4", "--tags-regex=t1$"]).ok();
        let left: BTreeSet<_> = (0..17)
            .map(|number| format!("t{number}"))
            .chain([signature.clone()])
            .collect();
        assert_eq!(tags("m/app"), left);
        assert_eq!(tags("other/app").len(), 20);
        // A source that cannot be listed removes nothing.
        let gone = format!("{from}/none");
        let arguments = [
            "sync", "--src", "docker", "--dest", "docker", OPEN[0], OPEN[1], "--delete",
        ];
        desk.dhow(&[&arguments[..], &["--keep-going", &gone, &into]].concat())
            .fails(1);
        assert_eq!(tags("m/app"), left);
    }
}

#[test]
fn memory_does_not_grow_with_the_number_of_tags() {
    let tags = how_many(400);
    let desk = Desk::new();
    let image = ImageSpec::oci(1).layers(1).layer_size(500).build();
    let names: Vec<_> = (0..tags).map(|number| format!("app:t{number}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), &image)).collect();
    write_layout(&desk.path("source"), &pairs);
    let from = Registry::dhow(&desk, "source", Wanted::default());
    let to = Registry::dhow(&desk, "target", Wanted::default());
    for _ in 0..2 {
        let mut command = desk.command();
        command
            .args(["sync", "--src", "docker", "--dest", "docker"])
            .args(OPEN);
        command.args([
            format!("{}/app", from.address),
            format!("{}/mirror", to.address),
        ]);
        let peak = peak_of(command);
        eprintln!("{tags} tags: {peak} KiB");
        assert!(peak < crate::memory::BOUND, "{peak} KiB");
    }
}

#[test]
fn a_sync_that_keeps_running_shows_how_it_is_and_ends_by_a_signal() {
    let desk = Desk::new();
    let from = source(&desk, 3);
    let to = Registry::dhow(&desk, "target", Wanted::default());
    let list = format!(
        "{}:\n  tls-verify: false\n  images: {{app: [t0]}}\n",
        from.address
    );
    std::fs::write(desk.path("list.yaml"), list).unwrap();
    let mut command = desk.command();
    command.args([
        "sync",
        "--src",
        "yaml",
        "--dest",
        "docker",
        OPEN[1],
        "--every=300ms",
    ]);
    command.args(["--listen=127.0.0.1:0", "list.yaml", &to.address]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("/healthz"))
        .unwrap();
    let address = told
        .split("http://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    // What it says must be read, or it would wait.
    let reader = std::thread::spawn(move || lines.map_while(Result::ok).count());
    let page = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let wait_for = |line: &str| {
        let found = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            page("/metrics").contains(line)
        });
        assert!(found, "{line}: {}", page("/metrics"));
    };
    wait_for("images_total{verdict=\"added\"} 1\n");
    // The list is read anew.
    let list = format!(
        "{}:\n  tls-verify: false\n  images: {{app: []}}\n",
        from.address
    );
    std::fs::write(desk.path("list.yaml"), list).unwrap();
    wait_for("images_total{verdict=\"added\"} 3\n");
    wait_for("dhow_sync_retries_total 0\n");
    assert!(
        page("/healthz").starts_with("HTTP/1.1 200"),
        "{}",
        page("/healthz")
    );
    assert!(page("/none").starts_with("HTTP/1.1 404"));
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .arg(&pid)
            .status()
            .unwrap()
            .success()
    );
    assert!(child.wait().unwrap().success());
    reader.join().unwrap();
}
