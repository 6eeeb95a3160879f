//! Memory stays constant, whatever the size of a layer.
//!
//! What counts is what a process holds for its work. The pages of the program are left out: of
//! unoptimized code they are four times as much as all else, and how many of them the kernel maps
//! is the file system's choice. `cargo xtask bench` measures the whole of a release build.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::dhow::Desk;
use crate::registry::{Registry, Wanted};
use crate::{samples, tools};

/// What a process may ever hold beside its program, in KiB.
pub(crate) const BOUND: u64 = 8 * 1024;

/// The same where a layer is decompressed and waits for its turn.
const ARCHIVE_BOUND: u64 = 14 * 1024;

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
fn memory_stays_under_8_mib_between_registries_and_into_a_layout() {
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
fn memory_stays_under_14_mib_into_an_archive_and_out_of_it() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    samples::large_layout(&desk.path("large"), mebibytes());
    let registry = Registry::debian(&desk, "registry", Wanted::default());
    let remote = format!("docker://{}/large:1", registry.address);
    let again = format!("docker://{}/large:2", registry.address);
    let flags = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let copies = [
        ("oci:./large:image", remote.as_str()),
        // Decompressed on the way into the archive, and compressed on the way out of it.
        (&remote, "docker-archive:./large.tar:large:1"),
        ("docker-archive:./large.tar", &again),
        (&remote, "oci-archive:./large.oci.tar:1"),
    ];
    for (number, (from, to)) in copies.into_iter().enumerate() {
        let mut command = desk.command();
        // What is remembered would spare the work that is measured.
        command.env("XDG_CACHE_HOME", desk.path(&format!("cache-{number}")));
        command.arg("copy").args(flags).args([from, to]);
        let peak = peak_of(command);
        assert!(peak < ARCHIVE_BOUND, "{from} to {to}: {peak} KiB");
        eprintln!("{from} to {to}: {peak} KiB");
    }
}

#[test]
fn memory_of_dhow_serve_stays_under_8_mib() {
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
        let mut served = 0;
        let peak = peak_while(command, || {
            served = held_by(server.id()).unwrap_or(0).max(served);
        });
        eprintln!("{arguments:?}: {peak} KiB, dhow serve: {served} KiB");
        assert!(peak < BOUND, "{arguments:?}: {peak} KiB");
        assert!((1..BOUND).contains(&served), "dhow serve: {served} KiB");
    }
}

/// Runs a command and returns the most memory that it held beside its program, in KiB.
#[track_caller]
pub(crate) fn peak_of(command: Command) -> u64 {
    peak_while(command, || ())
}

/// The same, and looks at something else each time, too.
#[track_caller]
fn peak_while(mut command: Command, mut look: impl FnMut()) -> u64 {
    let mut child = command
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("dhow starts");
    let mut peak = 0;
    loop {
        peak = held_by(child.id()).unwrap_or(0).max(peak);
        look();
        if let Some(status) = child.try_wait().expect("it is a child") {
            assert!(status.success(), "{command:?}: {status}");
            assert!(peak > 0, "nothing was measured");
            return peak;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Returns what a process holds in memory now, without the unchanged pages of its program and its
/// libraries, in KiB.
fn held_by(id: u32) -> Option<u64> {
    let program = fs::read_link(format!("/proc/{id}/exe")).ok()?;
    let text = fs::read_to_string(format!("/proc/{id}/smaps")).ok()?;
    Some(held(&text, program.to_str()?))
}

/// Sums up the text of `/proc/<pid>/smaps`: a line for each mapping, and its figures below.
fn held(text: &str, program: &str) -> u64 {
    let mut figure = "Rss:";
    let mut sum = 0;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if !first.ends_with(':') {
            let path = words.nth(4).unwrap_or_default();
            let is_code = path == program || path.contains(".so");
            figure = if is_code { "Anonymous:" } else { "Rss:" };
        } else if first == figure {
            sum += words
                .next()
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    sum
}

#[test]
fn what_is_held_leaves_out_the_program_but_not_what_it_maps_or_changes() {
    let text = "\
5500-5600 r-xp 00000000 fe:00 11 /bin/dhow
Rss:                 700 kB
Anonymous:             0 kB
5600-5700 rw-p 00000000 fe:00 11 /bin/dhow
Rss:                  50 kB
Anonymous:            40 kB
5700-5800 rw-p 00000000 00:00 0 [heap]
Rss:                1000 kB
Anonymous:          1000 kB
7f00-7f10 r-xp 00000000 fe:00 12 /lib/libc.so.6
Rss:                 300 kB
Anonymous:             0 kB
7f10-7f20 r--s 00000000 fe:00 13 /data/layer
Rss:                2000 kB
Anonymous:             0 kB
";
    assert_eq!(held(text, "/bin/dhow"), 3040);
}
