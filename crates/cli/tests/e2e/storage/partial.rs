//! Layers of zstd:chunked: of a new version only the files come that the store lacks.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::FileExt as _;

use dhow_testkit::image::noise;
use serde_json::Value;

use super::archive::{Item, file, folder, item, link};
use super::odd::write_image;
use super::store::{Store, allow_all, can_be_tested};
use super::{DRIVERS, given_out, mounted, pull, told, tree};
use crate::cutter::{Cutter, Plan};
use crate::dhow::Desk;
use crate::registry::{Registry, Wanted};
use crate::tools;

const INSECURE: &str = "--src-tls-verify=false";
const INSECURE_TOO: &str = "--dest-tls-verify=false";

/// The files of the image, and the size of most of them.
const FILES: u64 = 40;
const SIZE: usize = 200_000;

/// One layer of many files; those in `changed` are another version's.
fn layer(changed: &[u64]) -> Vec<Item<'static>> {
    let mut items = vec![folder("usr"), folder("usr/lib").mode(0o711)];
    for number in 0..FILES {
        let name: &'static str = format!("usr/lib/lib{number}.so").leak();
        let seed = number + 1000 * u64::from(changed.contains(&number));
        let size = SIZE + usize::try_from(number).unwrap();
        let mode = if number % 7 == 0 { 0o4755 } else { 0o644 };
        let content: &'static [u8] = noise(seed, size).leak();
        items.push(item(b'0', name).bytes(content).mode(mode).owner(number, 5));
    }
    items.push(file("usr/small", "s"));
    items.push(file("usr/empty", ""));
    items.push(link(b'1', "usr/hard", "usr/lib/lib1.so"));
    items.push(link(b'2', "usr/symbolic", "lib/lib2.so"));
    items
}

/// A registry with the versions of an image, compressed as zstd:chunked.
struct Published {
    registry: Registry,
    /// Counts what passes between dhow and the registry.
    relay: Cutter,
    /// What the relay does.
    plan: Cell<Plan>,
    /// The size of the large layer of the last version.
    size: u64,
}

impl Published {
    /// Publishes the versions 1, 2, …, each with the files changed that are named, and one called
    /// `turned` with the layers of the last the other way round.
    fn new(desk: &Desk, versions: &[&[u64]], debian: bool) -> Self {
        let registry = if debian {
            Registry::debian(desk, "registry", Wanted::default())
        } else {
            Registry::dhow(desk, "registry", Wanted::default())
        };
        let mut size = 0;
        let numbers = 1..=versions.len();
        let names = numbers.map(|number| format!("v{number}"));
        let names: Vec<String> = ["turned".to_owned()].into_iter().chain(names).collect();
        let last = versions.last().unwrap();
        for (name, changed) in names.iter().zip([last].into_iter().chain(versions)) {
            let mut layers = [layer(changed), vec![file("top", "1")]];
            if name == "turned" {
                layers.reverse();
            }
            write_image(&desk.path("lay"), name, &layers);
            let to = format!("docker://{}/app:{name}", registry.address);
            let format = ["--dest-compress-format", "zstd:chunked"];
            let copy = ["copy", "-q", INSECURE_TOO, format[0], format[1]];
            let from = format!("oci:./lay:{name}");
            desk.dhow(&[&copy[..], &[&from, &to]].concat()).ok();
            let raw = desk.dhow(&["inspect", "--raw", "--tls-verify=false", &to]);
            size = raw.json()["layers"][0]["size"].as_u64().unwrap();
        }
        let relay = Cutter::start(&registry.address, Plan::Count);
        Self {
            registry,
            relay,
            plan: Cell::new(Plan::Count),
            size,
        }
    }

    /// Copies a version into a store; returns what the result says, and how many bytes passed.
    fn copy(&self, desk: &Desk, version: &str, store: &Store) -> (Value, u64) {
        self.relay.change(self.plan.get());
        let from = format!("docker://{}/app:{version}", self.relay.address);
        let to = store.name(&format!("localhost/app:{version}"));
        let copied = desk.dhow(&["copy", "--output", "json", INSECURE, &from, &to]);
        (copied.json(), self.relay.passed())
    }
}

/// Asserts that a store has the same image as one that podman has filled from the layout.
fn assert_as_podman_has_it(desk: &Desk, store: &Store, version: &str) {
    let theirs = Store::new(desk, store.driver, &format!("theirs-{version}"));
    let id = pull(desk, &theirs, version).ok().trim().to_owned();
    let ours = format!("localhost/app:{version}");
    mounted(desk, store, &ours, |ours_at| {
        mounted(desk, &theirs, &id, |theirs_at| {
            tree::assert_same(ours_at, theirs_at);
        });
    });
    let rootfs = |store: &Store, id: &str| told(desk, store, id)[0]["RootFS"].clone();
    let layers = rootfs(store, &ours);
    assert_eq!(layers, rootfs(&theirs, &id));
    let diff_ids = layers["Layers"].as_array().unwrap().iter();
    let diff_ids = diff_ids.map(|layer| layer.as_str().unwrap().to_owned());
    assert_eq!(given_out(desk, store, &ours), diff_ids.collect());
}

/// Changes a file of an image in a store, whose size and times stay.
fn tamper(store: &Store, name: &str) {
    let mut waiting = vec![store.path(store.driver)];
    let mut changed = 0;
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let about = entry.metadata().unwrap();
            if about.is_dir() {
                waiting.push(path);
            } else if path.file_name().is_some_and(|found| found == name) {
                let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
                file.write_all_at(b"tampered", 1000).unwrap();
                file.set_modified(about.modified().unwrap()).unwrap();
                changed += 1;
            }
        }
    }
    assert!(changed > 0);
}

#[test]
fn of_a_new_version_only_the_changed_files_come() {
    if !can_be_tested() || !tools::has("docker-registry") {
        return;
    }
    for (driver, debian) in DRIVERS.into_iter().zip([true, false]) {
        let desk = Desk::new();
        allow_all(&desk);
        let published = Published::new(&desk, &[&[], &[17], &[17, 3]], debian);
        let store = Store::new(&desk, driver, "store");
        let (_, whole) = published.copy(&desk, "v1", &store);
        assert!(
            whole > published.size,
            "{driver}: {whole} bytes of the first"
        );

        // The last one finds files of both that were there before.
        for version in ["v2", "v3"] {
            let (result, passed) = published.copy(&desk, version, &store);
            let (most, size) = (SIZE as u64 + published.size / 20, published.size);
            assert!(
                passed < most,
                "{driver} {version}: {passed} of {size} bytes"
            );
            let sent = result["sent"]["bytes"].as_u64().unwrap();
            assert!(
                sent > SIZE as u64 && sent < passed,
                "{driver} {version}: {result}"
            );
            assert_as_podman_has_it(&desk, &store, version);
        }
        assert_eq!(store.assert_healthy(&desk).len(), 3);
        // What no whole blob was seen of is known by its content.
        let copied = published.copy(&desk, "turned", &store);
        assert!(copied.1 < published.size / 20, "{driver}: {copied:?}");
        let gone = store.run(&desk, &["rmi", "localhost/app:v1", "localhost/app:v2"]);
        assert_eq!(gone.code, Some(0), "{gone:?}");
        assert_as_podman_has_it(&desk, &store, "v3");
    }
}

#[test]
fn a_registry_that_lies_about_parts_or_has_none_is_asked_for_the_whole() {
    if !can_be_tested() {
        return;
    }
    for (what, plan) in [
        ("lies", Plan::Lie { before: 4_000_000 }),
        ("lies about the table", Plan::Lie { before: u64::MAX }),
        ("has no parts", Plan::Whole),
    ] {
        let desk = Desk::new();
        allow_all(&desk);
        let published = Published::new(&desk, &[&[], &[17]], false);
        let store = Store::new(&desk, "overlay", "store");
        published.copy(&desk, "v1", &store);
        published.plan.set(plan);
        let (result, passed) = published.copy(&desk, "v2", &store);
        assert!(passed > published.size, "{what}: {passed} bytes");
        // Whoever sends the whole for each part is not listened to. What was on its way is lost.
        assert!(passed < published.size * 2, "{what}: {passed} bytes");
        let sent = result["sent"]["bytes"].as_u64().unwrap();
        assert!(sent > published.size, "{what}: {result}");
        assert_as_podman_has_it(&desk, &store, "v2");
        store.assert_healthy(&desk);
    }
}

#[test]
fn a_blob_that_is_not_what_it_was_never_becomes_a_layer() {
    if !can_be_tested() || !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    allow_all(&desk);
    let published = Published::new(&desk, &[&[], &[17]], true);
    let store = Store::new(&desk, "overlay", "store");
    published.copy(&desk, "v1", &store);
    let from = format!("docker://{}/app:v2", published.registry.address);
    let raw = desk.dhow(&["inspect", "--raw", "--tls-verify=false", &from]);
    let digest = raw.json()["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let hex = digest.trim_start_matches("sha256:");
    let inside = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    let blob = fs::OpenOptions::new()
        .write(true)
        .open(desk.path("registry").join(inside))
        .unwrap();
    // In the middle of the file that has changed.
    blob.write_all_at(b"changed", 17 * 200_200 + 100_000)
        .unwrap();
    let to = store.name("localhost/app:v2");
    let flags = ["copy", "-q", "--retry-delay=10ms", INSECURE];
    let refused = desk.dhow(&[&flags[..], &[&from, &to]].concat());
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.stderr.contains(&digest), "{refused:?}");
    assert_eq!(store.assert_healthy(&desk).len(), 1);
    let staged = fs::read_dir(store.path("overlay/dhow-staging")).unwrap();
    assert_eq!(staged.count(), 0);
}

#[test]
fn files_that_somebody_changed_in_the_store_are_not_used() {
    if !can_be_tested() {
        return;
    }
    for driver in DRIVERS {
        let desk = Desk::new();
        allow_all(&desk);
        let published = Published::new(&desk, &[&[], &[17]], false);
        let store = Store::new(&desk, driver, "store");
        published.copy(&desk, "v1", &store);
        tamper(&store, "lib5.so");
        let (_, passed) = published.copy(&desk, "v2", &store);
        assert!(passed > published.size, "{driver}: {passed} bytes");
        assert_as_podman_has_it(&desk, &store, "v2");
    }
}
