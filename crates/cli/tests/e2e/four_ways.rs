//! Debian's registry set up four ways - open, passwords, client certificates, signed tokens -
//! with every command against each, and credentials from every source.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dhow_testkit::image::{ImageSpec, IndexSpec, write_layout};
use dhow_testkit::token_service::{Right, Settings, TokenService, User};
use serde_json::{Value, json};

use crate::authority::{Authority, Flavour};
use crate::dhow::{Desk, Outcome};
use crate::registry::{Registry, Wanted};
use crate::samples::PLATFORMS;
use crate::tools::has;

const USER: &str = "ann";
const PASSWORD: &str = "pass:word with % and spaces";
const IDENTITY: &str = "an-identity-token";
const DENIED: i32 = 3;

/// A token service that knows one user, who may do everything.
fn service() -> TokenService {
    TokenService::start(Settings {
        path: "/token".to_owned(),
        tls: None,
        users: vec![User {
            name: Some(USER.to_owned()),
            password: PASSWORD.to_owned(),
            identity: Some(IDENTITY.to_owned()),
            rights: vec![Right::new("*", "pull,push,delete")],
        }],
    })
}

/// An authority for client certificates and a directory with one of it, beside the `ca.crt` of
/// the server's.
fn client_certificate(desk: &Desk, server: &Authority) -> (PathBuf, PathBuf) {
    let place = desk.path("clients");
    fs::create_dir(&place).unwrap();
    let clients = Authority::with(&place, &["client"], Flavour::Client);
    let ca_file = clients.trusted.join("ca.crt");
    let directory = desk.path("with-client");
    fs::create_dir(&directory).unwrap();
    fs::copy(server.trusted.join("ca.crt"), directory.join("ca.crt")).unwrap();
    fs::copy(&clients.certificate, directory.join("client.cert")).unwrap();
    fs::copy(&clients.key, directory.join("client.key")).unwrap();
    (ca_file, directory)
}

/// Runs dhow with flags, each in the forms of one or both ends where the command has two.
fn run(desk: &Desk, words: &[&str], flags: &[(&str, &str)], ends: &[&str]) -> Outcome {
    let mut arguments: Vec<String> = words[..1].iter().map(|&w| w.to_owned()).collect();
    for (flag, value) in flags {
        for end in ends {
            arguments.push(format!("--{end}{flag}={value}"));
        }
    }
    arguments.extend(words[1..].iter().map(|&w| w.to_owned()));
    desk.dhow(&arguments)
}

/// Every command that speaks to registries.
fn every_command(desk: &Desk, address: &str, flags: &[(&str, &str)]) {
    let name = |tag: &str| format!("docker://{address}/team/app:{tag}");
    let (one, two, all) = (name("one"), name("two"), name("all"));
    let copy = |words: &[&str], ends: &[&str]| run(desk, words, flags, ends).ok();
    copy(&["copy", "oci:./sample:one", &one], &["dest-"]);
    copy(&["copy", &one, &two], &["src-", "dest-"]);
    copy(&["copy", "--all", "oci:./sample:all", &all], &["dest-"]);
    copy(&["copy", &two, "dir:./back"], &["src-"]);
    fs::remove_dir_all(desk.path("back")).unwrap();
    copy(&["copy", "--all", &all, "oci:./back:all"], &["src-"]);
    fs::remove_dir_all(desk.path("back")).unwrap();
    let one_end = |words: &[&str]| run(desk, words, flags, &[""]);
    assert!(one_end(&["inspect", &one]).json()["Digest"].is_string());
    assert_eq!(
        one_end(&["inspect", "--raw", &all]).json()["schemaVersion"],
        2
    );
    assert_eq!(
        one_end(&["inspect", "--config", &one]).json()["os"],
        "linux"
    );
    let repository = format!("docker://{address}/team/app");
    let tags = one_end(&["list-tags", &repository]).json();
    assert_eq!(tags["Tags"].as_array().map(Vec::len), Some(3), "{tags}");
    one_end(&["delete", &all]).ok();
    one_end(&["inspect", &all]).fails(2);
}

fn samples(desk: &Desk) {
    let one = ImageSpec::oci(31).build();
    let all = IndexSpec::oci(32, &PLATFORMS).build();
    write_layout(&desk.path("sample"), &[("one", &one), ("all", &all)]);
}

#[test]
fn every_command_works_with_every_kind_of_registry() {
    if !has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    samples(&desk);
    let authority = Authority::create(&desk.work());
    let (clients, with_client) = client_certificate(&desk, &authority);
    let service = service();
    let creds = format!("{USER}:{PASSWORD}");
    let plain = ("tls-verify", "false");

    let open = Registry::debian(&desk, "open", Wanted::default());
    every_command(&desk, &open.address, &[plain]);

    let wanted = Wanted {
        user: Some((USER, PASSWORD)),
        ..Wanted::default()
    };
    let passwords = Registry::debian(&desk, "passwords", wanted);
    every_command(&desk, &passwords.address, &[plain, ("creds", &creds)]);

    let wanted = Wanted {
        signed: Some(&service),
        ..Wanted::default()
    };
    let tokens = Registry::debian(&desk, "tokens", wanted);
    every_command(&desk, &tokens.address, &[plain, ("creds", &creds)]);
    assert!(service.asked().iter().all(|asked| asked.status == 200));

    let wanted = Wanted {
        tls: Some(&authority),
        clients_of: Some(&clients),
        ..Wanted::default()
    };
    let certificates = Registry::debian(&desk, "certificates", wanted);
    let directory = with_client.display().to_string();
    every_command(&desk, &certificates.address, &[("cert-dir", &directory)]);
    let image = format!("docker://{}/team/app:one", certificates.address);
    let own = desk
        .home()
        .join(".config/containers/certs.d")
        .join(&certificates.address);
    fs::create_dir_all(&own).unwrap();
    for entry in fs::read_dir(&with_client).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), own.join(entry.file_name())).unwrap();
    }
    desk.dhow(&["inspect", &image]).ok();
}

#[test]
fn a_missing_client_certificate_is_named() {
    if !has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let authority = Authority::create(&desk.work());
    let (clients, _) = client_certificate(&desk, &authority);
    let wanted = Wanted {
        tls: Some(&authority),
        clients_of: Some(&clients),
        ..Wanted::default()
    };
    let registry = Registry::debian(&desk, "certificates", wanted);
    let image = format!("docker://{}/team/app:one", registry.address);
    let none = format!("--cert-dir={}", authority.trusted.display());
    let message = desk.dhow(&["inspect", &none, &image]);
    assert_ne!(message.code, Some(0), "{message:?}");
    assert!(message.stderr.contains("client certificate"), "{message:?}");
}

/// Runs `inspect` with these variables and flags after writing one file below the home.
fn inspect_with(
    desk: &Desk,
    image: &str,
    file: Option<(&Path, &Value)>,
    variable: Option<(&str, &Path)>,
    flags: &[String],
) -> Outcome {
    if let Some((path, content)) = file {
        fs::create_dir_all(path.parent().expect("it has one")).unwrap();
        fs::write(path, content.to_string()).unwrap();
    }
    let mut command = desk.command();
    command
        .args(["inspect", "--raw", "--tls-verify=false"])
        .args(flags)
        .arg(image);
    if let Some((name, value)) = variable {
        command.env(name, value);
    }
    let outcome = crate::dhow::outcome(&mut command);
    if let Some((path, _)) = file {
        fs::remove_file(path).unwrap();
    }
    outcome
}

#[test]
fn every_source_delivers_credentials_and_is_named_when_they_are_wrong() {
    if !has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    samples(&desk);
    let service = service();
    let passwords = Wanted {
        user: Some((USER, PASSWORD)),
        ..Wanted::default()
    };
    let passwords = Registry::debian(&desk, "passwords", passwords);
    let tokens = Wanted {
        signed: Some(&service),
        ..Wanted::default()
    };
    let tokens = Registry::debian(&desk, "tokens", tokens);
    for registry in [&passwords, &tokens] {
        let image = format!("docker://{}/team/app:one", registry.address);
        let creds = format!("--dest-creds={USER}:{PASSWORD}");
        let plain = "--dest-tls-verify=false";
        desk.dhow(&["copy", plain, &creds, "oci:./sample:one", &image])
            .ok();
        flags_deliver(&desk, &image);
        files_deliver(&desk, &image, &registry.address);
    }
    let image = format!("docker://{}/team/app:one", tokens.address);
    let token = service.token(&[Right::new("team/app", "pull")]);
    let flag = format!("--registry-token={token}");
    inspect_with(&desk, &image, None, None, &[flag]).ok();
    let file = desk.home().join(".docker/config.json");
    let identity = json!({"auths": {&tokens.address: {"identitytoken": IDENTITY}}});
    inspect_with(&desk, &image, Some((&file, &identity)), None, &[]).ok();
    assert!(
        service
            .asked()
            .iter()
            .any(|asked| asked.proof == "refresh_token")
    );
}

fn flags_deliver(desk: &Desk, image: &str) {
    let pair = [
        format!("--username={USER}"),
        format!("--password={PASSWORD}"),
    ];
    inspect_with(desk, image, None, None, &pair).ok();
    inspect_with(
        desk,
        image,
        None,
        None,
        &[format!("--creds={USER}:{PASSWORD}")],
    )
    .ok();
    let wrong = [format!("--creds={USER}:not-this-one")];
    let message = inspect_with(desk, image, None, None, &wrong).fails(DENIED);
    assert!(message.contains("--creds"), "{message}");
    assert!(!message.contains("not-this-one"), "{message}");
    inspect_with(desk, image, None, None, &[]).fails(DENIED);
}

fn files_deliver(desk: &Desk, image: &str, address: &str) {
    let home = desk.home();
    let elsewhere = desk.path("elsewhere/config.json");
    let run = home
        .parent()
        .expect("it has one")
        .join("run/containers/auth.json");
    let flag = format!("--authfile={}", elsewhere.display());
    let folder = elsewhere.parent().expect("it has one").to_owned();
    for (path, variable, flags) in [
        (&elsewhere, None, vec![flag]),
        (
            &elsewhere,
            Some(("REGISTRY_AUTH_FILE", elsewhere.as_path())),
            vec![],
        ),
        (
            &elsewhere,
            Some(("DOCKER_CONFIG", folder.as_path())),
            vec![],
        ),
        (&run, None, vec![]),
        (&home.join(".config/containers/auth.json"), None, vec![]),
        (&home.join(".docker/config.json"), None, vec![]),
    ] {
        for key in [address.to_owned(), format!("{address}/team")] {
            for (password, good) in [(PASSWORD, true), ("not-this-one", false)] {
                let auth = STANDARD.encode(format!("{USER}:{password}"));
                let content = json!({"auths": {&key: {"auth": auth}}});
                let got = inspect_with(desk, image, Some((path, &content)), variable, &flags);
                if good {
                    got.ok();
                } else {
                    let message = got.fails(DENIED);
                    assert!(message.contains(&path.display().to_string()), "{message}");
                }
            }
        }
    }
    let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let old = json!({address: {"auth": auth, "email": "ann@example.com"}});
    inspect_with(
        desk,
        image,
        Some((&home.join(".dockercfg"), &old)),
        None,
        &[],
    )
    .ok();
}

#[test]
fn helpers_deliver_credentials() {
    use std::os::unix::fs::PermissionsExt as _;
    if !has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    samples(&desk);
    let wanted = Wanted {
        user: Some((USER, PASSWORD)),
        ..Wanted::default()
    };
    let registry = Registry::debian(&desk, "passwords", wanted);
    let image = format!("docker://{}/team/app:one", registry.address);
    let creds = format!("--dest-creds={USER}:{PASSWORD}");
    let plain = "--dest-tls-verify=false";
    desk.dhow(&["copy", plain, &creds, "oci:./sample:one", &image])
        .ok();
    let programs = desk.path("bin");
    fs::create_dir(&programs).unwrap();
    let program = programs.join("docker-credential-fake");
    let log = desk.path("helper.log");
    let answer = json!({"ServerURL": registry.address, "Username": USER, "Secret": PASSWORD});
    let script = format!(
        "#!/bin/sh\necho \"$0 $*\" >>'{}'\ncat >/dev/null\necho '{answer}'\n",
        log.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let file = desk.home().join(".docker/config.json");
    fs::create_dir_all(file.parent().expect("it has one")).unwrap();
    for content in [
        json!({"credHelpers": {&registry.address: "fake"}}),
        json!({"credsStore": "fake"}),
    ] {
        fs::write(&file, content.to_string()).unwrap();
        let mut command = desk.command();
        let path = format!("{}:/usr/bin:/bin", programs.display());
        command
            .env("PATH", path)
            .args(["inspect", "--raw", "--tls-verify=false", &image]);
        crate::dhow::outcome(&mut command).ok();
    }
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains(" get") && !log.contains(PASSWORD), "{log}");
}
