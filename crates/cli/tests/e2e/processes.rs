//! Many processes at one layout, and processes that are killed.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use dhow_model::Annotations;
use dhow_testkit::image::{ImageSpec, SampleImage, validate_layout, write_layout};

use crate::dhow::Desk;
use crate::registry::{Registry, Wanted};
use crate::{samples, tools};

const WRITERS: u64 = 20;
const ROUNDS: usize = 3;

#[test]
fn heavy_twenty_processes_copy_twenty_tags_into_one_layout() {
    let desk = Desk::new();
    let images: Vec<(String, SampleImage)> = (0..WRITERS)
        .map(|seed| (format!("tag-{seed}"), ImageSpec::oci(seed).build()))
        .collect();
    let named: Vec<(&str, &SampleImage)> = images
        .iter()
        .map(|(name, image)| (name.as_str(), image))
        .collect();
    write_layout(&desk.path("origin"), &named);
    for round in 0..ROUNDS {
        let target = format!("target-{round}");
        let children: Vec<_> = images
            .iter()
            .map(|(name, _)| {
                let mut command = desk.command();
                command.args(["copy", "--quiet"]);
                command.arg(format!("oci:./origin:{name}"));
                command.arg(format!("oci:./{target}:{name}"));
                command.stderr(Stdio::piped()).spawn().expect("dhow starts")
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().expect("it ends");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let content = validate_layout(&desk.path(&target)).expect("the layout is whole");
        assert_eq!(content.names.len(), images.len());
        for (name, image) in &images {
            let entry = content
                .entries
                .iter()
                .find(|entry| entry.annotations.value(Annotations::REF_NAME) == Some(name.as_str()))
                .unwrap_or_else(|| panic!("{name} is missing in round {round}"));
            assert_eq!(entry.digest, image.root.digest());
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_and_the_next_one_finishes() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let hub = Registry::debian(&desk, "hub", Wanted::default());
    let kept = ImageSpec::oci(1).build();
    write_layout(&desk.path("target"), &[("kept", &kept)]);
    samples::large_layout(&desk.path("large"), 48);
    let remote = format!("docker://{}/large:1", hub.address);
    desk.dhow(&[
        "copy",
        "--dest-tls-verify=false",
        "oci:./large:image",
        &remote,
    ])
    .ok();
    for wait in [5, 50, 120, 250] {
        let mut child = desk
            .command()
            .args([
                "copy",
                "--src-tls-verify=false",
                "--quiet",
                &remote,
                "oci:./target:large",
            ])
            .spawn()
            .expect("dhow starts");
        thread::sleep(Duration::from_millis(wait));
        child.kill().ok();
        child.wait().unwrap();
        let content = validate_layout(&desk.path("target")).expect("the layout is whole");
        assert!(content.names.contains(&"kept".to_owned()));
        desk.dhow(&["inspect", "oci:./target:kept"]).ok();
    }
    desk.dhow(&[
        "copy",
        "--src-tls-verify=false",
        &remote,
        "oci:./target:large",
    ])
    .ok();
    assert_eq!(
        validate_layout(&desk.path("target")).unwrap().names.len(),
        2
    );
}
