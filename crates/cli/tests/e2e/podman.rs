//! podman at `dhow serve`.

use std::process::Command;

use dhow_testkit::image::{ImageSpec, write_layout};

use crate::dhow::{Desk, outcome};
use crate::registry::{Registry, Wanted};
use crate::tools;

/// Returns podman with a storage of its own, ready for a command.
fn podman(desk: &Desk) -> Command {
    let mut command = desk.dressed("podman");
    command
        .args(["--storage-driver", "vfs", "--root"])
        .arg(desk.path("podman-root"))
        .arg("--runroot")
        .arg(desk.path("podman-run"));
    command
}

#[test]
fn podman_pulls_from_and_pushes_to_dhow_serve() {
    if !tools::has("podman") {
        return;
    }
    if !tools::is_root() {
        eprintln!("skipped: podman without root needs user namespaces");
        return;
    }
    let desk = Desk::new();
    let policy = desk.home().join(".config/containers/policy.json");
    std::fs::create_dir_all(policy.parent().expect("it has one")).unwrap();
    std::fs::write(
        &policy,
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    let policy = format!("--signature-policy={}", policy.display());

    let image = ImageSpec::oci(11).build();
    write_layout(&desk.path("origin"), &[("image", &image)]);
    let server = Registry::dhow(&desk, "served", Wanted::default());
    let remote = |name: &str| format!("{}/{name}", server.address);
    let to = format!("docker://{}", remote("samples/image:1"));
    desk.dhow(&["copy", "--dest-tls-verify=false", "oci:./origin:image", &to])
        .ok();

    let name = remote("samples/image:1");
    let pull = ["pull", "--quiet", "--tls-verify=false", &policy, &name];
    outcome(podman(&desk).args(pull)).ok();
    let listed =
        outcome(podman(&desk).args(["images", "--format", "{{.Repository}}:{{.Tag}}"])).ok();
    assert!(listed.contains(&name), "{listed}");

    let pushed = remote("pushed/image:2");
    let push = [
        "push",
        "--quiet",
        "--tls-verify=false",
        &policy,
        &name,
        &pushed,
    ];
    outcome(podman(&desk).args(push)).ok();
    let summary = desk
        .dhow(&[
            "inspect",
            "--tls-verify=false",
            &format!("docker://{pushed}"),
        ])
        .json();
    assert_eq!(summary["Architecture"], "amd64");
    outcome(podman(&desk).args(["rmi", "--all", "--force"])).ok();
}

#[test]
fn podman_pulls_from_a_layout_that_skopeo_made() {
    if !tools::has("podman") || !tools::has("skopeo") || !tools::is_root() {
        return;
    }
    let desk = Desk::new();
    let policy = desk.path("policy.json");
    std::fs::write(
        &policy,
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    let image = ImageSpec::oci(12).build();
    write_layout(&desk.path("origin"), &[("image", &image)]);
    tools::run_skopeo(
        &desk,
        &["copy", "-q", "oci:./origin:image", "oci:./target:centos:7"],
    );
    let server = Registry::dhow(
        &desk,
        "target",
        Wanted {
            read_only: true,
            ..Wanted::default()
        },
    );
    let name = format!("{}/centos:7", server.address);
    let policy = format!("--signature-policy={}", policy.display());
    let pull = ["pull", "--quiet", "--tls-verify=false", &policy, &name];
    outcome(podman(&desk).args(pull)).ok();
}
