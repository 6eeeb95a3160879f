//! What has arrived stays: connections that break, and processes that are killed.

use std::fs;
use std::process::Stdio;

use dhow_testkit::image::validate_layout;

use crate::cutter::{Cutter, Plan};
use crate::dhow::Desk;
use crate::memory::mebibytes;
use crate::registry::{Registry, Wanted};
use crate::samples;

const FLAGS: [&str; 4] = [
    "--src-tls-verify=false",
    "--dest-tls-verify=false",
    "--retry-delay=50ms",
    "--quiet",
];

/// The bytes of the blob, and what its image and the requests may have beside them.
fn size() -> u64 {
    (mebibytes() as u64) << 20
}

const BESIDE: u64 = 1 << 20;

/// `DHOW_E2E_LAYER_MIB=1024` cuts fifty times, as often as a gibibyte is to survive.
fn cuts() -> Plan {
    let times = (mebibytes() as u64 * 50 / 1024).max(3);
    Plan::Cut {
        times,
        about_every: size() / times * 9 / 10,
    }
}

fn copy(desk: &Desk, from: &str, to: &str) {
    let arguments = [&["copy"][..], &FLAGS, &[from, to]].concat();
    desk.dhow(&arguments).ok();
}

/// A registry that has the large image.
fn holding(desk: &Desk) -> Registry {
    samples::large_layout(&desk.path("large"), mebibytes());
    let registry = Registry::dhow(desk, "source", Wanted::default());
    let there = format!("docker://{}/large:1", registry.address);
    copy(desk, "oci:./large:image", &there);
    registry
}

/// A layout that has the large image as registries have it: compressed, so that it stays as it is.
fn compressed(desk: &Desk) {
    let registry = holding(desk);
    let from = format!("docker://{}/large:1", registry.address);
    copy(desk, &from, "oci:./compressed:1");
}

#[track_caller]
fn assert_little_more_travelled(cutter: &Cutter) {
    let (passed, cuts) = (cutter.passed(), cutter.cuts());
    assert!(cuts >= 3, "only {cuts} cuts");
    let most = size() + size() / 50 + BESIDE;
    assert!(passed <= most, "{passed} bytes, {cuts} cuts");
}

#[test]
fn a_download_that_is_cut_again_and_again_fetches_each_byte_once() {
    let desk = Desk::new();
    let registry = holding(&desk);
    let cutter = Cutter::start(&registry.address, cuts());
    let from = format!("docker://{}/large:1", cutter.address);
    copy(&desk, &from, "oci:./copied:1");
    validate_layout(&desk.path("copied")).unwrap();
    assert_little_more_travelled(&cutter);
}

#[test]
fn an_upload_that_is_cut_again_and_again_sends_each_byte_once() {
    let desk = Desk::new();
    compressed(&desk);
    let registry = Registry::dhow(&desk, "target", Wanted::default());
    let cutter = Cutter::start(&registry.address, cuts());
    let to = format!("docker://{}/large:1", cutter.address);
    copy(&desk, "oci:./compressed:1", &to);
    assert_little_more_travelled(&cutter);
    let from = format!("docker://{}/large:1", registry.address);
    copy(&desk, &from, "oci:./copied:1");
    validate_layout(&desk.path("copied")).unwrap();
}

#[test]
fn between_registries_a_cut_costs_little_on_the_other_side() {
    let desk = Desk::new();
    let source = holding(&desk);
    let target = Registry::dhow(&desk, "target", Wanted::default());
    let counter = Cutter::start(&source.address, Plan::Count);
    let cutter = Cutter::start(&target.address, cuts());
    let from = format!("docker://{}/large:1", counter.address);
    let to = format!("docker://{}/large:1", cutter.address);
    copy(&desk, &from, &to);
    assert_little_more_travelled(&cutter);
    // From the last state of the verification on, what has passed is read again.
    let most = size() + cutter.cuts() * (16 << 20);
    assert!(counter.passed() <= most, "{} bytes read", counter.passed());
}

#[test]
fn a_connection_that_stands_still_is_a_broken_one() {
    let desk = Desk::new();
    let registry = holding(&desk);
    let relay = Cutter::start(&registry.address, Plan::Stop { after: size() / 2 });
    let from = format!("docker://{}/large:1", relay.address);
    let mut command = desk.command();
    let stall = ["copy", "--stall-timeout=1s"];
    command
        .args(stall)
        .args(FLAGS)
        .args([&from, "oci:./copied:1"]);
    let process = command.stderr(Stdio::null()).spawn().unwrap();
    relay.wait_until_stopped();
    relay.let_others_through();
    assert!(process.wait_with_output().unwrap().status.success());
    validate_layout(&desk.path("copied")).unwrap();
}

/// Starts a copy, kills it when the relay has let half of the blob pass, and runs it again.
fn kill_and_run_again(desk: &Desk, relay: &Cutter, from: &str, to: &str) {
    let mut command = desk.command();
    command.arg("copy").args(FLAGS).args([from, to]);
    let mut process = command.stderr(Stdio::null()).spawn().unwrap();
    relay.wait_until_stopped();
    process.kill().unwrap();
    process.wait().unwrap();
    relay.release();
    copy(desk, from, to);
}

#[track_caller]
fn assert_only_the_rest_travelled(relay: &Cutter) {
    // A tenth of what was there may travel again.
    let most = size() / 2 + size() / 20 + BESIDE;
    let passed = relay.passed();
    assert!(passed <= most, "{passed} of {} bytes", size());
}

#[test]
fn a_download_that_was_killed_goes_on_in_the_next_process() {
    let desk = Desk::new();
    let registry = holding(&desk);
    let relay = Cutter::start(&registry.address, Plan::Stop { after: size() / 2 });
    let from = format!("docker://{}/large:1", relay.address);
    kill_and_run_again(&desk, &relay, &from, "oci:./copied:1");
    validate_layout(&desk.path("copied")).unwrap();
    assert_only_the_rest_travelled(&relay);
    let left = fs::read_dir(desk.path("copied/blobs")).unwrap();
    assert_eq!(left.count(), 1, "only `sha256` is left");
}

#[test]
fn an_upload_that_was_killed_goes_on_in_the_next_process() {
    let desk = Desk::new();
    compressed(&desk);
    let registry = Registry::dhow(&desk, "target", Wanted::default());
    let relay = Cutter::start(&registry.address, Plan::Stop { after: size() / 2 });
    let to = format!("docker://{}/large:1", relay.address);
    kill_and_run_again(&desk, &relay, "oci:./compressed:1", &to);
    assert_only_the_rest_travelled(&relay);
    let from = format!("docker://{}/large:1", registry.address);
    copy(&desk, &from, "oci:./copied:1");
    validate_layout(&desk.path("copied")).unwrap();
}
