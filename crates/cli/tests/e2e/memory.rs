//! Memory stays constant, whatever the size of a layer.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::dhow::Desk;
use crate::registry::{Registry, Wanted};
use crate::{samples, tools};

/// What a process may ever hold, in KiB.
pub(crate) const BOUND: u64 = 24 * 1024;

/// The same where a layer is decompressed and waits for its turn.
const ARCHIVE_BOUND: u64 = 32 * 1024;

/// The size of the layer in MiB. `DHOW_E2E_LAYER_MIB=1024` is the full test.
#[expect(
    clippy::disallowed_methods,
    reason = "the size of the test is its runner's choice"
)]
pub(crate) fn mebibytes() -> usize {
    std::env::var("DHOW_E2E_LAYER_MIB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(256)
}

#[test]
fn memory_stays_under_24_mib_between_registries_and_into_a_layout() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    samples::large_layout(&desk.path("large"), mebibytes());
    let source = Registry::debian(&desk, "source", Wanted::default());
    let target = Registry::debian(&desk, "target", Wanted::default());
    let from = format!("docker://{}/large:1", source.address);
    let to = format!("docker://{}/large:1", target.address);
    let flags = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    for (from, to) in [
        ("oci:./large:image", from.as_str()),
        (&from, &to),
        (&from, "oci:./copied:1"),
    ] {
        let mut command = desk.command();
        command.arg("copy").args(flags).args([from, to]);
        let peak = peak_of(command);
        assert!(peak < BOUND, "{from} to {to}: {peak} KiB");
        eprintln!("{from} to {to}: {peak} KiB");
    }
}

#[test]
fn memory_stays_under_32_mib_into_an_archive_and_out_of_it() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    samples::large_layout(&desk.path("large"), mebibytes());
    let registry = Registry::debian(&desk, "registry", Wanted::default());
    let remote = format!("docker://{}/large:1", registry.address);
    let again = format!("docker://{}/large:2", registry.address);
    let flags = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    for (from, to) in [
        ("oci:./large:image", remote.as_str()),
        // Decompressed on the way into the archive, and compressed on the way out of it.
        (&remote, "docker-archive:./large.tar:large:1"),
        ("docker-archive:./large.tar", &again),
        (&remote, "oci-archive:./large.oci.tar:1"),
    ] {
        let mut command = desk.command();
        // What is remembered would spare the work that is measured.
        command.env("XDG_CACHE_HOME", desk.path(&format!("cache-{}", to.len())));
        command.arg("copy").args(flags).args([from, to]);
        let peak = peak_of(command);
        assert!(peak < ARCHIVE_BOUND, "{from} to {to}: {peak} KiB");
        eprintln!("{from} to {to}: {peak} KiB");
    }
}

#[test]
fn memory_of_dhow_serve_stays_under_24_mib() {
    let desk = Desk::new();
    samples::large_layout(&desk.path("large"), mebibytes());
    let server = Registry::dhow(&desk, "served", Wanted::default());
    let remote = format!("docker://{}/large:1", server.address);
    let push = [
        "copy",
        "--dest-tls-verify=false",
        "oci:./large:image",
        &remote,
    ];
    let pull = ["copy", "--src-tls-verify=false", &remote, "oci:./pulled:1"];
    for arguments in [push, pull] {
        let mut command = desk.command();
        command.args(arguments);
        let peak = peak_of(command);
        assert!(peak < BOUND, "{arguments:?}: {peak} KiB");
    }
    let peak = high_water_mark(server.id()).expect("the server still runs");
    assert!(peak < BOUND, "dhow serve: {peak} KiB");
    eprintln!("dhow serve: {peak} KiB");
}

/// Runs a command and returns the most memory that it held, in KiB.
#[track_caller]
pub(crate) fn peak_of(mut command: Command) -> u64 {
    let mut child = command
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("dhow starts");
    let mut peak = 0;
    loop {
        peak = high_water_mark(child.id()).unwrap_or(peak);
        if let Some(status) = child.try_wait().expect("it is a child") {
            assert!(status.success(), "{command:?}: {status}");
            return peak;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the peak of a process' resident memory so far, in KiB.
fn high_water_mark(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
