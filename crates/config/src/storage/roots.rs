//! Where a store is when no file says so, and what paths in files stand for.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use crate::{ConfigError, EnvSnapshot};

/// Where the stores of root are.
pub(super) const SYSTEM_GRAPH_ROOT: &str = "/var/lib/containers/storage";
/// Where root keeps what a restart may forget.
pub(super) const SYSTEM_RUN_ROOT: &str = "/run/containers/storage";

/// Returns where a user's images are.
pub(super) fn graph_root(environment: &EnvSnapshot) -> Result<PathBuf, ConfigError> {
    let data = environment
        .data_home()
        .ok_or_else(|| ConfigError::Environment {
            variable: "HOME",
            why: "is not set, so that nothing says where your storage is".to_owned(),
            hint: "set HOME, or name a `graphroot` and a `runroot` in storage.conf",
        })?;
    Ok(data.join("containers/storage"))
}

/// Returns where a user's store keeps what a restart may forget.
///
/// COMPAT(podman): without `XDG_RUNTIME_DIR`, its versions and skopeo's differ. The folder that one of
/// them has made is the one whose mounts and locks have to be seen.
pub(super) fn run_root(environment: &EnvSnapshot, user_id: u32) -> PathBuf {
    if let Some(folder) = environment.variable("XDG_RUNTIME_DIR") {
        return Path::new(folder).join("containers");
    }
    let tmp = Path::new(environment.variable("TMPDIR").unwrap_or("/tmp"));
    let known = [
        Path::new("/run/user").join(user_id.to_string()),
        tmp.join(format!("podman-run-{user_id}")),
        tmp.join(format!("storage-run-{user_id}")),
        tmp.join(format!("containers-user-{user_id}")),
    ];
    let there = known.iter().find(|folder| belongs_to(folder, user_id));
    there.unwrap_or(&known[2]).join("containers")
}

/// Returns whether a folder is there, is the user's, and is closed to all others. Inside of a user
/// namespace the user's id is 0.
fn belongs_to(folder: &Path, user_id: u32) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|found| {
        let inside = rustix::process::getuid().as_raw();
        let own = found.uid() == user_id || found.uid() == inside;
        found.is_dir() && own && found.mode() & 0o777 == 0o700
    })
}

/// Returns the path that a text in a file stands for: `$UID` is the user's id, `$NAME` and `${NAME}`
/// are variables (empty when not set), symlinks are followed as far as the path is there.
///
/// COMPAT(skopeo): in this order.
pub(super) fn expanded(text: &str, environment: &EnvSnapshot, user_id: u32) -> PathBuf {
    let text = text.replace("$UID", &user_id.to_string());
    let path = PathBuf::from(with_variables(&text, environment));
    fs::canonicalize(&path).unwrap_or_else(|_| cleaned(&path))
}

fn with_variables(text: &str, environment: &EnvSnapshot) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        whole.push_str(before);
        let braced = after
            .strip_prefix('{')
            .and_then(|inside| inside.split_once('}'));
        let (name, behind) = braced.unwrap_or_else(|| {
            let end = after
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(after.len());
            after.split_at(end)
        });
        if name.is_empty() {
            whole.push('$');
        }
        whole.push_str(environment.variable(name).unwrap_or_default());
        rest = behind;
    }
    whole.push_str(rest);
    whole
}

/// Returns a path without `.`, `..` and doubled slashes.
fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> EnvSnapshot {
        EnvSnapshot {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            user_id: 1000,
        }
    }

    #[test]
    fn variables_in_paths_stand_for_their_values() {
        let environment = environment(&[("HOME", "/nowhere/u"), ("USER", "u")]);
        for (text, path) in [
            ("/nowhere/$UID/x", "/nowhere/1000/x"),
            ("$HOME/.local", "/nowhere/u/.local"),
            ("/nowhere/${USER}s", "/nowhere/us"),
            ("/nowhere/${UNSET}/a", "/nowhere/a"),
            ("/nowhere/./a//b/../c/", "/nowhere/a/c"),
            ("/nowhere/a$", "/nowhere/a$"),
        ] {
            let expanded = expanded(text, &environment, 1000);
            assert_eq!(expanded, Path::new(path), "{text}");
        }
    }

    #[test]
    fn symlinks_to_a_store_are_followed() {
        let place = tempfile::tempdir().unwrap();
        let real = place.path().canonicalize().unwrap().join("real");
        fs::create_dir(&real).unwrap();
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let text = link.to_str().unwrap();
        assert_eq!(expanded(text, &EnvSnapshot::default(), 0), real);
    }

    #[test]
    fn a_folder_of_the_user_that_is_there_is_the_run_root() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().unwrap();
        let tmp = place.path().to_str().unwrap();
        let environment = environment(&[("TMPDIR", tmp)]);
        // No such user has logged in here.
        let user_id = 4_000_000_001;
        let at = |name: &str| place.path().join(format!("{name}-{user_id}/containers"));
        assert_eq!(run_root(&environment, user_id), at("storage-run"));
        let made = place.path().join(format!("podman-run-{user_id}"));
        fs::create_dir(&made).unwrap();
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(run_root(&environment, user_id), at("storage-run"));
        fs::set_permissions(&made, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(run_root(&environment, user_id), at("podman-run"));
    }
}
