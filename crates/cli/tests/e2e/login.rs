//! `dhow login` and `logout`: what they keep, podman and skopeo use, and the other way round.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use crate::dhow::{Desk, Outcome, outcome};
use crate::registry::{Registry, Wanted};
use crate::tools;

const INSECURE: &str = "--tls-verify=false";

fn registry(desk: &Desk) -> Registry {
    let wanted = Wanted {
        user: Some(("ann", "s3cret")),
        ..Wanted::default()
    };
    Registry::debian(desk, "registry", wanted)
}

fn auth_file(desk: &Desk) -> PathBuf {
    desk.work()
        .parent()
        .unwrap()
        .join("run/containers/auth.json")
}

fn with_stdin(desk: &Desk, arguments: &[&str], input: &str) -> Outcome {
    let mut command = desk.command();
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    Outcome::new(format!("{command:?}"), &child.wait_with_output().unwrap())
}

#[test]
fn the_file_is_that_of_skopeo_byte_for_byte() {
    if !tools::has("docker-registry") || !tools::has("skopeo") {
        return;
    }
    let (ours, theirs) = (Desk::new(), Desk::new());
    let registry = registry(&ours);
    let address = registry.address.as_str();
    let localhost = address.replace("127.0.0.1", "localhost");
    let bytes = |desk: &Desk| fs::read_to_string(auth_file(desk)).unwrap();
    for key in [address, &localhost] {
        let arguments = ["login", INSECURE, "-u", "ann", "-p", "s3cret", key];
        let said = ours.dhow(&arguments).ok();
        let words = outcome(theirs.dressed("skopeo").args(arguments)).ok();
        assert_eq!(said, words);
        assert_eq!(bytes(&ours), bytes(&theirs), "{key}");
    }
    for key in [address, &localhost] {
        let said = ours.dhow(&["logout", key]).ok();
        let words = outcome(theirs.dressed("skopeo").args(["logout", key])).ok();
        assert_eq!(said, words);
        assert_eq!(bytes(&ours), bytes(&theirs), "{key}");
    }
}

#[test]
fn podman_and_skopeo_use_what_dhow_keeps_and_dhow_what_they_keep() {
    if !tools::has("docker-registry") || !tools::has("skopeo") || !tools::has("podman") {
        return;
    }
    let desk = Desk::new();
    let registry = registry(&desk);
    let address = registry.address.as_str();
    let podman = |arguments: &[&str]| outcome(desk.dressed("podman").args(arguments));
    let image = format!("docker://{address}/a/b:1");
    // Without a login, the answer is no; with one, that the image is missing.
    let asked = || desk.dhow(&["inspect", INSECURE, &image]).code;
    assert_eq!(asked(), Some(3));

    podman(&["login", INSECURE, "-u", "ann", "-p", "s3cret", address]).ok();
    assert_eq!(asked(), Some(2));
    assert_eq!(desk.dhow(&["login", "--get-login", address]).ok(), "ann\n");
    assert!(
        desk.dhow(&["logout", address])
            .ok()
            .contains("Removed login credentials")
    );
    podman(&["login", "--get-login", address]).fails(125);

    with_stdin(
        &desk,
        &[
            "login",
            INSECURE,
            "--username",
            "ann",
            "--password-stdin",
            address,
        ],
        "s3cret\n",
    )
    .ok();
    assert_eq!(podman(&["login", "--get-login", address]).ok(), "ann\n");
    let listed = outcome(tools::skopeo(&desk).args([
        "list-tags",
        INSECURE,
        &format!("docker://{address}/a/b"),
    ]));
    let words = listed.fails(1);
    assert!(words.contains("404"), "{words}");
    podman(&["logout", address]).ok();
    assert_eq!(asked(), Some(3));
}

#[test]
fn several_accounts_on_one_host_are_kept_by_path() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let registry = registry(&desk);
    let address = registry.address.as_str();
    let team = format!("{address}/team");
    desk.dhow(&["login", INSECURE, "-u", "ann", "-p", "s3cret", &team])
        .ok();
    let code = |path: &str| {
        desk.dhow(&["inspect", INSECURE, &format!("docker://{address}/{path}:1")])
            .code
    };
    assert_eq!(code("team/app"), Some(2));
    assert_eq!(code("other/app"), Some(3));
    // A wrong password is not kept, and what was kept stays.
    let wrong = desk.dhow(&["login", INSECURE, "-u", "ann", "-p", "wr0ng", &team]);
    let words = wrong.fails(3);
    assert!(words.contains("invalid username/password") && !words.contains("wr0ng"));
    assert_eq!(code("team/app"), Some(2));
}

#[test]
fn the_rules_of_the_flags_are_skopeos() {
    let desk = Desk::new();
    for (arguments, code, words) in [
        (&["login"][..], 64, "please provide a registry to log in to"),
        (
            &["login", "a.io", "b.io"],
            64,
            "login accepts only one registry",
        ),
        (
            &["login", "-u", "x", "-p", "y", "--password-stdin", "a.io"],
            64,
            "can't specify both --password-stdin and --password",
        ),
        (
            &["login", "--password-stdin", "a.io"],
            64,
            "must provide --username with --password-stdin",
        ),
        (&["login", "--get-login", "a.io"], 1, "not logged into a.io"),
        (
            &[
                "login",
                "--authfile",
                "x",
                "--compat-auth-file",
                "y",
                "a.io",
            ],
            64,
            "can not be set simultaneously",
        ),
        (&["login", "-u", "x", "a.io"], 64, "no terminal"),
        (&["logout"], 64, "please provide a registry to log out from"),
        (&["logout", "--all", "a.io"], 64, "--all takes no arguments"),
        (&["logout", "a.io"], 1, "not logged into a.io"),
        (
            &["logout", "--authfile", "missing.json", "a.io"],
            9,
            "credential file is not accessible: faccessat missing.json: no such file or directory",
        ),
    ] {
        let told = with_stdin(&desk, arguments, "").fails(code);
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    let all = desk.dhow(&["logout", "--all"]).ok();
    assert_eq!(all, "Removed login credentials for all registries\n");
}

#[test]
fn what_docker_keeps_is_used_and_left_alone() {
    let desk = Desk::new();
    let docker = desk.home().join(".docker");
    fs::create_dir_all(&docker).unwrap();
    let text = r#"{"auths":{"a.io":{"auth":"YW5uOnMzY3JldA=="}}}"#;
    fs::write(docker.join("config.json"), text).unwrap();
    assert_eq!(desk.dhow(&["login", "--get-login", "a.io"]).ok(), "ann\n");
    let told = desk.dhow(&["logout", "a.io"]).fails(1);
    assert!(told.contains("docker logout"), "{told}");
    let file = docker.join("config.json").display().to_string();
    desk.dhow(&["logout", "--compat-auth-file", &file, "a.io"])
        .ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\n\t\"auths\": {}\n}");
}

#[test]
fn at_a_terminal_dhow_asks_and_does_not_show_the_password() {
    if !tools::has("docker-registry") || !tools::has("script") {
        return;
    }
    let desk = Desk::new();
    let registry = registry(&desk);
    let line = format!(
        "{} login {INSECURE} {}",
        crate::dhow::binary().display(),
        registry.address
    );
    let mut child = desk
        .dressed("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(b"ann\n").unwrap();
    // What is typed before the question would be shown by the terminal.
    std::thread::sleep(std::time::Duration::from_secs(1));
    keys.write_all(b"s3cret\n").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    drop(keys);
    let shown = Outcome::new(line, &child.wait_with_output().unwrap()).ok();
    assert!(
        shown.contains("Username: ") && shown.contains("Password: "),
        "{shown}"
    );
    assert!(
        shown.contains("Login Succeeded!") && !shown.contains("s3cret"),
        "{shown}"
    );
}
