//! `dhow doctor` names what is wrong, and its exit code says of which kind it is.

use std::fs;

use dhow_testkit::image::ImageSpec;
use dhow_testkit::scripted::{Reply, ScriptedServer};
use serde_json::Value;

use crate::authority::{Authority, Flavour};
use crate::dhow::{Desk, outcome};
use crate::registry::{Registry, Wanted};
use crate::{samples, tools};

/// Runs the doctor and returns its exit code and findings.
fn doctor(desk: &Desk, arguments: &[&str]) -> (i32, Vec<Value>) {
    let done = desk.dhow(&[&["doctor", "--output", "json"], arguments].concat());
    let report: Value =
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    assert_eq!(report["schemaVersion"], 1);
    assert_eq!(report["exitCode"].as_i64(), done.code.map(i64::from));
    let findings = report["findings"].as_array().unwrap().clone();
    (done.code.unwrap_or(-1), findings)
}

/// Returns the first finding of a level about a check.
#[track_caller]
fn finding<'a>(findings: &'a [Value], level: &str, check: &str) -> &'a Value {
    let mut matching = findings
        .iter()
        .filter(|one| one["level"] == level && one["check"] == check);
    matching
        .next()
        .unwrap_or_else(|| panic!("no {level} of {check} in {findings:#?}"))
}

#[track_caller]
fn says(finding: &Value, words: &[&str]) {
    let text = finding.to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is not in {text}");
    }
}

fn write(desk: &Desk, name: &str, text: &str) {
    let path = desk.home().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_healthy_registry_has_no_errors_and_says_what_is_used() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let authority = Authority::create(&desk.work());
    let registry = Registry::debian(
        &desk,
        "registry",
        Wanted {
            tls: Some(&authority),
            user: Some(("ann", "s3cret")),
            ..Wanted::default()
        },
    );
    let trusted = authority.trusted.display().to_string();
    let flags = ["--dest-creds=ann:s3cret", "--dest-cert-dir", &trusted];
    let images = [("a/b", "1", ImageSpec::oci(1).build())];
    samples::publish(&desk, &registry.address, &images, &flags);
    let image = format!("docker://{}/a/b:1", registry.address);
    desk.dhow(&[
        "login",
        "-u",
        "ann",
        "-p",
        "s3cret",
        "--cert-dir",
        &trusted,
        &registry.address,
    ])
    .ok();
    registry.forget();
    let (code, findings) = doctor(&desk, &["--push", "--cert-dir", &trusted, &image]);
    assert_eq!(code, 0, "{findings:#?}");
    says(
        finding(&findings, "ok", "credentials"),
        &["ann", "auth.json"],
    );
    says(finding(&findings, "ok", "name resolution"), &["127.0.0.1"]);
    says(
        finding(&findings, "ok", "tls"),
        &["TLS", "127.0.0.1", "Private Authority", "valid until"],
    );
    says(
        finding(&findings, "ok", "answer"),
        &["user name and password"],
    );
    finding(&findings, "ok", "login");
    finding(&findings, "ok", "pull");
    finding(&findings, "ok", "push");
    let text = format!("{findings:?}");
    assert!(
        !text.contains("s3cret") && !text.contains("YW5uOnMzY3JldA"),
        "{text}"
    );
    // The upload that was begun is given up.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let requests = registry.requests();
    let made = |method: &str| {
        requests
            .iter()
            .filter(|line| line.starts_with(method))
            .count()
    };
    assert_eq!((made("DELETE"), made("PUT")), (1, 0), "{requests:#?}");
    let text = desk.dhow(&["doctor", "--cert-dir", &trusted, &image]).ok();
    assert!(text.contains("0 errors, 0 warnings"), "{text}");
}

#[test]
fn wrong_and_missing_passwords_are_named() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let wanted = Wanted {
        user: Some(("ann", "s3cret")),
        ..Wanted::default()
    };
    let registry = Registry::debian(&desk, "registry", wanted);
    let image = format!("docker://{}/a/b:1", registry.address);
    let insecure = "--tls-verify=false";
    let (code, findings) = doctor(&desk, &[insecure, "--creds=ann:wr0ng", &image]);
    assert_eq!(code, 3);
    says(finding(&findings, "error", "login"), &["401", "--creds"]);
    assert!(!format!("{findings:?}").contains("wr0ng"));
    let (code, findings) = doctor(&desk, &[insecure, &image]);
    assert_eq!(code, 3);
    says(
        finding(&findings, "error", "login"),
        &["there are none", "dhow login"],
    );
}

#[test]
fn what_is_wrong_with_a_certificate_is_named() {
    for (flavour, names, trusted, words) in [
        (
            Flavour::Expired,
            &["127.0.0.1"][..],
            true,
            &["expired", "2002-02-02"][..],
        ),
        (
            Flavour::Server,
            &["127.0.0.1"],
            false,
            &["not known here", "Private Authority"],
        ),
        (
            Flavour::Server,
            &["registry.example.com"],
            true,
            &["another name", "registry.example.com"],
        ),
    ] {
        let desk = Desk::new();
        let authority = Authority::with(&desk.work(), names, flavour);
        let wanted = Wanted {
            tls: Some(&authority),
            ..Wanted::default()
        };
        let registry = Registry::dhow(&desk, "registry", wanted);
        let image = format!("docker://{}/a/b:1", registry.address);
        let directory = authority.trusted.display().to_string();
        let mut arguments = vec![image.as_str()];
        if trusted {
            arguments.extend(["--cert-dir", &directory]);
        }
        let (code, findings) = doctor(&desk, &arguments);
        assert_eq!(code, 6, "{findings:#?}");
        let found = finding(&findings, "error", "tls");
        says(found, words);
        assert!(found["hint"].is_string(), "{found}");
    }
}

#[test]
fn broken_files_and_missing_helpers_are_named() {
    let desk = Desk::new();
    write(&desk, ".docker/config.json", r#"{"auths":"#);
    let (code, findings) = doctor(&desk, &[]);
    assert_eq!(code, 8);
    says(
        finding(&findings, "error", "credential files"),
        &[".docker/config.json", "line 1"],
    );
    write(&desk, ".docker/config.json", r#"{"credsStore":"nowhere"}"#);
    let (code, findings) = doctor(&desk, &[]);
    assert_eq!(code, 8);
    says(
        finding(&findings, "error", "credential helper"),
        &["docker-credential-nowhere", ".docker/config.json", "PATH"],
    );
    write(&desk, ".docker/config.json", "{}");
    write(
        &desk,
        ".config/containers/registries.conf",
        "[[registry]]\n",
    );
    let (code, findings) = doctor(&desk, &["docker://127.0.0.1:1/a:1"]);
    assert_eq!(code, 8);
    says(
        finding(&findings, "error", "registries.conf"),
        &["registries.conf", "unset"],
    );
    write(&desk, ".config/containers/registries.conf", "");
    write(&desk, ".config/containers/policy.json", "{\"default\":[]}");
    let (code, findings) = doctor(&desk, &[]);
    assert_eq!(code, 8);
    says(finding(&findings, "error", "policy.json"), &["policy.json"]);
}

#[test]
fn a_blocked_registry_and_a_dead_mirror_are_named() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let registry = Registry::debian(&desk, "registry", Wanted::default());
    let images = [("team/app", "1", ImageSpec::oci(1).build())];
    samples::publish(
        &desk,
        &registry.address,
        &images,
        &["--dest-tls-verify=false"],
    );
    let conf = format!(
        "[[registry]]\nprefix = 'place.test'\nlocation = '{}'\ninsecure = true\n\
         [[registry.mirror]]\nlocation = '127.0.0.1:1/cache'\n\
         [[registry]]\nlocation = 'blocked.test'\nblocked = true\n",
        registry.address
    );
    write(&desk, ".config/containers/registries.conf", &conf);
    let (code, findings) = doctor(&desk, &["docker://place.test/team/app:1"]);
    assert_eq!(code, 5, "{findings:#?}");
    says(
        finding(&findings, "error", "connection"),
        &["mirror 127.0.0.1:1/cache/team/app", "refused"],
    );
    // The place itself is examined all the same.
    says(finding(&findings, "ok", "pull"), &[&registry.address]);
    let (code, findings) = doctor(&desk, &["docker://blocked.test/a:1"]);
    assert_eq!(code, 7);
    says(
        finding(&findings, "error", "registries.conf"),
        &["blocked.test", "registries.conf"],
    );
}

#[tokio::test]
async fn a_missing_push_right_is_a_warning_and_with_push_an_error() {
    let desk = Desk::new();
    let image = ImageSpec::oci(1).build().root;
    let server = ScriptedServer::start(move |seen, _| match seen.method.as_str() {
        "POST" => Reply::status(403)
            .body(r#"{"errors":[{"code":"DENIED","message":"only reading is allowed"}]}"#),
        _ if seen.path == "/v2/" => Reply::status(200),
        _ => Reply::status(200)
            .header("docker-content-digest", image.digest().to_string())
            .header("ratelimit-limit", "100;w=21600")
            .header("ratelimit-remaining", "7;w=21600"),
    })
    .await;
    let name = format!("docker://{}/a/b:1", server.address());
    for (flags, code, level) in [(&[][..], 0, "warning"), (&["--push"], 3, "error")] {
        let mut command = desk.command();
        command
            .args(["doctor", "--output", "json", "--tls-verify=false", &name])
            .args(flags);
        // The server of this test runs on this thread, so that the command must not hold it up.
        let running = tokio::task::spawn_blocking(move || outcome(&mut command));
        let done = running.await.unwrap();
        assert_eq!(done.code, Some(code), "{done:?}");
        let report: Value = serde_json::from_str(&done.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        says(
            finding(findings, level, "push"),
            &["no push right", "only reading is allowed"],
        );
        says(
            finding(findings, "ok", "rate limit"),
            &["7 of 100", "360 minutes"],
        );
    }
}

#[test]
fn names_that_do_not_resolve_and_places_that_are_no_registry_are_named() {
    let desk = Desk::new();
    let (code, findings) = doctor(&desk, &["docker://nowhere.invalid/a:1"]);
    assert_eq!(code, 5);
    says(
        finding(&findings, "error", "name resolution"),
        &["nowhere.invalid"],
    );
    let (code, findings) = doctor(&desk, &["docker://127.0.0.1:1/a:1"]);
    assert_eq!(code, 5);
    says(finding(&findings, "error", "connection"), &["127.0.0.1"]);
    let refused = desk.dhow(&["doctor", "oci:./x"]).fails(64);
    assert!(refused.contains("not in a registry"), "{refused}");
}
