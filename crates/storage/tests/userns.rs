//! Entering a user namespace for real, as a user that exists in the tests only: `/etc/passwd`,
//! `/etc/subuid` and `/etc/subgid` are others in a mount namespace of their own. Takes root, and
//! newuidmap.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const USER: u32 = 4711;
const GROUP: u32 = 4712;
const RANGES: &str = "root:1:1\ntester:300000:1000\ntester:400000:65536\n";

/// Returns whether the tests can run here. Where all must, under `CI=true`, they fail if not.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "CI says so in the environment, and who runs tests wants to know"
)]
#[track_caller]
fn possible() -> bool {
    let programs = ["newuidmap", "newgidmap", "setpriv", "unshare"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let has = |name: &&str| folders.iter().any(|folder| folder.join(name).is_file());
    let missing: Vec<_> = programs.iter().filter(|name| !has(name)).collect();
    let root = rustix::process::geteuid().is_root();
    if missing.is_empty() && root {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "root: {root}, missing: {missing:?}"
    );
    eprintln!("skipped: root: {root}, missing: {missing:?}");
    false
}

/// A user, and the program of the tests in a place where the user can run it.
struct User {
    place: tempfile::TempDir,
}

impl User {
    fn new(ranges: &str) -> Self {
        let place = tempfile::tempdir().expect("the machine is ready for tests");
        let at = |name: &str| place.path().join(name);
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))
            .expect("the machine is ready for tests");
        let passwd = fs::read_to_string("/etc/passwd").expect("the machine is ready for tests");
        let home = at("home");
        let entry = format!("tester:x:{USER}:{GROUP}::{}:/bin/sh\n", home.display());
        fs::write(at("passwd"), format!("{passwd}{entry}"))
            .expect("the machine is ready for tests");
        fs::write(at("subuid"), ranges).expect("the machine is ready for tests");
        fs::write(at("subgid"), ranges).expect("the machine is ready for tests");
        fs::create_dir(&home).expect("the machine is ready for tests");
        chown(&home, Some(USER), Some(GROUP)).expect("the machine is ready for tests");
        fs::copy(example(), at("enter")).expect("the machine is ready for tests");
        Self { place }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Returns a program that the user runs.
    fn runs(&self, program: impl AsRef<Path>) -> Command {
        let script = "for file in passwd subuid subgid; do \
                          test -e /etc/$file || touch /etc/$file; \
                          mount --bind \"$0/$file\" /etc/$file || exit 99; \
                      done; \
                      exec setpriv --reuid 4711 --regid 4712 --clear-groups -- \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]);
        command.arg(self.place.path()).arg(program.as_ref());
        command.env("HOME", self.at("home")).env("USER", "tester");
        command.env_remove("XDG_RUNTIME_DIR").current_dir("/");
        command
    }

    fn enters(&self, arguments: &[&str]) -> Command {
        let mut command = self.runs(self.at("enter"));
        command.args(arguments);
        command
    }
}

/// Returns where cargo has built the example.
fn example() -> PathBuf {
    let own = std::env::current_exe().expect("the machine is ready for tests");
    let profile = own
        .ancestors()
        .nth(2)
        .expect("the machine is ready for tests");
    let example = profile.join("examples/enter");
    assert!(
        example.is_file(),
        "run `cargo build -p dhow-storage --examples` first"
    );
    example
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the map without the blanks that align it.
fn maps(output: &Output) -> Vec<String> {
    let lines = text(&output.stdout);
    let lines = lines.lines();
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

const MAPS: [&str; 3] = ["cat", "/proc/self/uid_map", "/proc/self/gid_map"];

#[test]
fn the_ids_are_those_that_podman_gives() {
    if !possible() {
        return;
    }
    let user = User::new(RANGES);
    let output = user.enters(&MAPS).output().unwrap();
    assert_eq!(text(&output.stderr), "");
    let found = maps(&output);
    let others = ["1 300000 1000", "1001 400000 65536"];
    assert_eq!(found[0], "0 4711 1");
    assert_eq!(found[1..3], others);
    assert_eq!(found[3], "0 4712 1");
    assert_eq!(found[4..], others);
    let run = user.at("run");
    fs::create_dir(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&run, Some(USER), Some(GROUP)).unwrap();
    let mut podman = user.runs("podman");
    podman
        .arg("unshare")
        .args(MAPS)
        .env("XDG_RUNTIME_DIR", &run);
    let podman = podman.output().unwrap();
    if podman.status.success() {
        assert_eq!(maps(&podman), found);
    }
    // It leaves a process behind that keeps the namespace.
    if let Ok(id) = fs::read_to_string(run.join("libpod/tmp/pause.pid")) {
        let status = Command::new("kill").args(["-KILL", id.trim()]).status();
        assert!(status.unwrap().success());
    }
}

#[test]
fn files_of_other_owners_can_be_written() {
    if !possible() {
        return;
    }
    let user = User::new(RANGES);
    let script = "touch ~/a && chown 5:6 ~/a && mkdir ~/b && chown 2000:2000 ~/b && id -u && \
                  mount -t tmpfs none /mnt && ls /mnt";
    let output = user.enters(&["sh", "-c", script]).output().unwrap();
    assert_eq!(
        (text(&output.stderr), text(&output.stdout)),
        (String::new(), "0\n".to_owned())
    );
    let owner = |name: &str| {
        let found = fs::metadata(user.at("home").join(name)).unwrap();
        (found.uid(), found.gid())
    };
    assert_eq!(owner("a"), (300_004, 300_005));
    assert_eq!(owner("b"), (400_999, 400_999));
}

#[test]
fn the_program_has_its_arguments_streams_and_environment_and_ends_as_it_ended() {
    if !possible() {
        return;
    }
    let user = User::new(RANGES);
    let script = "cat; printf '%s|' \"$@\" \"$OWN\" \"$_CONTAINERS_USERNS_CONFIGURED\" \
                  \"$_CONTAINERS_ROOTLESS_UID\" \"$_CONTAINERS_ROOTLESS_GID\" \"$_DHOW_USERNS\"; \
                  echo err >&2; exit 7";
    let mut command = user.enters(&["sh", "-c", script, "sh", "a b", "", "ü\n"]);
    command.env("OWN", "own").stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"in\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "in\na b||ü\n|own|done|4711|4712||");
    assert_eq!(text(&output.stderr), "err\n");
    assert_eq!(output.status.code(), Some(7));
    let killed = user.enters(&["sh", "-c", "kill -9 $$"]).output().unwrap();
    assert_eq!(killed.status.code(), Some(137));
}

/// Starts a script that prints a line first; returns that line.
fn started(user: &User, script: &str) -> (Child, BufReader<std::process::ChildStdout>, String) {
    let mut command = user.enters(&["sh", "-c", script]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the machine is ready for tests");
    let mut output = BufReader::new(child.stdout.take().expect("the machine is ready for tests"));
    let mut line = String::new();
    output
        .read_line(&mut line)
        .expect("the machine is ready for tests");
    (child, output, line.trim().to_owned())
}

fn kill(signal: &str, child: &Child) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(status.expect("the machine is ready for tests").success());
}

#[test]
fn signals_are_passed_on() {
    if !possible() {
        return;
    }
    let user = User::new(RANGES);
    for signal in ["-TERM", "-INT", "-HUP", "-USR1"] {
        let trap = format!("trap 'echo got; exit 9' {}; ", &signal[1..]);
        let script = format!("{trap} echo ready; while :; do sleep 0.05; done");
        let (mut child, mut output, line) = started(&user, &script);
        assert_eq!(line, "ready");
        kill(signal, &child);
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "got\n", "{signal}");
        assert_eq!(child.wait().unwrap().code(), Some(9), "{signal}");
    }
}

#[test]
fn a_program_that_is_killed_leaves_nothing_behind() {
    if !possible() {
        return;
    }
    let user = User::new(RANGES);
    let (mut child, _output, id) = started(&user, "echo $$; exec sleep 1000");
    let inside = PathBuf::from("/proc").join(&id);
    assert!(inside.is_dir());
    kill("-KILL", &child);
    child.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while inside.is_dir() {
        assert!(Instant::now() < end, "process {id} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_user_without_ids_has_only_the_own_one_and_is_told() {
    if !possible() {
        return;
    }
    let output = User::new("other:100000:65536\n")
        .enters(&MAPS)
        .output()
        .unwrap();
    assert_eq!(maps(&output), ["0 4711 1", "0 4712 1"]);
    let said = text(&output.stderr);
    for part in [
        "user `tester` has no ids in /etc/subuid and /etc/subgid",
        "`sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 tester`",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_missing_program_is_told_with_its_package() {
    if !possible() {
        return;
    }
    let user = User::new(RANGES);
    let mut command = user.runs("env");
    command.arg("PATH=/nowhere").arg(user.at("enter"));
    let output = command
        .args(["/bin/cat", "/proc/self/uid_map"])
        .output()
        .unwrap();
    assert_eq!(maps(&output), ["0 4711 1"]);
    let said = text(&output.stderr);
    assert!(said.contains("`newuidmap` is not installed"), "{said}");
    assert!(said.contains("`sudo apt-get install uidmap`"), "{said}");
}

#[test]
fn a_program_that_does_not_do_its_work_is_told() {
    if !possible() {
        return;
    }
    let user = User::new(RANGES);
    let broken = user.at("newuidmap");
    fs::write(
        &broken,
        "#!/bin/sh\necho newuidmap: write failed >&2\nexit 1\n",
    )
    .unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let folder = user.place.path().display();
    let mut command = user.runs("env");
    command
        .arg(format!("PATH={folder}:/usr/bin:/bin"))
        .arg(user.at("enter"));
    let output = command.args(MAPS).output().unwrap();
    assert_eq!(
        (text(&output.stdout).as_str(), output.status.code()),
        ("", Some(125))
    );
    let said = text(&output.stderr);
    assert!(
        said.contains("gives no ids to the user namespace: newuidmap: write failed"),
        "{said}"
    );
    assert!(said.contains("`sudo chmod u+s "), "{said}");
}

#[test]
fn a_system_that_forbids_it_is_told_with_the_setting() {
    if !possible() {
        return;
    }
    // Inside of a user namespace the setting counts for this one only.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces || exit 99; \
                  exec setpriv --bounding-set=-all --inh-caps=-all -- \"$0\" true";
    let user = User::new(RANGES);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script]);
    let output = command.arg(user.at("enter")).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(
        said.contains("does not let you make a user namespace"),
        "{said}"
    );
    assert!(
        said.contains("`sudo sysctl user.max_user_namespaces="),
        "{said}"
    );
}

#[test]
fn nobody_enters_twice() {
    if !possible() {
        return;
    }
    let user = User::new(RANGES);
    let mut command = user.enters(&["true"]);
    let output = command
        .env("_CONTAINERS_USERNS_CONFIGURED", "done")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("does not give the rights"));
}
