//! Many at once, and some of them killed: the store stays one that Podman has no complaint about.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use dhow_testkit::image::{ImageSpec, SampleImage, noise, write_layout};

use super::store::{Store, allow_all, can_be_tested};
use crate::dhow::Desk;

/// Writes a layout with images that share layers.
fn images(desk: &Desk, count: usize) -> Vec<String> {
    let made: Vec<SampleImage> = (0..count)
        .map(|number| {
            // Every second image is the one before with other layers on top of some.
            let layers = 2 + number % 4;
            ImageSpec::oci(700 + number as u64 / 2)
                .layers(layers)
                .layer_size(200_000)
                .build()
        })
        .collect();
    let names: Vec<String> = (0..count).map(|number| format!("i{number}")).collect();
    let pairs: Vec<_> = names.iter().map(String::as_str).zip(&made).collect();
    write_layout(&desk.path("lay"), &pairs);
    names
}

fn started(mut command: Command) -> Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is there")
}

fn copying(desk: &Desk, image: &str, store: &Store) -> Command {
    let mut command = desk.command();
    let to = store.name(&format!("localhost/{image}:1"));
    command.args(["copy", "-q", &format!("oci:./lay:{image}"), &to]);
    command
}

fn podman(desk: &Desk, store: &Store, arguments: &[&str]) -> Command {
    let mut command = store.podman(desk);
    command.args(arguments);
    command
}

#[test]
fn twenty_programs_at_once_leave_a_healthy_store() {
    if !can_be_tested() {
        return;
    }
    let desk = Desk::new();
    allow_all(&desk);
    let names = images(&desk, 10);
    let store = Store::new(&desk, "overlay", "store");
    let mut running = Vec::new();
    for (number, name) in names.iter().enumerate() {
        running.push(started(copying(&desk, name, &store)));
        let other = &names[(number * 3 + 1) % names.len()];
        let from = format!("oci:lay:{other}");
        let arguments: &[&str] = match number % 3 {
            0 => &["pull", "-q", &from],
            1 => &["images", "--all"],
            _ => &["system", "df"],
        };
        running.push(started(podman(&desk, &store, arguments)));
    }
    for child in running {
        let ended = child.wait_with_output().expect("it ends");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{told}");
    }
    let healthy = store.assert_healthy(&desk);
    assert!(healthy.len() >= names.len() / 2, "{healthy:?}");
    for name in &names {
        let name = store.name(&format!("localhost/{name}:1"));
        desk.dhow(&["copy", "-q", &name, "dir:./out"]).ok();
    }
    let left = std::fs::read_dir(store.path("overlay/dhow-staging"));
    assert_eq!(left.map_or(0, Iterator::count), 0);
}

#[test]
fn a_program_that_is_killed_at_any_moment_leaves_a_healthy_store_heavy() {
    if !can_be_tested() {
        return;
    }
    let desk = Desk::new();
    allow_all(&desk);
    let names = images(&desk, 6);
    let store = Store::new(&desk, "overlay", "store");
    // Delays of chance, the same in every run.
    let delays = noise(31, 60);
    let mut cut = 0;
    for (round, delay) in delays.chunks(2).enumerate() {
        let name = &names[round % names.len()];
        let mut child = started(copying(&desk, name, &store));
        let millis = u64::from(delay[0]) / 4 + u64::from(delay[1] % 8);
        thread::sleep(Duration::from_millis(millis));
        cut += usize::from(child.try_wait().expect("it can be asked").is_none());
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        store.assert_healthy(&desk);
        if round % 5 == 4 {
            let name = store.name(&format!("localhost/{name}:1"));
            drop(desk.dhow(&["delete", &name]));
        }
    }
    assert!(cut > 5, "{cut} of 30 were killed before their end");
    for name in &names {
        copying(&desk, name, &store).status().expect("it runs");
    }
    assert_eq!(store.assert_healthy(&desk).len(), 6);
    let left = std::fs::read_dir(store.path("overlay/dhow-staging"));
    assert_eq!(left.map_or(0, Iterator::count), 0, "the next run cleans up");
    let folders = std::fs::read_dir(store.path("overlay")).unwrap();
    let layers = folders.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.len() == 64
    });
    let listed = std::fs::read_to_string(store.path("overlay-layers/layers.json")).unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(layers.count(), listed.as_array().unwrap().len());
}
