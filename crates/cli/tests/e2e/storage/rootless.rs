//! The storage of a user who is not root. The user exists in these tests only: `/etc/passwd`,
//! `/etc/subuid` and `/etc/subgid` are others in a mount namespace of their own.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::odd::{everything, write_image};
use super::tree;
use crate::dhow::{Outcome, binary, outcome};
use crate::tools;

const USER: u32 = 4721;
const GROUP: u32 = 4722;

/// A user, with a home and dhow in a place where the user can run it.
struct User(tempfile::TempDir);

impl User {
    fn new(ranges: &str) -> Self {
        let user = Self(tempfile::tempdir().unwrap());
        fs::set_permissions(user.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = user.at("home");
        let policy = home.join(".config/containers/policy.json");
        fs::create_dir_all(policy.parent().unwrap()).unwrap();
        fs::write(
            &policy,
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )
        .unwrap();
        let own = [".", ".config", ".config/containers"];
        for path in own.iter().map(|path| home.join(path)).chain([policy]) {
            chown(path, Some(USER), Some(GROUP)).unwrap();
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let entry = format!("tester2:x:{USER}:{GROUP}::{}:/bin/sh\n", home.display());
        fs::write(user.at("passwd"), passwd + &entry).unwrap();
        fs::write(user.at("subuid"), ranges).unwrap();
        fs::write(user.at("subgid"), ranges).unwrap();
        fs::copy(binary(), user.at("dhow")).unwrap();
        user
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a program as the user.
    fn runs(&self, program: &str, arguments: &[&str]) -> Outcome {
        let script = format!(
            "for file in passwd subuid subgid; do \
                 test -e /etc/$file || touch /etc/$file; \
                 mount --bind \"$0/$file\" /etc/$file || exit 99; \
             done; \
             exec setpriv --reuid {USER} --regid {GROUP} --clear-groups -- \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        command.arg(self.0.path()).arg(program).args(arguments);
        command.env("HOME", self.at("home")).env("USER", "tester2");
        command.env_remove("XDG_RUNTIME_DIR");
        command.current_dir(self.0.path());
        outcome(&mut command)
    }

    fn dhow(&self, arguments: &[&str]) -> Outcome {
        self.runs("./dhow", arguments)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // The process by which podman keeps its namespace.
        drop(self.runs("podman", &["system", "migrate"]));
    }
}

fn can_be_tested() -> bool {
    let programs = ["podman", "newuidmap", "newgidmap", "setpriv", "unshare"];
    programs.into_iter().all(tools::has) && tools::is_root()
}

/// Writes where the mounted image is, and copies what is there where everybody sees it.
const LOOK: &str = "at=$(podman $1 image mount $2) && cp -a $at/. $3 && \
                    podman $1 image unmount $2 > /dev/null";

#[test]
fn a_users_store_has_what_podman_pull_would_put_there() {
    if !can_be_tested() {
        return;
    }
    let user = User::new("tester2:300000:65536\n");
    let mut layers = everything();
    for items in &mut layers {
        // There are not as many ids.
        items.retain(|item| item.is_owned_below(65536));
    }
    write_image(&user.at("lay"), "odd", &layers);
    for driver in ["overlay", "vfs"] {
        let root = |whose: &str| user.at("home").join(format!("{driver}-{whose}"));
        let store = |whose: &str| {
            let root = root(whose);
            let (root, run) = (root.display(), root.display());
            format!("--storage-driver={driver} --root={root} --runroot={run}-run")
        };
        let ours = root("ours").display().to_string();
        let name = format!("containers-storage:[{driver}@{ours}+{ours}-run]odd:1");
        user.dhow(&["copy", "-q", "oci:lay:odd", &name]).ok();
        let theirs = store("theirs");
        let mut pull: Vec<&str> = theirs.split(' ').collect();
        pull.extend(["pull", "-q", "oci:lay:odd"]);
        let id = user.runs("podman", &pull).ok().trim().to_owned();
        for whose in ["ours", "theirs"] {
            let copy = user.at(&format!("home/{driver}-{whose}-copy"));
            let copy = copy.display().to_string();
            let script = format!("mkdir {copy} && {LOOK}");
            let flags = store(whose);
            let script = script.replace("$1", &flags);
            user.runs(
                "podman",
                &["unshare", "sh", "-c", &script, "sh", "", &id, &copy],
            )
            .ok();
        }
        let copy = |whose: &str| user.at(&format!("home/{driver}-{whose}-copy"));
        tree::assert_same(&copy("ours"), &copy("theirs"));

        user.dhow(&["copy", "-q", &name, &format!("dir:home/{driver}-out")])
            .ok();
        user.dhow(&["delete", &name]).ok();
        let listed =
            fs::read_to_string(Path::new(&ours).join(format!("{driver}-images/images.json")));
        assert_eq!(listed.unwrap(), "[]");
    }
}

#[test]
fn a_user_without_ranges_is_told_what_to_do() {
    if !can_be_tested() {
        return;
    }
    let user = User::new("somebody-else:300000:65536\n");
    write_image(&user.at("lay"), "odd", &everything());
    let ours = user.at("home/store").display().to_string();
    let name = format!("containers-storage:[vfs@{ours}+{ours}-run]odd:1");
    let told = user.dhow(&["copy", "-q", "oci:lay:odd", &name]);
    assert_ne!(told.code, Some(0), "{told:?}");
    assert!(told.stderr.contains("/etc/subuid"), "{told:?}");
    assert!(told.stderr.contains("hint: "), "{told:?}");
}
