//! Which credentials are found where, in which order; what helpers may do; and that two logins at
//! once lose nothing.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use dhow_config::{
    AuthFiles, Config, ConfigOverrides, CredentialProgram, Credentials, EnvSnapshot, LoginKey,
    Registries, Removed, Secret, Stored, Target,
};
use dhow_model::Repository;

/// A home with nothing in it.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        for name in ["home", "run", "bin", "docker"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        Self(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Puts a helper on PATH that runs this shell script.
    fn helper(&self, name: &str, script: &str) {
        let path = self.path(&format!("bin/docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn environment(&self, more: &[(&str, &str)]) -> EnvSnapshot {
        let path = |name: &str| self.path(name).display().to_string();
        let mut variables: BTreeMap<String, String> = [
            ("HOME", path("home")),
            ("XDG_RUNTIME_DIR", path("run")),
            ("PATH", format!("{}:/usr/bin:/bin", path("bin"))),
            ("RECORD", path("record")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for (name, value) in more {
            variables.insert((*name).to_owned(), self.path(value).display().to_string());
        }
        EnvSnapshot {
            variables,
            user_id: 1000,
        }
    }

    fn files(&self, more: &[(&str, &str)], helpers: &[&str], authfile: Option<&str>) -> AuthFiles {
        let registries = Registries {
            credential_helpers: helpers.iter().map(|name| (*name).to_owned()).collect(),
            ..Registries::default()
        };
        let environment = Arc::new(self.environment(more));
        let config = Config::new(environment, ConfigOverrides::default());
        let authfile = authfile.map(|name| self.path(name));
        AuthFiles::new(Arc::new(config.with_registries(registries)), authfile)
    }
}

fn auths(user: &str) -> String {
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:p"));
    format!(r#"{{"auths":{{"a.io":{{"auth":"{auth}"}}}}}}"#)
}

fn user(files: &AuthFiles) -> Option<String> {
    let repository = Repository::parse("a.io/team/app").unwrap();
    let found = files.find(&repository).unwrap();
    found.user().map(str::to_owned)
}

const ANSWER: &str = r#"read -r server; echo "{\"ServerURL\":\"$server\",\"Username\":\"helper\",\"Secret\":\"s\"}""#;

/// Each row adds a source that comes before all those above it.
#[test]
fn sources_come_in_their_order() {
    let desk = Desk::new();
    assert_eq!(user(&desk.files(&[], &[], None)), None);

    let bare = auths("dockercfg");
    let bare = bare.strip_prefix(r#"{"auths":"#).unwrap();
    desk.write("home/.dockercfg", &bare[..bare.len() - 1]);
    assert_eq!(
        user(&desk.files(&[], &[], None)).as_deref(),
        Some("dockercfg")
    );

    desk.write("home/.docker/config.json", &auths("docker"));
    assert_eq!(user(&desk.files(&[], &[], None)).as_deref(), Some("docker"));

    // DOCKER_CONFIG stands in the place of ~/.docker.
    desk.write("docker/config.json", &auths("docker-config"));
    let docker = ("DOCKER_CONFIG", "docker");
    assert_eq!(
        user(&desk.files(&[docker], &[], None)).as_deref(),
        Some("docker-config")
    );

    desk.write("home/.config/containers/auth.json", &auths("config"));
    assert_eq!(
        user(&desk.files(&[docker], &[], None)).as_deref(),
        Some("config")
    );

    desk.write("run/containers/auth.json", &auths("session"));
    assert_eq!(
        user(&desk.files(&[docker], &[], None)).as_deref(),
        Some("session")
    );

    desk.helper("conf", ANSWER);
    let helpers = ["conf", "containers-auth.json"];
    assert_eq!(
        user(&desk.files(&[docker], &helpers, None)).as_deref(),
        Some("helper")
    );

    desk.write("other.json", &auths("environment"));
    let named = ("REGISTRY_AUTH_FILE", "other.json");
    assert_eq!(
        user(&desk.files(&[docker, named], &helpers, None)).as_deref(),
        Some("environment")
    );

    desk.write("flag.json", &auths("flag"));
    assert_eq!(
        user(&desk.files(&[docker, named], &helpers, Some("flag.json"))).as_deref(),
        Some("flag")
    );

    // A file that was named and is not there holds nothing, and nobody else is asked.
    assert_eq!(
        user(&desk.files(&[docker], &[], Some("missing.json"))),
        None
    );
}

#[test]
fn a_file_says_who_is_asked_in_its_order() {
    let desk = Desk::new();
    desk.helper("one", &ANSWER.replace("helper", "one"));
    desk.helper("store", &ANSWER.replace("helper", "store"));
    desk.helper(
        "nothing",
        "echo credentials not found in native keychain; exit 1",
    );
    for (text, expected) in [
        // An entry comes before the store, as it does for those who do not know stores.
        (
            r#"{"auths":{"a.io":{"auth":"ZW50cnk6cA=="}},"credsStore":"store"}"#,
            Some("entry"),
        ),
        (
            r#"{"auths":{"a.io":{}},"credsStore":"store"}"#,
            Some("store"),
        ),
        (r#"{"credsStore":"store"}"#, Some("store")),
        (
            r#"{"credsStore":"store","credHelpers":{"a.io":"one"}}"#,
            Some("one"),
        ),
        (
            r#"{"credHelpers":{"a.io":"one"},"auths":{"a.io/team":{"auth":"ZW50cnk6cA=="}}}"#,
            Some("entry"),
        ),
        (
            r#"{"credHelpers":{"a.io/team":"one"},"auths":{"a.io":{"auth":"ZW50cnk6cA=="}}}"#,
            Some("one"),
        ),
        (r#"{"credHelpers":{"b.io":"one"}}"#, None),
        (r#"{"credsStore":"nothing"}"#, None),
    ] {
        desk.write("run/containers/auth.json", text);
        assert_eq!(
            user(&desk.files(&[], &[], None)).as_deref(),
            expected,
            "{text}"
        );
    }
    // A store without an entry lets the next file speak.
    desk.write("home/.docker/config.json", &auths("docker"));
    assert_eq!(user(&desk.files(&[], &[], None)).as_deref(), Some("docker"));
}

#[test]
fn a_store_is_asked_for_dockers_hub_by_dockers_name() {
    let desk = Desk::new();
    desk.helper("store", &format!(r#"tee -a "$RECORD" | {{ {ANSWER}; }}"#));
    desk.write("home/.docker/config.json", r#"{"credsStore":"store"}"#);
    let files = desk.files(&[], &[], None);
    let found = files.find(&Repository::parse("centos").unwrap()).unwrap();
    assert_eq!(found.user(), Some("helper"));
    assert!(
        found.origin.contains("docker-credential-store"),
        "{}",
        found.origin
    );
    let asked = fs::read_to_string(desk.path("record")).unwrap();
    assert_eq!(asked, "https://index.docker.io/v1/\n");
}

#[test]
fn a_token_user_is_an_identity_token() {
    let desk = Desk::new();
    desk.helper("one", &ANSWER.replace("helper", "<token>"));
    let helper = CredentialProgram::new("one", Path::new("/config.json"));
    let found = helper.get(&desk.environment(&[]), "a.io").unwrap();
    assert_eq!(found, Some(Credentials::IdentityToken(Secret::new("s"))));
}

/// CVE-2021-41092: a helper that fails must not make anybody else's credentials appear.
#[test]
fn a_helper_that_does_not_do_what_it_should_is_an_error_that_names_it() {
    let desk = Desk::new();
    desk.write("home/.docker/config.json", &auths("docker"));
    let long = "sleep 30 & echo $! > \"$RECORD\"; wait";
    for (script, why) in [
        ("echo '{\"Secret\":\"canary\"}'; exit 3", "did not do it"),
        ("echo canary; echo canary >&2", "not what helpers answer"),
        ("true", "not what helpers answer"),
        ("echo '[1]'", "not what helpers answer"),
        ("head -c 100000 /dev/zero", "said more than"),
        ("yes canary", "said more than"),
        ("exec >&-; sleep 30", "did not end within"),
        (long, "did not end within"),
        ("kill -9 $$", "did not do it"),
    ] {
        desk.helper("bad", script);
        let helper = CredentialProgram::new("bad", Path::new("/x/config.json"))
            .within(Duration::from_millis(500));
        let start = Instant::now();
        let error = helper.get(&desk.environment(&[]), "a.io").unwrap_err();
        let text = format!("{error} {error:?} {:?}", error.hint());
        assert!(text.contains("docker-credential-bad"), "{text}");
        assert!(
            text.contains("/x/config.json") && text.contains(why),
            "{script}: {text}"
        );
        assert!(!text.contains("canary"), "{text}");
        assert!(start.elapsed() < Duration::from_secs(10), "{script}");
    }
    // What a helper has started ends with it.
    let child = fs::read_to_string(desk.path("record")).unwrap();
    let gone = Instant::now();
    while Path::new("/proc").join(child.trim()).join("exe").exists() {
        assert!(
            gone.elapsed() < Duration::from_secs(5),
            "{child} still runs"
        );
    }

    let whole = |text: &str| {
        desk.write("run/containers/auth.json", text);
        let files = desk.files(&[], &[], None);
        files.find(&Repository::parse("a.io/b").unwrap())
    };
    for text in [
        r#"{"credHelpers":{"a.io":"missing"}}"#,
        r#"{"credsStore":"missing"}"#,
        r#"{"credHelpers":{"a.io":"../../bin/sh"}}"#,
        r#"{"credHelpers":{"a.io":"a b; rm -rf"}}"#,
        r#"{"credHelpers":{"a.io":"-x"}}"#,
    ] {
        let error = whole(text).unwrap_err().to_string();
        assert!(error.contains("docker-credential-"), "{error}");
    }
    desk.write("bin/docker-credential-plain", "no program");
    let error = whole(r#"{"credsStore":"plain"}"#).unwrap_err().to_string();
    assert!(error.contains("is no program"), "{error}");
}

/// The class of CVE-2020-5260: a name that would put lines of its own into the protocol.
#[test]
fn control_characters_reach_no_helper() {
    let desk = Desk::new();
    desk.helper("one", &format!(r#"cat >> "$RECORD"; {ANSWER}"#));
    let helper = CredentialProgram::new("one", Path::new("/config.json"));
    for server in ["a.io\nhost=evil", "a.io\0", "", "a\u{7f}"] {
        assert!(helper.get(&desk.environment(&[]), server).is_err());
    }
    assert!(!desk.path("record").exists());
    assert!(LoginKey::parse("a.io\nb.io").is_err());
}

#[test]
fn helpers_of_a_relative_folder_are_not_run() {
    let desk = Desk::new();
    desk.helper("one", ANSWER);
    let mut environment = desk.environment(&[]);
    environment
        .variables
        .insert("PATH".to_owned(), "bin:.::".to_owned());
    let helper = CredentialProgram::new("one", Path::new("/config.json"));
    assert!(helper.find(&environment).is_err());
}

#[test]
fn what_login_keeps_is_found_and_what_logout_removes_is_gone() {
    let desk = Desk::new();
    let files = desk.files(&[], &[], None);
    let key = |text| LoginKey::parse(text).unwrap();
    let secret = Secret::new("p:with:colons");
    for name in ["b.io", "a.io/team", "a.io"] {
        let stored = files
            .store(&key(name), name, &secret, &Target::Own)
            .unwrap();
        assert_eq!(stored, Stored::File(desk.path("run/containers/auth.json")));
    }
    let path = desk.path("run/containers/auth.json");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let folder = fs::metadata(desk.path("run/containers")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\n\t\"auths\": {\n\t\t\"a.io\": {\n\t\t\t\"auth\": \""));
    let user = |name: &str| {
        let found = files.find(&Repository::parse(name).unwrap()).unwrap();
        found.user().map(str::to_owned)
    };
    assert_eq!(user("a.io/team/x").as_deref(), Some("a.io/team"));
    assert_eq!(user("a.io/x").as_deref(), Some("a.io"));
    assert_eq!(
        files.remove(&key("a.io/team"), &Target::Own).unwrap(),
        Removed::Yes
    );
    assert_eq!(
        files.remove(&key("a.io/team"), &Target::Own).unwrap(),
        Removed::NotThere
    );
    assert_eq!(user("a.io/team/x").as_deref(), Some("a.io"));
    files.remove_all(&Target::Own).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n\t\"auths\": {}\n}");
}

#[test]
fn what_dhow_does_not_know_in_a_file_stays() {
    let desk = Desk::new();
    let before = r#"{"HttpHeaders":{"X":"1"},"auths":{"https://index.docker.io/v1/":{"auth":"eDp5","email":"e@x"}},"credHelpers":{"z.io":"one"},"psFormat":"x"}"#;
    desk.write("docker/config.json", before);
    let files = desk.files(&[], &[], None);
    let target = Target::Docker(desk.path("docker/config.json"));
    let key = |text| LoginKey::parse(text).unwrap();
    files
        .store(&key("docker.io"), "me", &Secret::new("p"), &target)
        .unwrap();
    files
        .store(&key("a.io"), "me", &Secret::new("p"), &target)
        .unwrap();
    let text = fs::read_to_string(desk.path("docker/config.json")).unwrap();
    let after: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(after["HttpHeaders"]["X"], "1");
    assert_eq!(after["psFormat"], "x");
    assert_eq!(after["credHelpers"]["z.io"], "one");
    let hub = &after["auths"]["https://index.docker.io/v1/"];
    assert_eq!(hub["auth"], "bWU6cA==");
    assert_eq!(hub["email"], "e@x");
    assert_eq!(after["auths"]["a.io"]["auth"], "bWU6cA==");
    assert!(
        files
            .store(&key("a.io/team"), "me", &Secret::new("p"), &target)
            .is_err()
    );
    files.remove(&key("docker.io"), &target).unwrap();
    let text = fs::read_to_string(desk.path("docker/config.json")).unwrap();
    assert!(!text.contains("index.docker.io") && text.contains("a.io"));
}

#[test]
fn a_key_with_a_helper_is_kept_by_the_helper() {
    let desk = Desk::new();
    desk.helper("one", r#"echo "$1" >> "$RECORD"; cat >> "$RECORD""#);
    desk.write(
        "run/containers/auth.json",
        r#"{"credHelpers":{"a.io":"one"}}"#,
    );
    let files = desk.files(&[], &[], None);
    let key = LoginKey::parse("a.io").unwrap();
    let stored = files
        .store(&key, "me", &Secret::new("p"), &Target::Own)
        .unwrap();
    assert_eq!(stored, Stored::Helper("docker-credential-one".to_owned()));
    assert_eq!(files.remove(&key, &Target::Own).unwrap(), Removed::Yes);
    let record = fs::read_to_string(desk.path("record")).unwrap();
    let expected =
        "store\n{\"ServerURL\":\"a.io\",\"Username\":\"me\",\"Secret\":\"p\"}\nerase\na.io\n";
    assert_eq!(record, expected);
    let text = fs::read_to_string(desk.path("run/containers/auth.json")).unwrap();
    assert_eq!(text, r#"{"credHelpers":{"a.io":"one"}}"#);
}

#[test]
fn logins_at_the_same_moment_lose_nothing() {
    let desk = Desk::new();
    let files = desk.files(&[], &[], None);
    std::thread::scope(|scope| {
        for number in 0..20 {
            let files = &files;
            scope.spawn(move || {
                let key = LoginKey::parse(&format!("r{number}.io")).unwrap();
                files
                    .store(&key, "me", &Secret::new("p"), &Target::Own)
                    .unwrap();
            });
        }
    });
    let text = fs::read_to_string(desk.path("run/containers/auth.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["auths"].as_object().unwrap().len(), 20);
    let left = fs::read_dir(desk.path("run/containers")).unwrap().count();
    assert_eq!(left, 1, "temporary files were left");
}

#[test]
fn a_link_to_a_file_stays_a_link_and_a_broken_file_stays_as_it_is() {
    let desk = Desk::new();
    desk.write("real.json", "{}");
    fs::create_dir_all(desk.path("run/containers")).unwrap();
    let link = desk.path("run/containers/auth.json");
    std::os::unix::fs::symlink(desk.path("real.json"), &link).unwrap();
    let files = desk.files(&[], &[], None);
    let key = LoginKey::parse("a.io").unwrap();
    files
        .store(&key, "me", &Secret::new("p"), &Target::Own)
        .unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(
        fs::read_to_string(desk.path("real.json"))
            .unwrap()
            .contains("a.io")
    );
    for broken in ["{", r#"{"auths":[]}"#, "[]"] {
        desk.write("real.json", broken);
        assert!(
            files
                .store(&key, "me", &Secret::new("p"), &Target::Own)
                .is_err()
        );
        assert_eq!(fs::read_to_string(desk.path("real.json")).unwrap(), broken);
    }
}

#[test]
fn a_session_folder_that_is_not_there_is_told() {
    let desk = Desk::new();
    let files = desk.files(&[("XDG_RUNTIME_DIR", "nowhere")], &[], None);
    let key = LoginKey::parse("a.io").unwrap();
    let error = files
        .store(&key, "me", &Secret::new("p"), &Target::Own)
        .unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("XDG_RUNTIME_DIR"), "{cause}");
}
