//! registries.conf as users have it: the places that are tried are those that skopeo tries, and a
//! copy gets through bad mirrors.

use std::fs;

use dhow_testkit::image::{ImageSpec, validate_layout};
use dhow_testkit::scripted::{Reply, ScriptedServer};

use crate::dhow::{Desk, outcome};
use crate::registry::{Registry, Wanted};
use crate::{samples, tools};

fn configure(desk: &Desk, text: &str) {
    let directory = desk.home().join(".config/containers");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("registries.conf"), text).unwrap();
}

/// Returns the places that a program tried, in order, from its debug output.
fn tried(text: &str, words: &str) -> Vec<String> {
    let mut places = Vec::new();
    for (_, rest) in text
        .match_indices(words)
        .map(|(at, _)| text.split_at(at + words.len()))
    {
        let end = rest.find(['"', '\\', ' ', '\n']).unwrap_or(rest.len());
        let place = rest[..end].trim_matches(['`', '“', '”']).to_owned();
        if places.last() != Some(&place) {
            places.push(place);
        }
    }
    places
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn the_places_that_are_tried_are_those_of_skopeo() {
    if !tools::has("skopeo") {
        return;
    }
    let desk = Desk::new();
    // Nobody listens on these ports: both programs tell where they went.
    configure(
        &desk,
        r#"
[[registry]]
prefix = "example.com/foo"
location = "127.0.0.1:1/bar"
[[registry.mirror]]
location = "127.0.0.1:2/mirror-for-foo"
[[registry.mirror]]
location = "127.0.0.1:3/mirrors/foo"
insecure = true
[[registry]]
prefix = "example.com/foo/deep"
location = "127.0.0.1:4/deep"
[[registry]]
prefix = "*.wild.invalid"
location = "127.0.0.1:5"
[[registry.mirror]]
location = "127.0.0.1:6/wild"
[[registry]]
prefix = "digest.invalid"
location = "127.0.0.1:7"
mirror-by-digest-only = true
[[registry.mirror]]
location = "127.0.0.1:8"
[[registry]]
prefix = "mixed.invalid"
location = "127.0.0.1:9"
[[registry.mirror]]
location = "127.0.0.1:10"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "127.0.0.1:11"
pull-from-mirror = "tag-only"
[[registry]]
prefix = "docker.io/library"
location = "127.0.0.1:12/hub"
"#,
    );
    let by_digest = |name: &str| format!("{name}@{DIGEST}");
    let names = [
        "example.com/foo/image:latest",
        "example.com/foo/image",
        "example.com/foo:1",
        "example.com/foo/deep/er:1",
        "x.wild.invalid/a/b:1",
        "y.x.wild.invalid/a:1",
        "digest.invalid/a:1",
        &by_digest("digest.invalid/a"),
        "mixed.invalid/a:1",
        &by_digest("mixed.invalid/a"),
        "centos:7",
    ];
    let compare = |name: &str| {
        let image = format!("docker://{name}");
        let mut skopeo = tools::skopeo(&desk);
        let theirs = outcome(skopeo.args(["--debug", "inspect", "--raw", &image])).fails(1);
        let theirs = tried(&theirs, "Trying to access \\\"");
        let ours = desk.dhow(&["--debug", "inspect", "--raw", &image]).fails(5);
        let ours = tried(&ours, "trying place=");
        assert!(!theirs.is_empty(), "{name}");
        assert_eq!(ours, theirs, "{name}");
    };
    // Each waits for a second or four before it gives up.
    std::thread::scope(|scope| {
        for name in names {
            let compare = &compare;
            scope.spawn(move || compare(name));
        }
    });
}

#[tokio::test]
async fn a_copy_gets_through_mirrors_that_are_dead_broken_or_lying() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let image = ImageSpec::oci(5).layers(3).build();
    let origin = Registry::debian(&desk, "origin", Wanted::default());
    let images = [("team/app", "1", image.clone())];
    samples::publish(
        &desk,
        &origin.address,
        &images,
        &["--dest-tls-verify=false"],
    );
    let broken = ScriptedServer::start(|_, _| Reply::status(503)).await;
    // It has the manifest, and gives zeros for every layer.
    let served = image.clone();
    let liar = ScriptedServer::start(move |seen, _| {
        if seen.path.contains("/manifests/") {
            return Reply::status(200)
                .header("content-type", served.root.media_type().as_str())
                .body(served.root.bytes().clone());
        }
        let last = seen.path.rsplit('/').next().unwrap_or_default();
        let mut blobs = served.blobs.iter();
        match blobs.find(|(blob, _)| blob.digest.to_string() == last) {
            Some((blob, bytes)) if blob.media_type.as_str().contains("config") => {
                Reply::status(200).body(bytes.clone())
            }
            Some((blob, _)) => {
                Reply::status(200).body(vec![0; usize::try_from(blob.size).unwrap_or_default()])
            }
            None => Reply::status(404),
        }
    })
    .await;
    configure(
        &desk,
        &format!(
            "[[registry]]\nprefix = 'place.test'\nlocation = '{}'\ninsecure = true\n\
             [[registry.mirror]]\nlocation = '127.0.0.1:1'\n\
             [[registry.mirror]]\nlocation = '{}'\ninsecure = true\n\
             [[registry.mirror]]\nlocation = '{}/cache'\ninsecure = true\n",
            origin.address,
            broken.address(),
            liar.address()
        ),
    );
    let copy = [
        "copy",
        "--output",
        "json",
        "docker://place.test/team/app:1",
        "oci:./copied:1",
    ];
    // The server of this test runs on this thread, so that the command must not hold it up.
    let mut command = desk.command();
    command.args(copy);
    let running = tokio::task::spawn_blocking(move || outcome(&mut command));
    let done = running.await.unwrap();
    for skipped in [
        "127.0.0.1:1/team/app",
        &format!("{}/team/app", broken.address()),
    ] {
        assert!(done.stderr.contains(skipped), "{done:?}");
    }
    let report = done.json();
    assert_eq!(
        report["servedBy"],
        format!("{}/cache/team/app", liar.address())
    );
    assert_eq!(report["digest"], image.root.digest().to_string());
    validate_layout(&desk.path("copied")).expect("every digest is right");
    // Nothing was written to, listed at or deleted from a mirror.
    for seen in liar.seen() {
        assert!(
            seen.method == "GET" || seen.method == "HEAD",
            "{}",
            seen.line()
        );
    }
}

#[test]
fn a_blocked_registry_is_refused_by_every_command() {
    let desk = Desk::new();
    configure(
        &desk,
        "[[registry]]\nlocation = '127.0.0.1:1'\nblocked = true\n",
    );
    let image = "docker://127.0.0.1:1/a:1";
    for arguments in [
        &["inspect", image][..],
        &["copy", image, "dir:./x"],
        &["list-tags", "docker://127.0.0.1:1/a"],
        &["delete", image],
        &["doctor", image],
    ] {
        let done = desk.dhow(arguments);
        assert_eq!(done.code, Some(7), "{done:?}");
        let told = format!("{}{}", done.stdout, done.stderr);
        assert!(
            told.contains("blocked") && told.contains("registries.conf"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_short_name_that_is_not_found_is_told_what_else_it_may_be() {
    let desk = Desk::new();
    let hub = ScriptedServer::start(|_, _| Reply::status(404)).await;
    configure(
        &desk,
        &format!(
            "unqualified-search-registries = ['docker.io', 'quay.io']\n\
             [aliases]\ntool = 'registry.example.com/team/tool'\n\
             [[registry]]\nprefix = 'docker.io'\nlocation = '{}'\ninsecure = true\n",
            hub.address()
        ),
    );
    let mut command = desk.command();
    command.args(["inspect", "docker://tool:1"]);
    let running = tokio::task::spawn_blocking(move || outcome(&mut command));
    let told = running.await.unwrap().fails(2);
    for word in [
        "docker.io/library/tool:1",
        "registry.example.com/team/tool:1",
        "quay.io/tool:1",
    ] {
        assert!(told.contains(word), "{told}");
    }
}

/// Docker Hub counts manifests that are read, and not the question for their digest.
#[tokio::test]
async fn an_image_of_docker_hub_that_is_there_already_costs_no_manifest() {
    let desk = Desk::new();
    let image = ImageSpec::oci(6).build();
    let served = image.clone();
    let hub = ScriptedServer::start(move |seen, _| {
        let last = seen.path.rsplit('/').next().unwrap_or_default();
        if seen.path.contains("/manifests/") {
            let reply = Reply::status(200)
                .header("content-type", served.root.media_type().as_str())
                .header("docker-content-digest", served.root.digest().to_string());
            return reply.body(served.root.bytes().clone());
        }
        let mut blobs = served.blobs.iter();
        match blobs.find(|(blob, _)| blob.digest.to_string() == last) {
            Some((_, bytes)) => Reply::status(200).body(bytes.clone()),
            None => Reply::status(404),
        }
    })
    .await;
    configure(
        &desk,
        &format!(
            "[[registry]]\nprefix = 'docker.io'\nlocation = '{}'\ninsecure = true\n",
            hub.address()
        ),
    );
    for unchanged in [false, true] {
        let before = hub.lines().len();
        let mut command = desk.command();
        command.args([
            "copy",
            "--output",
            "json",
            "docker://docker.io/team/app:1",
            "oci:./kept:1",
        ]);
        let running = tokio::task::spawn_blocking(move || outcome(&mut command));
        let report = running.await.unwrap().json();
        assert_eq!(report["unchanged"], unchanged, "{report}");
        assert_eq!(report["digest"], image.root.digest().to_string());
        let asked = hub.lines().split_off(before);
        let read = asked.iter().any(|line| line.starts_with("GET"));
        assert_eq!(read, !unchanged, "{asked:?}");
    }
}
