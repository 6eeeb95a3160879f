//! registries.conf as a whole: what a file says, and where an image is read from.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::path::Path;

use dhow_config::{ConfigError, EnvSnapshot, Registries};
use dhow_model::{Reference, Repository};

fn load(text: &str) -> Result<Registries, ConfigError> {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("registries.conf");
    std::fs::write(&file, text).unwrap();
    let mut environment = EnvSnapshot::default();
    let home = place.path().display().to_string();
    environment.variables.insert("HOME".to_owned(), home);
    Registries::load(&environment, Some(&file))
}

/// Returns the places, mirrors with a `~`, insecure ones with a `!`.
fn places(registries: &Registries, name: &str) -> Vec<String> {
    let reference = Reference::parse(name).unwrap();
    let endpoints = registries.pull_endpoints(&reference).unwrap();
    let mark = |yes: bool, mark: &str| if yes { mark.to_owned() } else { String::new() };
    endpoints
        .iter()
        .map(|one| {
            let marks = mark(one.mirror, "~") + &mark(one.insecure, "!");
            format!("{marks}{}", one.reference)
        })
        .collect()
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The examples of containers-registries.conf(5), and others.
const EXAMPLES: &str = r#"
unqualified-search-registries = ["example.com"]

[[registry]]
prefix = "example.com/foo"
insecure = false
blocked = false
location = "internal-registry-for-example.com/bar"

[[registry.mirror]]
location = "example-mirror-0.local/mirror-for-foo"

[[registry.mirror]]
location = "example-mirror-1.local/mirrors/foo"
insecure = true

[[registry]]
location = "registry.com"

[[registry.mirror]]
location = "mirror.registry.com"

[[registry]]
prefix = "digest.io"
location = "digest.io"
mirror-by-digest-only = true

[[registry.mirror]]
location = "m.digest.io"

[[registry]]
location = "mixed.io"
[[registry.mirror]]
location = "d.mixed.io"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "t.mixed.io"
pull-from-mirror = "tag-only"
[[registry.mirror]]
location = "a.mixed.io/"
pull-from-mirror = "all"

[[registry]]
prefix = "*.wild.io"
[[registry.mirror]]
location = "cache.local/wild"

[[registry]]
prefix = "*.moved.io/team"
location = "new.io/team"

[[registry]]
prefix = "docker.io/library"
location = "hub.local/mirror/library"
insecure = true
"#;

/// What is not in the manual is as Debian's skopeo 1.9.3 does it: an end-to-end test compares the
/// places that both programs try.
#[test]
fn images_are_read_from_where_the_settings_say() {
    let registries = load(EXAMPLES).unwrap();
    for (name, expected) in [
        (
            "example.com/foo/image:latest",
            &[
                "~example-mirror-0.local/mirror-for-foo/image:latest",
                "~!example-mirror-1.local/mirrors/foo/image:latest",
                "internal-registry-for-example.com/bar/image:latest",
            ][..],
        ),
        ("example.com/foobar:1", &["example.com/foobar:1"]), // not the same component
        ("example.com/other:1", &["example.com/other:1"]),
        (
            "registry.com/a:1",
            &["~mirror.registry.com/a:1", "registry.com/a:1"],
        ),
        (
            "registry.com:5000/a:1", // a colon ends the prefix
            &["~mirror.registry.com:5000/a:1", "registry.com:5000/a:1"],
        ),
        ("evil-registry.com/a:1", &["evil-registry.com/a:1"]),
        ("registry.com.evil.io/a:1", &["registry.com.evil.io/a:1"]),
        ("digest.io/a:1", &["digest.io/a:1"]),
        (
            &format!("digest.io/a@{DIGEST}"),
            &[
                &format!("~m.digest.io/a@{DIGEST}"),
                &format!("digest.io/a@{DIGEST}"),
            ],
        ),
        (
            "mixed.io/a:1",
            &["~t.mixed.io/a:1", "~a.mixed.io/a:1", "mixed.io/a:1"],
        ),
        (
            &format!("mixed.io/a@{DIGEST}"),
            &[
                &format!("~d.mixed.io/a@{DIGEST}"),
                &format!("~a.mixed.io/a@{DIGEST}"),
                &format!("mixed.io/a@{DIGEST}"),
            ],
        ),
        (
            "x.wild.io/a/b:1",
            &["~cache.local/wild/a/b:1", "x.wild.io/a/b:1"],
        ),
        (
            "y.x.wild.io/a:1",
            &["~cache.local/wild/a:1", "y.x.wild.io/a:1"],
        ),
        ("wild.io/a:1", &["wild.io/a:1"]),
        ("centos:7", &["!hub.local/mirror/library/centos:7"]),
        ("docker.io/team/app:1", &["docker.io/team/app:1"]),
    ] {
        assert_eq!(places(&registries, name), expected, "{name}");
    }
    assert_eq!(registries.unqualified_search, ["example.com"]);
}

#[test]
fn the_longest_prefix_wins() {
    let registries = load(
        r#"
[[registry]]
location = "a.io"
insecure = true
[[registry]]
prefix = "a.io/team"
location = "b.io/team"
[[registry]]
prefix = "a.io/team/app"
location = "c.io/app"
[[registry]]
prefix = "*.io"
location = "d.io"
"#,
    )
    .unwrap();
    for (name, expected) in [
        ("a.io/x:1", "!a.io/x:1"),
        ("a.io/team/x:1", "b.io/team/x:1"),
        ("a.io/team/app:1", "c.io/app:1"),
        ("a.io/team/app/deep:1", "c.io/app/deep:1"),
        ("e.io/x:1", "d.io/x:1"),
    ] {
        assert_eq!(places(&registries, name), [expected], "{name}");
    }
}

#[test]
fn blocked_and_insecure_hold_for_every_access() {
    let registries = load(
        "[[registry]]\nlocation=\"bad.io\"\nblocked=true\n[[registry]]\nlocation=\"lab.io\"\ninsecure=true\n",
    )
    .unwrap();
    let repository = |name| Repository::parse(name).unwrap();
    let blocked = registries.is_insecure(&repository("bad.io/a")).unwrap_err();
    assert!(matches!(&blocked, ConfigError::Blocked { prefix, .. } if prefix == "bad.io"));
    assert!(blocked.to_string().contains("registries.conf"));
    let reference = Reference::parse("bad.io/a:1").unwrap();
    assert!(registries.pull_endpoints(&reference).is_err());
    assert!(registries.is_insecure(&repository("lab.io/a")).unwrap());
    assert!(!registries.is_insecure(&repository("other.io/a")).unwrap());
}

#[test]
fn the_old_form_is_understood() {
    let registries = load(
        "[registries.search]\nregistries=['s.io']\n[registries.insecure]\nregistries=['i.io','b.io']\n\
         [registries.block]\nregistries=['b.io']\n",
    )
    .unwrap();
    assert_eq!(registries.unqualified_search, ["s.io"]);
    assert!(registries.find("i.io/a").unwrap().insecure);
    assert!(registries.find("b.io/a").unwrap().blocked);
}

#[test]
fn what_is_wrong_is_told_with_its_file() {
    for (text, why) in [
        ("a = [", "line 1"),
        ("\n\n[[registry]]\nlocation = 3\n", "line 4"),
        ("[[registry]]\n", "both location and prefix are unset"),
        (
            "[[registry]]\nprefix='a.io'\n",
            "location is unset and prefix is not in the format",
        ),
        (
            "[[registry]]\nlocation='https://a.io'\n",
            "URI schemes are not supported",
        ),
        (
            "[[registry]]\nprefix='a.*.io'\nlocation='b.io'\n",
            "Wildcarded prefix",
        ),
        (
            "[[registry]]\nlocation='a.io'\n[[registry.mirror]]\n",
            "mirror location is unset",
        ),
        (
            "[[registry]]\nlocation='a.io'\n[[registry.mirror]]\nlocation='m.io'\npull-from-mirror='some'\n",
            "unsupported pull-from-mirror value",
        ),
        (
            "[[registry]]\nlocation='a.io'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='m.io'\npull-from-mirror='all'\n",
            "at the same time",
        ),
        (
            "[[registry]]\nlocation='a.io'\npull-from-mirror='all'\n",
            "non-mirror registry",
        ),
        (
            "[[registry]]\nlocation='a.io'\n[[registry]]\nprefix='b.io'\nlocation='a.io'\ninsecure=true\n",
            "conflicting 'insecure'",
        ),
        (
            "unqualified-search-registries=['a.io']\n[registries.search]\nregistries=['b.io']\n",
            "mixing sysregistry v1/v2",
        ),
        ("short-name-mode='loose'\n", "invalid short-name mode"),
    ] {
        let error = load(text).unwrap_err().to_string();
        assert!(
            error.contains("registries.conf") && error.contains(why),
            "{text}\n{error}"
        );
    }
}

#[test]
fn keys_that_nobody_knows_do_no_harm() {
    assert!(load("future = 1\n[[registry]]\nlocation='a.io'\nfuture='x'\n").is_ok());
    assert!(load("").unwrap().entries.is_empty());
    let folder = Path::new("/nowhere");
    assert!(Registries::load(&EnvSnapshot::default(), Some(folder)).is_err());
}
