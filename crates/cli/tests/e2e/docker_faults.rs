//! Engines that break off, refuse, talk nonsense, or say nothing at all.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dhow_testkit::image::{ImageSpec, write_layout};
use serde_json::json;

use crate::dhow::{Desk, Outcome, outcome};

/// What an engine does when it is asked.
#[derive(Clone, Debug)]
enum Reply {
    /// It answers with this status and body, and reads what else comes.
    Whole(u16, Vec<u8>),
    /// It answers with this many bytes fewer than it has promised, and is gone.
    Cut(Vec<u8>, usize),
    /// It reads this many bytes of what is sent to it, and is gone.
    Gone(usize),
    /// It never answers.
    Silence,
    /// It answers 200 and sends this again and again.
    Endless(&'static [u8]),
}

impl Reply {
    fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::Whole(status, body.to_string().into_bytes())
    }
}

/// The replies of an engine, by the method and the first words of the path.
type Script = HashMap<&'static str, Reply>;

/// Starts an engine at a socket that answers as its script says, and 404 to all else. It runs as
/// long as the test.
fn start(socket: &Path, script: Script) {
    let listener = UnixListener::bind(socket).unwrap();
    let script = Arc::new(script);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let script = Arc::clone(&script);
            // Who is asking may be gone.
            thread::spawn(move || answer(stream, &script).ok());
        }
    });
}

fn answer(stream: UnixStream, script: &Script) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut asked = String::new();
    reader.read_line(&mut asked)?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
    }
    let missing = Reply::json(404, &json!({"message": "no such thing"}));
    let reply = script
        .iter()
        .find_map(|(start, reply)| asked.starts_with(start).then_some(reply));
    let mut head = |status: u16, length: Option<usize>| {
        let length = length.map_or_else(String::new, |length| {
            format!("Content-Length: {length}\r\n")
        });
        write!(
            stream,
            "HTTP/1.1 {status} Word\r\n{length}Connection: close\r\n\r\n"
        )
    };
    match reply.unwrap_or(&missing) {
        Reply::Whole(status, body) => {
            head(*status, Some(body.len()))?;
            stream.write_all(body)?;
            stream.shutdown(std::net::Shutdown::Write)?;
            io::copy(&mut reader, &mut io::sink())?;
        }
        Reply::Cut(body, missing) => {
            head(200, Some(body.len()))?;
            stream.write_all(&body[..body.len() - missing])?;
        }
        Reply::Gone(bytes) => {
            io::copy(&mut reader.take(*bytes as u64), &mut io::sink())?;
        }
        Reply::Silence => {
            io::copy(&mut reader, &mut io::sink())?;
            thread::sleep(LONG);
        }
        Reply::Endless(body) => {
            head(200, None)?;
            loop {
                stream.write_all(body)?;
            }
        }
    }
    Ok(())
}

/// Runs dhow with an engine of this script, and checks that it ends soon.
#[track_caller]
fn run(desk: &Desk, name: &str, script: Script, arguments: &[&str]) -> Outcome {
    let socket = desk.path(name);
    start(&socket, script);
    let started = Instant::now();
    let mut command = desk.command();
    command
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .args(arguments);
    let told = outcome(&mut command);
    assert!(!matches!(told.code, Some(0 | 101) | None), "{told:?}");
    assert!(!told.stderr.contains("panicked"), "{told:?}");
    assert!(
        started.elapsed() < SOON,
        "{:?}: {told:?}",
        started.elapsed()
    );
    told
}

#[test]
fn what_an_engine_says_against_an_image_is_told() {
    let desk = Desk::new();
    // More than the buffers of a socket take.
    let image = ImageSpec::oci(91).layers(3).layer_size(2 << 20).build();
    write_layout(&desk.path("origin"), &[("image", &image)]);
    let full = "write /data/layer: no space left on device";
    let refused = json!({"message": full});
    let late = format!(
        "{}\n{}\n",
        json!({"stream": "Loading"}),
        json!({"errorDetail": {"message": full}, "error": full})
    );
    let cases = [
        ("refused", Reply::json(500, &refused), full),
        ("late", Reply::Whole(200, late.into_bytes()), full),
        ("at-once", Reply::Gone(0), "at-once"),
        ("midway", Reply::Gone(100_000), "midway"),
    ];
    for (name, reply, said) in cases {
        let script = Script::from([
            ("GET /_ping", Reply::Whole(200, b"OK".to_vec())),
            ("POST /images/load", reply),
        ]);
        let copy = ["copy", "oci:./origin:image", "docker-daemon:x:1"];
        let told = run(&desk, name, script, &copy);
        assert!(told.stderr.contains(said), "{told:?}");
    }
    // An engine that took everything and has nothing.
    let script = Script::from([
        ("GET /_ping", Reply::Whole(200, b"OK".to_vec())),
        ("POST /images/load", Reply::Whole(200, Vec::new())),
    ]);
    let copy = ["copy", "oci:./origin:image", "docker-daemon:x:1"];
    run(&desk, "forgetful", script, &copy);
}

#[test]
fn what_an_engine_sends_broken_does_not_arrive() {
    let desk = Desk::new();
    let image = ImageSpec::oci(92).build();
    write_layout(&desk.path("origin"), &[("image", &image)]);
    desk.dhow(&[
        "copy",
        "oci:./origin:image",
        "docker-archive:./whole.tar:x:1",
    ])
    .ok();
    let archive = fs::read(desk.path("whole.tar")).unwrap();
    let mut changed = archive.clone();
    // In the content of the first layer.
    changed[700] ^= 1;
    let refused = Reply::json(500, &json!({"message": "layer is gone"}));
    let cases = [
        ("cut", Reply::Cut(archive.clone(), archive.len() / 2), None),
        ("end-missing", Reply::Cut(archive.clone(), 1), None),
        ("changed", Reply::Whole(200, changed), None),
        ("empty", Reply::Whole(200, Vec::new()), None),
        ("nonsense", Reply::Whole(200, vec![b'x'; 4096]), None),
        ("refused", refused, Some("layer is gone")),
        ("gone", Reply::Gone(0), None),
    ];
    for (name, reply, said) in cases {
        let script = Script::from([
            (
                "GET /images/x",
                Reply::json(200, &json!({"Id": "sha256:1"})),
            ),
            ("GET /images/get", reply),
        ]);
        let copy = ["copy", "docker-daemon:x:1", "oci:./out:1"];
        let told = run(&desk, name, script, &copy);
        assert!(
            told.stderr.contains(said.unwrap_or("docker-daemon:x:1")),
            "{told:?}"
        );
        let index = desk.path("out/index.json");
        let index = fs::read_to_string(index).unwrap_or_default();
        assert!(!index.contains("sha256:"), "{name}: {index}");
    }
}

#[test]
fn engines_without_end_or_answer_end_with_the_time_that_was_given() {
    let desk = Desk::new();
    let image = ImageSpec::oci(93).build();
    write_layout(&desk.path("origin"), &[("image", &image)]);
    let pong = Reply::Whole(200, b"OK".to_vec());
    let there = Reply::json(200, &json!({"Id": "sha256:1"}));
    let into = ["oci:./origin:image", "docker-daemon:x:1"];
    let out = ["docker-daemon:x:1", "oci:./out:1"];
    let cases = [
        ("no-greeting", Script::from([("GET", Reply::Silence)]), into),
        (
            "no-thanks",
            Script::from([("GET /_ping", pong), ("POST", Reply::Silence)]),
            into,
        ),
        ("no-image", Script::from([("GET", Reply::Silence)]), out),
        (
            "no-archive",
            Script::from([
                ("GET /images/x", there),
                ("GET /images/get", Reply::Silence),
            ]),
            out,
        ),
    ];
    for (name, script, [from, to]) in cases {
        let copy = ["--command-timeout=1s", "copy", from, to];
        let told = run(&desk, name, script, &copy).fails(5);
        assert!(!told.is_empty());
    }
    assert!(!desk.path("out").exists());
    // Without end, and without a limit to the time: the limit is the size.
    let script = Script::from([("GET", Reply::Endless(b"[\"more and more and more\"],"))]);
    let told = run(&desk, "endless", script, &["inspect", "docker-daemon:x:1"]);
    assert!(told.stderr.contains("bytes"), "{told:?}");
}

/// How long a command may take that has nothing to wait for.
const SOON: Duration = Duration::from_secs(15);

/// Longer than any command waits.
const LONG: Duration = Duration::from_mins(10);
