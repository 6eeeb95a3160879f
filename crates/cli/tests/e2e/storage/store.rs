//! A store for one test, used by dhow and by Podman.

use std::path::PathBuf;
use std::process::Command;

use crate::dhow::{Desk, Outcome, outcome};
use crate::tools;

/// A store; gone with the test's desk.
pub(crate) struct Store {
    pub(crate) driver: &'static str,
    root: PathBuf,
    run: PathBuf,
}

impl Store {
    /// Returns a store that is not there yet.
    pub(crate) fn new(desk: &Desk, driver: &'static str, name: &str) -> Self {
        Self {
            driver,
            root: desk.path(&format!("{name}-{driver}-root")),
            run: desk.path(&format!("{name}-{driver}-run")),
        }
    }

    /// Returns the name of an image in it, for dhow.
    pub(crate) fn name(&self, image: &str) -> String {
        let (root, run) = (self.root.display(), self.run.display());
        format!("containers-storage:[{}@{root}+{run}]{image}", self.driver)
    }

    /// Returns the folder of the store.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// Returns podman for it, ready for a command.
    pub(crate) fn podman(&self, desk: &Desk) -> Command {
        self.program(desk, "podman")
    }

    /// Returns podman or buildah for it.
    pub(crate) fn program(&self, desk: &Desk, program: &str) -> Command {
        let mut command = desk.dressed(program);
        command
            .args(["--storage-driver", self.driver, "--root"])
            .arg(&self.root)
            .arg("--runroot")
            .arg(&self.run);
        command
    }

    /// Runs podman to its end.
    pub(crate) fn run(&self, desk: &Desk, arguments: &[&str]) -> Outcome {
        outcome(self.podman(desk).args(arguments))
    }

    /// Asserts that podman finds nothing wrong with any image: each is listed, told of, and mounted.
    #[track_caller]
    pub(crate) fn assert_healthy(&self, desk: &Desk) -> Vec<String> {
        let images = self.run(desk, &["images", "--all", "--quiet", "--no-trunc"]);
        assert_eq!(images.stderr, "", "podman finds something wrong");
        let images = images.ok();
        let mut ids: Vec<String> = images.lines().map(str::to_owned).collect();
        ids.sort();
        ids.dedup();
        for id in &ids {
            self.run(desk, &["image", "inspect", id]).ok();
            self.run(desk, &["image", "mount", id]).ok();
            self.run(desk, &["image", "unmount", id]).ok();
        }
        ids
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Podman and skopeo leave a mount of their own.
        let folder = self.root.join(self.driver);
        for _ in 0..8 {
            let gone = Command::new("umount").arg("-q").arg(&folder).status();
            if !gone.is_ok_and(|status| status.success()) {
                break;
            }
        }
    }
}

/// Returns whether stores can be tested here.
pub(crate) fn can_be_tested() -> bool {
    tools::has("podman") && tools::is_root()
}

/// Lets podman take any image: it looks for a policy in the user's home.
pub(crate) fn allow_all(desk: &Desk) {
    let policy = desk.home().join(".config/containers/policy.json");
    std::fs::create_dir_all(policy.parent().expect("it has one")).unwrap();
    let all = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
    std::fs::write(&policy, all).unwrap();
    let etc = std::path::Path::new("/etc/containers/policy.json");
    if !etc.exists() {
        drop(std::fs::create_dir_all("/etc/containers"));
        drop(std::fs::write(etc, all));
    }
}
