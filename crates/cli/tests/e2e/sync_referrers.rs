//! Signatures, SBOMs and attestations travel with the images they refer to, between registries that
//! have the referrers API and those that do not.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use dhow_model::Digest;
use dhow_testkit::image::{ImageSpec, SampleImage, write_layout};
use serde_json::{Value, json};

use crate::dhow::Desk;
use crate::registry::{Registry, Wanted};
use crate::sync::OPEN;
use crate::tools;

/// Sends a request and returns status and body.
fn ask(address: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: {INDEX}\r\nAccept: {INDEX}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Returns what is listed as referring to a manifest, under a path below the repository.
fn listed(address: &str, path: &str) -> BTreeSet<String> {
    let (status, body) = ask(address, "GET", path, &Value::Null);
    assert_eq!(status, 200, "{path}: {body}");
    let index: Value = serde_json::from_str(&body).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let digests: BTreeSet<_> = entries
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(digests.len(), entries.len(), "{body}");
    for entry in entries {
        assert_eq!(
            entry["artifactType"], "application/vnd.example.sbom",
            "{body}"
        );
    }
    digests
}

fn api(repository: &str, subject: &Digest) -> String {
    format!("/v2/{repository}/referrers/{subject}")
}

fn fallback(repository: &str, subject: &Digest) -> String {
    format!("/v2/{repository}/manifests/sha256-{}", subject.hex())
}

fn digests(images: &[&SampleImage]) -> BTreeSet<String> {
    images
        .iter()
        .map(|one| one.root.digest().to_string())
        .collect()
}

/// Publishes images under tags of the repository `app`.
fn publish(desk: &Desk, to: &str, images: &[(&str, &SampleImage)]) {
    write_layout(&desk.path("artifacts"), images);
    for (tag, _) in images {
        let name = format!("docker://{to}/app:{tag}");
        desk.dhow(&["copy", OPEN[1], &format!("oci:artifacts:{tag}"), &name])
            .ok();
    }
    std::fs::remove_dir_all(desk.path("artifacts")).unwrap();
}

fn sync(desk: &Desk, from: &str, to: &str) {
    let source = format!("{from}/app:1.0");
    let into = format!("{to}/m");
    let flags = ["sync", "--src", "docker", "--dest", "docker", "--referrers"];
    desk.dhow(&[&flags[..], &OPEN, &[&source, &into]].concat())
        .ok();
}

#[test]
fn what_refers_to_an_image_comes_along_with_and_without_the_referrers_api() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let image = ImageSpec::oci(1).build();
    let sbom = ImageSpec::artifact(2).subject(&image.root).build();
    let signature = ImageSpec::artifact(3).subject(&image.root).build();
    // A signature of the SBOM.
    let nested = ImageSpec::artifact(4).subject(&sbom.root).build();
    let late = ImageSpec::artifact(5).subject(&image.root).build();
    let (of_image, of_sbom) = (image.root.digest(), sbom.root.digest());
    let from = Registry::dhow(&desk, "from", Wanted::default());
    let with = Registry::dhow(&desk, "with", Wanted::default());
    let without = Registry::debian(&desk, "without", Wanted::default());
    let again = Registry::dhow(&desk, "again", Wanted::default());
    let images = [
        ("1.0", &image),
        ("a", &sbom),
        ("b", &signature),
        ("c", &nested),
    ];
    publish(&desk, &from.address, &images);
    for round in 0..3 {
        if round == 2 {
            publish(&desk, &from.address, &[("d", &late)]);
        }
        let mut all = vec![&sbom, &signature];
        all.extend((round == 2).then_some(&late));
        sync(&desk, &from.address, &with.address);
        assert_eq!(
            listed(&with.address, &api("m/app", &of_image)),
            digests(&all)
        );
        assert_eq!(
            listed(&with.address, &api("m/app", &of_sbom)),
            digests(&[&nested])
        );
        sync(&desk, &from.address, &without.address);
        let path = fallback("m/app", &of_image);
        assert_eq!(
            listed(&without.address, &path),
            digests(&all),
            "round {round}"
        );
        let path = fallback("m/app", &of_sbom);
        assert_eq!(listed(&without.address, &path), digests(&[&nested]));
    }
    // A registry that has the API gets no tags for it.
    let (status, _) = ask(
        &with.address,
        "GET",
        &fallback("m/app", &of_image),
        &Value::Null,
    );
    assert_eq!(status, 404);
    // And out of the one without.
    let source = format!("{}/m/app:1.0", without.address);
    let into = format!("{}/m", again.address);
    let flags = ["sync", "--src", "docker", "--dest", "docker", "--referrers"];
    desk.dhow(&[&flags[..], &OPEN, &[&source, &into]].concat())
        .ok();
    let all = digests(&[&sbom, &signature, &late]);
    assert_eq!(listed(&again.address, &api("m/app", &of_image)), all);
}

#[test]
fn a_copy_lists_an_artifact_where_the_registry_does_not() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let image = ImageSpec::oci(1).build();
    let artifacts: Vec<_> = (2..8)
        .map(|seed| ImageSpec::artifact(seed).subject(&image.root).build())
        .collect();
    let to = Registry::debian(&desk, "to", Wanted::default());
    publish(&desk, &to.address, &[("1.0", &image)]);
    for artifact in &artifacts {
        publish(&desk, &to.address, &[("x", artifact)]);
    }
    let all = digests(&artifacts.iter().collect::<Vec<_>>());
    let path = fallback("app", &image.root.digest());
    assert_eq!(listed(&to.address, &path), all);
    // What lies under the tag and is no list of referrers is not destroyed.
    let other = ImageSpec::oci(9).build();
    let tag = format!("sha256-{}", other.root.digest().hex());
    publish(&desk, &to.address, &[(tag.as_str(), &image)]);
    let late = ImageSpec::artifact(10).subject(&other.root).build();
    write_layout(&desk.path("late"), &[("x", &late)]);
    let name = format!("docker://{}/app:y", to.address);
    let stderr = desk.dhow(&["copy", OPEN[1], "oci:late:x", &name]).fails(8);
    assert!(stderr.contains("is no index of referrers"), "{stderr}");
}

#[test]
fn artifacts_that_refer_to_each_other_end() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let image = ImageSpec::oci(1).build();
    let sbom = ImageSpec::artifact(2).subject(&image.root).build();
    let from = Registry::debian(&desk, "from", Wanted::default());
    let to = Registry::dhow(&desk, "to", Wanted::default());
    publish(&desk, &from.address, &[("1.0", &image), ("a", &sbom)]);
    // Whoever may write tags can say that the image refers to what refers to it.
    let circle = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.root.digest(),
            "size": image.root.bytes().len(),
            "artifactType": "application/vnd.example.sbom",
        }],
    });
    let path = fallback("app", &sbom.root.digest());
    let (status, body) = ask(&from.address, "PUT", &path, &circle);
    assert_eq!(status, 201, "{body}");
    sync(&desk, &from.address, &to.address);
    let found = listed(&to.address, &api("m/app", &image.root.digest()));
    assert_eq!(found, digests(&[&sbom]));
}
