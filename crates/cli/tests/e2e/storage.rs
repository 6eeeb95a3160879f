//! Podman's storage: what dhow writes is what Podman writes, and what Podman and Buildah write, dhow
//! reads.

mod archive;
mod odd;
mod partial;
mod rootless;
mod store;
mod together;
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dhow_testkit::image::{ImageSpec, IndexSpec, write_layout};
use serde_json::Value;

use self::archive::{Item, file};
use self::odd::write_image;
pub(crate) use self::store::Store;
use self::store::{allow_all, can_be_tested};
use crate::dhow::{Desk, Outcome, outcome};
use crate::tools;

const DRIVERS: [&str; 2] = ["overlay", "vfs"];

/// Copies with dhow from a layout into a store.
fn copy_in(desk: &Desk, image: &str, store: &Store, name: &str) -> Outcome {
    desk.dhow(&[
        "copy",
        "-q",
        &format!("oci:./lay:{image}"),
        &store.name(name),
    ])
}

/// Writes a layout with the image `one`, and `two`, which has a layer more.
fn one_above_another(desk: &Desk) {
    let lower: Vec<Item<'_>> = vec![file("lower", "1")];
    write_image(&desk.path("lay"), "one", std::slice::from_ref(&lower));
    write_image(&desk.path("lay"), "two", &[lower, vec![file("upper", "1")]]);
}

/// Lets podman take an image from a layout; returns its ID.
fn pull(desk: &Desk, store: &Store, image: &str) -> Outcome {
    // A relative path: podman makes a name of it, in which there are no upper-case letters.
    let from = format!("oci:lay:{image}");
    store.run(desk, &["pull", "-q", &from])
}

/// Mounts an image, and calls something with where it is.
fn mounted<T>(desk: &Desk, store: &Store, id: &str, work: impl FnOnce(&Path) -> T) -> T {
    let path = store.run(desk, &["image", "mount", id]).ok();
    let result = work(Path::new(path.trim()));
    store.run(desk, &["image", "unmount", id]).ok();
    result
}

/// What podman tells of an image, without what depends on its name and its folder.
fn told(desk: &Desk, store: &Store, id: &str) -> Value {
    let text = store.run(desk, &["image", "inspect", id]).ok();
    let mut told: Value = serde_json::from_str(&text).unwrap();
    let image = told[0].as_object_mut().unwrap();
    for key in ["RepoTags", "RepoDigests", "GraphDriver", "NamesHistory"] {
        image.remove(key);
    }
    told
}

/// The digests of the layers' content in what podman saves.
fn saved(desk: &Desk, store: &Store, id: &str) -> Vec<String> {
    let path = desk.path("saved.tar");
    let to = path.display().to_string();
    store
        .run(
            desk,
            &["save", "-q", "--format", "docker-archive", "-o", &to, id],
        )
        .ok();
    let summary = desk.dhow(&["inspect", "docker-archive:./saved.tar"]).json();
    fs::remove_file(&path).unwrap();
    let layers = summary["Layers"].as_array().unwrap().iter();
    layers
        .map(|layer| layer.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_image_with_every_odd_thing_is_the_same_after_dhow_and_after_podman_pull() {
    if !can_be_tested() {
        return;
    }
    for driver in DRIVERS {
        let desk = Desk::new();
        allow_all(&desk);
        write_image(&desk.path("lay"), "odd", &odd::everything());
        let (ours, theirs) = (
            Store::new(&desk, driver, "ours"),
            Store::new(&desk, driver, "theirs"),
        );
        let id = pull(&desk, &theirs, "odd").ok().trim().to_owned();
        copy_in(&desk, "odd", &ours, "quay.io/test/odd:1").ok();

        let listed = [
            "images",
            "--no-trunc",
            "--format",
            "{{.ID}} {{.Digest}} {{.Size}}",
        ];
        assert_eq!(
            ours.run(&desk, &listed).ok(),
            theirs.run(&desk, &listed).ok()
        );
        let names = ours.run(&desk, &["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        assert_eq!(names.ok().trim(), "quay.io/test/odd:1");
        assert_eq!(told(&desk, &ours, &id), told(&desk, &theirs, &id));
        let history = ["history", "--no-trunc", "--format", "json", id.as_str()];
        let steps = |store: &Store| -> Vec<Value> {
            let text = store.run(&desk, &history).ok();
            let steps: Vec<Value> = serde_json::from_str(&text).unwrap();
            steps.iter().map(|step| step["size"].clone()).collect()
        };
        assert_eq!(steps(&ours), steps(&theirs));
        assert_eq!(saved(&desk, &ours, &id), saved(&desk, &theirs, &id));
        mounted(&desk, &ours, &id, |ours_at| {
            mounted(&desk, &theirs, &id, |theirs_at| {
                tree::assert_same(ours_at, theirs_at);
            });
        });
        ours.assert_healthy(&desk);
    }
}

#[test]
fn hostile_layers_have_podmans_verdict_and_touch_nothing_outside() {
    if !can_be_tested() {
        return;
    }
    for driver in DRIVERS {
        let desk = Desk::new();
        allow_all(&desk);
        let (ours, theirs) = (
            Store::new(&desk, driver, "ours"),
            Store::new(&desk, driver, "theirs"),
        );
        let mut refused = 0;
        for (name, items) in odd::hostile() {
            write_image(&desk.path("lay"), name, &[items]);
            let podman = pull(&desk, &theirs, name);
            let dhow = copy_in(&desk, name, &ours, name);
            let taken = dhow.code == Some(0);
            assert_eq!(
                taken,
                podman.code == Some(0),
                "{driver} {name}: {} / {}",
                dhow.stderr,
                podman.stderr
            );
            refused += usize::from(!taken);
            if taken {
                let id = podman.stdout.trim();
                mounted(&desk, &ours, id, |ours_at| {
                    mounted(&desk, &theirs, id, |theirs_at| {
                        tree::assert_same(ours_at, theirs_at);
                    });
                });
            }
        }
        assert!(refused > 8, "{refused} of them were refused");
        for outside in ["/evil", "/tmp/evil", "/tmp/dhow-evil", "/etc/evil"] {
            assert!(!Path::new(outside).exists(), "{outside}");
        }
        let staged = ours.path(&format!("{driver}/dhow-staging"));
        let left = fs::read_dir(&staged).map_or(0, Iterator::count);
        assert_eq!(left, 0, "nothing is left of what was refused");
        ours.assert_healthy(&desk);
    }
}

/// The digests of an image's layers, as dhow gives them out.
fn given_out(desk: &Desk, store: &Store, name: &str) -> BTreeSet<String> {
    let out = desk.path("out");
    drop(fs::remove_dir_all(&out));
    desk.dhow(&["copy", "-q", &store.name(name), "dir:./out"])
        .ok();
    let manifest: Value =
        serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    let digests = layers.map(|layer| layer["digest"].as_str().unwrap().to_owned());
    digests.collect()
}

#[test]
fn what_podman_and_buildah_wrote_comes_out_with_its_own_layers() {
    if !can_be_tested() || !tools::has("buildah") {
        return;
    }
    for driver in DRIVERS {
        let desk = Desk::new();
        allow_all(&desk);
        write_image(&desk.path("lay"), "odd", &odd::everything());
        let store = Store::new(&desk, driver, "store");
        let id = pull(&desk, &store, "odd").ok().trim().to_owned();
        let layers = |id: &str| -> BTreeSet<String> {
            let told = told(&desk, &store, id);
            let layers = told[0]["RootFS"]["Layers"].as_array().unwrap().iter();
            layers
                .map(|layer| layer.as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(given_out(&desk, &store, &id), layers(&id));

        let added = desk.path("added");
        fs::write(&added, "by buildah").unwrap();
        let buildah = |arguments: &[&str]| outcome(store.program(&desk, "buildah").args(arguments));
        let container = buildah(&["from", "--pull-never", &id]).ok();
        let container = container.trim();
        let added = added.display().to_string();
        buildah(&["copy", container, &added, "/added"]).ok();
        buildah(&["commit", "-q", container, "built:1"]).ok();
        let built = store.run(
            &desk,
            &["image", "inspect", "built:1", "--format", "{{.Id}}"],
        );
        let built = built.ok().trim().to_owned();
        assert_eq!(
            given_out(&desk, &store, "localhost/built:1"),
            layers(&built)
        );
        // A container uses the image.
        let used = desk.dhow(&["delete", &store.name(&id)]);
        assert_eq!(used.code, Some(9), "{used:?}");
        assert!(used.stderr.contains("is used by container"), "{used:?}");
        buildah(&["rm", "--all"]).ok();
    }
}

#[test]
fn a_deleted_name_leaves_the_others_and_the_last_takes_the_image_along() {
    if !can_be_tested() {
        return;
    }
    for driver in DRIVERS {
        let desk = Desk::new();
        allow_all(&desk);
        one_above_another(&desk);
        let store = Store::new(&desk, driver, "store");
        for (image, name) in [("one", "x:1"), ("one", "x:2"), ("two", "y:1")] {
            copy_in(&desk, image, &store, name).ok();
        }
        let tags = desk.dhow(&["list-tags", &store.name("x")]).json();
        assert_eq!(tags["Tags"], serde_json::json!(["1", "2"]));
        assert_eq!(tags["Repository"], "docker.io/library/x");
        let summary = desk.dhow(&["inspect", &store.name("y:1")]).json();
        assert_eq!(summary["Name"], "docker.io/library/y");

        desk.dhow(&["delete", &store.name("x:1")]).ok();
        assert_eq!(store.assert_healthy(&desk).len(), 2);
        desk.dhow(&["delete", &store.name("x:2")]).ok();
        assert_eq!(store.assert_healthy(&desk).len(), 1);
        mounted(&desk, &store, "y:1", |at| {
            assert!(at.join("lower").exists() && at.join("upper").exists());
        });
        let missing = desk.dhow(&["delete", &store.name("x:2")]);
        assert_eq!(missing.code, Some(2), "{missing:?}");
        desk.dhow(&["delete", &store.name("y:1")]).ok();
        assert!(store.assert_healthy(&desk).is_empty());
        let layers = fs::read_to_string(store.path(&format!("{driver}-layers/layers.json")));
        assert_eq!(layers.unwrap(), "[]");
    }
}

#[test]
fn a_name_moves_to_the_image_that_gets_it_and_layers_that_are_there_are_not_read_again() {
    if !can_be_tested() {
        return;
    }
    let desk = Desk::new();
    allow_all(&desk);
    one_above_another(&desk);
    let store = Store::new(&desk, "overlay", "store");
    copy_in(&desk, "one", &store, "x:1").ok();
    let copied = desk.dhow(&["copy", "oci:./lay:two", &store.name("x:1")]);
    let told = format!("{}{}", copied.stdout, copied.stderr);
    assert!(told.contains("1 blob already there"), "{copied:?}");
    let names = store.run(
        &desk,
        &["images", "--all", "--format", "{{.Repository}}:{{.Tag}}"],
    );
    let names = names.ok();
    assert!(names.contains("docker.io/library/x:1"), "{names}");
    assert!(names.contains("<none>:<none>"), "{names}");
    store.assert_healthy(&desk);
}

#[test]
fn an_index_is_kept_beside_the_image_that_was_chosen_and_whole_with_all() {
    if !can_be_tested() {
        return;
    }
    let desk = Desk::new();
    allow_all(&desk);
    let index = IndexSpec::oci(5, &["linux/amd64", "linux/s390x"]).build();
    write_layout(&desk.path("lay"), &[("index", &index)]);
    let store = Store::new(&desk, "overlay", "store");
    copy_in(&desk, "index", &store, "one:1").ok();
    let digests = ["image", "inspect", "one:1", "--format", "{{.RepoDigests}}"];
    let digests = store.run(&desk, &digests).ok();
    let wanted = index.root.digest().to_string();
    assert!(digests.contains(&wanted), "{digests}");

    let from = "oci:./lay:index";
    desk.dhow(&["copy", "-q", "--all", from, &store.name("all:1")])
        .ok();
    let listed = store.run(&desk, &["manifest", "inspect", "all:1"]).ok();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 2);
    let out = format!("oci:{}:index", desk.path("out").display());
    desk.dhow(&["copy", "-q", "--all", &store.name("all:1"), &out])
        .ok();
    let raw = desk.dhow(&["inspect", "--raw", &store.name("all:1")]).ok();
    assert_eq!(raw.as_bytes(), index.root.bytes());
}

#[test]
fn an_artifact_is_refused_with_what_to_do() {
    if !can_be_tested() {
        return;
    }
    let desk = Desk::new();
    let artifact = ImageSpec::artifact(9).build();
    write_layout(&desk.path("lay"), &[("artifact", &artifact)]);
    let store = Store::new(&desk, "overlay", "store");
    let refused = copy_in(&desk, "artifact", &store, "a:1");
    assert_eq!(refused.code, Some(10), "{refused:?}");
    assert!(
        refused.stderr.contains("hint: copy it to an OCI layout"),
        "{refused:?}"
    );
}

#[test]
fn a_sync_fills_a_store_and_empties_one_into_a_layout() {
    if !can_be_tested() {
        return;
    }
    let desk = Desk::new();
    allow_all(&desk);
    for (name, content) in [("q/app:1", "1"), ("q/app:2", "2")] {
        write_image(&desk.path("lay"), name, &[vec![file("a", content)]]);
    }
    let store = Store::new(&desk, "overlay", "store");
    let place = store.name("localhost/mirror");
    let place = place.trim_start_matches("containers-storage:");
    let fill = ["sync", "--src", "oci", "--dest", "containers-storage"];
    desk.dhow(&[&fill[..], &["./lay", place]].concat()).ok();
    let again = desk.dhow(&[&fill[..], &["./lay", place]].concat());
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(store.assert_healthy(&desk).len(), 2);

    let from = format!("{place}/app");
    let empty = ["sync", "--src", "containers-storage", "--dest", "oci"];
    desk.dhow(&[&empty[..], &[&from, "./out"]].concat()).ok();
    let tags = desk.dhow(&["list-tags", "oci:./out"]).json();
    // Images come at once: their order is a matter of chance.
    let tags = tags["Tags"].as_array().unwrap().iter();
    let tags: BTreeSet<_> = tags.map(|tag| tag.as_str().unwrap()).collect();
    assert_eq!(tags, BTreeSet::from(["app:1", "app:2"]));
}

#[test]
fn images_of_an_additional_store_are_read_and_their_layers_used() {
    if !can_be_tested() {
        return;
    }
    let desk = Desk::new();
    allow_all(&desk);
    one_above_another(&desk);
    let (own, other) = (
        Store::new(&desk, "overlay", "own"),
        Store::new(&desk, "overlay", "other"),
    );
    copy_in(&desk, "one", &other, "x:1").ok();
    let settings = desk.path("storage.conf");
    let text = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n\
         [storage.options]\nadditionalimagestores = [{:?}]\n",
        own.path(""),
        desk.path("own-run"),
        other.path(""),
    );
    fs::write(&settings, text).unwrap();
    let with = |mut command: std::process::Command, arguments: &[&str]| {
        command.env("CONTAINERS_STORAGE_CONF", &settings);
        outcome(command.args(arguments))
    };
    let dhow = |arguments: &[&str]| with(desk.command(), arguments);
    let podman = |arguments: &[&str]| with(desk.dressed("podman"), arguments);
    let summary = dhow(&["inspect", "containers-storage:x:1"]).json();
    assert_eq!(summary["Name"], "docker.io/library/x");
    let refused = dhow(&["delete", "containers-storage:x:1"]);
    assert_eq!(refused.code, Some(10), "{refused:?}");

    dhow(&["copy", "-q", "oci:./lay:two", "containers-storage:y:1"]).ok();
    let at = podman(&["image", "mount", "y:1"]).ok();
    let at = Path::new(at.trim());
    assert!(at.join("lower").exists() && at.join("upper").exists());
    podman(&["image", "unmount", "y:1"]).ok();
    let layers = fs::read_to_string(own.path("overlay-layers/layers.json")).unwrap();
    let layers: Value = serde_json::from_str(&layers).unwrap();
    assert_eq!(
        layers.as_array().unwrap().len(),
        1,
        "the lower one is elsewhere"
    );
    dhow(&["copy", "-q", "containers-storage:y:1", "dir:./out"]).ok();
}
