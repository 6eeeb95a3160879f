//! How the process ends: signals, time-outs, readers that go away.

use std::net::TcpListener;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::command::Bench;

/// A registry that takes connections and never answers.
fn silent_registry() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    (listener, format!("docker://{address}/a:b"))
}

#[test]
fn a_signal_ends_a_command_with_its_code() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let bench = Bench::new();
        let (listener, image) = silent_registry();
        let child = bench
            .command(&["inspect", "--tls-verify=false", &image])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let connection = listener.accept().expect("it connects");
        let id = i32::try_from(child.id()).expect("process ids are small");
        kill_process(Pid::from_raw(id).expect("not zero"), signal).expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        drop(connection);
        assert_eq!(output.status.code(), Some(code), "{signal:?}: {output:?}");
    }
}

#[test]
fn a_command_gives_up_when_its_time_is_over() {
    let (listener, image) = silent_registry();
    let run = Bench::new().run(&format!(
        "inspect --tls-verify=false --command-timeout 100ms {image}"
    ));
    drop(listener);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("--command-timeout"), "{}", run.stderr);
}

#[test]
fn a_host_that_cannot_be_reached_ends_with_5() {
    let (listener, image) = silent_registry();
    drop(listener);
    let run = Bench::new().run(&format!("inspect --tls-verify=false {image}"));
    assert_eq!(run.code, 5, "{}", run.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let bench = Bench::new();
    let mut child = bench
        .command(&["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
