//! Secrets that must show up nowhere: every source of them, in commands that succeed and fail, at
//! every level of output; and not in what is left on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dhow_testkit::image::{ImageSpec, write_layout};
use dhow_testkit::token_service::{Right, Settings, TokenService, User};

use crate::dhow::{Desk, outcome};
use crate::registry::{Registry, Wanted};
use crate::tools;

const CANARY: &str = "canary/s3cret+bird";
const IDENTITY: &str = "canary.identity.of.a.bird";

/// The forms in which a secret could show up.
fn shapes() -> Vec<String> {
    let mut shapes = Vec::new();
    for secret in [CANARY, IDENTITY] {
        shapes.push(secret.to_owned());
        shapes.push(secret.replace('/', "%2F").replace('+', "%2B"));
        for pair in [
            secret.to_owned(),
            format!("ann:{secret}"),
            format!("<token>:{secret}"),
        ] {
            shapes.push(STANDARD.encode(pair));
        }
    }
    shapes
}

/// Fails when a text holds a secret.
#[track_caller]
fn clean(text: &str, what: &str) {
    for shape in shapes() {
        assert!(!text.contains(&shape), "{what} shows `{shape}`:\n{text}");
    }
}

/// Looks through all files below a directory but those that are there to hold secrets.
fn search(directory: &Path, allowed: &[PathBuf]) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if allowed.contains(&path) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            search(&path, allowed);
        } else if let Ok(bytes) = fs::read(&path) {
            clean(
                &String::from_utf8_lossy(&bytes),
                &path.display().to_string(),
            );
        }
    }
}

/// A desk with an image, a registry whose one password is the canary, and one with another.
struct Scene {
    desk: Desk,
    service: TokenService,
    registries: Vec<Registry>,
}

impl Scene {
    fn new() -> Self {
        let desk = Desk::new();
        write_layout(
            &desk.path("origin"),
            &[("image", &ImageSpec::oci(51).build())],
        );
        let service = TokenService::start(Settings {
            path: "/token".to_owned(),
            tls: None,
            users: vec![User {
                name: Some("ann".to_owned()),
                password: CANARY.to_owned(),
                identity: Some(IDENTITY.to_owned()),
                rights: vec![Right::new("*", "pull,push")],
            }],
        });
        let with = |password| Wanted {
            user: Some(("ann", password)),
            ..Wanted::default()
        };
        let registries = vec![
            Registry::debian(&desk, "right", with(CANARY)),
            Registry::debian(&desk, "wrong", with("another")),
            Registry::debian(
                &desk,
                "tokens",
                Wanted {
                    signed: Some(&service),
                    ..Wanted::default()
                },
            ),
        ];
        Self {
            desk,
            service,
            registries,
        }
    }

    /// Runs every command with these flags for the registry, at all levels.
    fn every_command(&self, flags: &[&str], environment: &[(&str, &str)]) {
        for registry in &self.registries {
            let image = format!("docker://{}/team/app:1", registry.address);
            let repository = format!("docker://{}/team/app", registry.address);
            let to: Vec<String> = flags
                .iter()
                .map(|flag| flag.replacen("--", "--dest-", 1))
                .collect();
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            let copy = [
                "copy",
                "--progress=json",
                "--output=json",
                "oci:./origin:image",
                &image,
            ];
            for (arguments, flags) in [
                (&copy[..], &to[..]),
                (&["inspect", &image], flags),
                (&["inspect", &format!("{image}-missing")], flags),
                (&["list-tags", &repository], flags),
                (&["doctor", "--push", "--output=json", &image], flags),
                (&["doctor", &image], flags),
                (&["delete", &format!("{image}-missing")], flags),
            ] {
                let mut command = self.desk.command();
                command
                    .args(["--debug"])
                    .args(arguments)
                    .args(flags)
                    .env("RUST_LOG", "trace")
                    .envs(environment.iter().copied());
                let done = outcome(&mut command);
                clean(&done.stdout, "stdout");
                clean(&done.stderr, "stderr");
            }
        }
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.desk.home().join(".docker/config.json");
        fs::create_dir_all(path.parent().expect("it has one")).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A Docker config with an entry for each of the registries.
    fn auths(&self, entry: &serde_json::Value) -> String {
        let mut auths = serde_json::Map::new();
        for registry in &self.registries {
            auths.insert(registry.address.clone(), entry.clone());
        }
        serde_json::json!({ "auths": auths }).to_string()
    }

    /// Nothing is left on disk, but in the files that are there to hold secrets.
    fn nothing_is_left(&self, allowed: &[PathBuf]) {
        let root = self.desk.work();
        search(root.parent().expect("it has one"), allowed);
    }
}

#[test]
fn secrets_of_flags_and_files_show_up_nowhere() {
    if !tools::has("docker-registry") {
        return;
    }
    let scene = Scene::new();
    let insecure = "--tls-verify=false";
    let creds = format!("--creds=ann:{CANARY}");
    let token = format!("--registry-token={CANARY}");
    let password = format!("--password={CANARY}");
    for flags in [
        &[insecure, &creds][..],
        &[insecure, &token],
        &[insecure, "--username=ann", &password],
    ] {
        scene.every_command(flags, &[]);
    }
    scene.nothing_is_left(&[]);
    let pair = STANDARD.encode(format!("ann:{CANARY}"));
    for entry in [
        serde_json::json!({ "auth": pair }),
        serde_json::json!({ "identitytoken": IDENTITY }),
    ] {
        let file = scene.file(&scene.auths(&entry));
        scene.every_command(&[insecure], &[]);
        scene.nothing_is_left(&[file]);
    }
    // It did come to that: the identity token was exchanged.
    let proofs = scene.service.asked();
    assert!(proofs.iter().any(|asked| asked.proof == "refresh_token"));
}

#[test]
fn secrets_of_helpers_show_up_nowhere_not_even_in_their_command_line() {
    if !tools::has("docker-registry") {
        return;
    }
    let scene = Scene::new();
    let programs = scene.desk.path("bin");
    fs::create_dir(&programs).unwrap();
    let helper = programs.join("docker-credential-bird");
    let seen = scene.desk.path("seen");
    let record = format!(
        "tr '\\0' ' ' < /proc/$$/cmdline >> '{0}'; env >> '{0}'",
        seen.display()
    );
    let path = format!("{}:/usr/bin:/bin", programs.display());
    scene.file(r#"{"credsStore":"bird"}"#);
    for (ending, user) in [
        ("", "ann"),
        ("", "<token>"),
        ("; exit 1", "ann"), // it tells, and then fails
        ("; echo junk", "ann"),
    ] {
        let secret = if user == "ann" { CANARY } else { IDENTITY };
        let answer = serde_json::json!({"ServerURL": "x", "Username": user, "Secret": secret});
        let script = format!("#!/bin/sh\n{record}; echo '{answer}'; echo '{secret}' >&2{ending}\n");
        fs::write(&helper, script).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        scene.every_command(&["--tls-verify=false"], &[("PATH", &path)]);
    }
    scene.nothing_is_left(&[helper]);
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains("docker-credential-bird get"), "{seen}");
}

#[test]
fn login_shows_no_secret() {
    if !tools::has("docker-registry") {
        return;
    }
    let scene = Scene::new();
    for registry in &scene.registries {
        for verbose in ["--verbose=true", "--verbose=false"] {
            let done = scene.desk.dhow(&[
                "--debug",
                "login",
                "--tls-verify=false",
                verbose,
                "-u",
                "ann",
                "-p",
                CANARY,
                &registry.address,
            ]);
            clean(&done.stdout, "stdout");
            clean(&done.stderr, "stderr");
        }
    }
    let root = scene.desk.work();
    let kept = root
        .parent()
        .expect("it has one")
        .join("run/containers/auth.json");
    assert!(kept.exists());
    scene.nothing_is_left(&[kept]);
}

#[test]
fn the_password_of_a_proxy_is_not_shown() {
    let desk = Desk::new();
    for image in [
        "docker://registry.invalid/none:1",
        "docker://127.0.0.1:1/none:1",
    ] {
        for verb in ["inspect", "doctor"] {
            let proxy = "http://ann:canary%2Fs3cret%2Bbird@127.0.0.1:1";
            let mut command = desk.command();
            command
                .env("RUST_LOG", "trace")
                .env("HTTPS_PROXY", proxy)
                .env("HTTP_PROXY", proxy)
                .args(["--debug", verb, image]);
            let got = outcome(&mut command);
            assert_ne!(got.code, Some(0), "{got:?}");
            clean(&got.stdout, "stdout");
            clean(&got.stderr, "stderr");
        }
    }
}
