//! storage.conf (containers-storage.conf(5)): where Podman's storage is and what its driver is told.
//!
//! One file counts: the one that `CONTAINERS_STORAGE_CONF` names, else the user's own, else the
//! system's. `STORAGE_DRIVER` and `STORAGE_OPTS` stand above what it says. Whether a driver exists is
//! not known here, nor which one a store has when nothing names it.

mod document;
mod load;
mod options;
mod roots;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{ConfigError, EnvSnapshot};

/// What storage.conf and the environment say about Podman's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// `overlay` or `vfs` or another name; `None`: whichever is there, else overlay.
    pub driver: Option<String>,
    /// Where images and layers are kept. Absolute.
    pub graph_root: PathBuf,
    /// Where is kept what a restart may forget. Absolute.
    pub run_root: PathBuf,
    /// Stores that are only read, in the order in which they are searched. Absolute.
    pub additional_image_stores: Vec<PathBuf>,
    /// The table `pull_options`: `enable_partial_images`, `use_hard_links` and others.
    pub pull_options: BTreeMap<String, String>,
    /// Whether owners that do not exist here are passed over.
    pub ignore_chown_errors: bool,
    /// The permissions that all files get in place of their own.
    pub force_mask: Option<u32>,
    /// The program that mounts in place of the kernel.
    pub mount_program: Option<PathBuf>,
    /// All options for the driver, as `KEY=VALUE` with `DRIVER.` before the key, from `STORAGE_OPTS`
    /// or else from the file. Where no driver is named, those from the file are for `overlay`.
    pub options: Vec<String>,
    /// Where images are kept, if apart from containers.
    pub image_store: Option<PathBuf>,
    /// Whether what is known of containers lasts until the next restart only.
    pub transient_store: bool,
}

impl StorageSettings {
    /// Loads the settings that hold for the user `user_id`; see [`StorageSettings::owner`].
    ///
    /// # Errors
    /// When the file that counts cannot be read or makes no sense, the file that is named is not
    /// there, an option has a value that makes no sense, or nothing says where a user's home is.
    pub fn load(environment: &EnvSnapshot, user_id: u32) -> Result<Self, ConfigError> {
        load::Places::new(environment, user_id).load(environment)
    }

    /// Returns whose storage the process works with: the user's id, also from inside of a user
    /// namespace in which the user is root.
    pub fn owner(environment: &EnvSnapshot) -> u32 {
        let inside =
            environment.user_id == 0 && environment.variable(USER_NAMESPACE_CONFIGURED).is_some();
        inside
            .then(|| environment.variable(ROOTLESS_USER_ID)?.parse().ok())
            .flatten()
            .unwrap_or(environment.user_id)
    }
}

/// Set in a user namespace that Podman, or a program like it, has made for itself.
const USER_NAMESPACE_CONFIGURED: &str = "_CONTAINERS_USERNS_CONFIGURED";
/// There: the id that the user has outside.
const ROOTLESS_USER_ID: &str = "_CONTAINERS_ROOTLESS_UID";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_known_inside_of_a_user_namespace() {
        for (user_id, variables, owner) in [
            (0, &[][..], 0),
            (1000, &[], 1000),
            (
                0,
                &[
                    ("_CONTAINERS_USERNS_CONFIGURED", "done"),
                    ("_CONTAINERS_ROOTLESS_UID", "1000"),
                ],
                1000,
            ),
            (0, &[("_CONTAINERS_ROOTLESS_UID", "1000")], 0), // nobody entered one
            (0, &[("_CONTAINERS_USERNS_CONFIGURED", "done")], 0),
        ] {
            let variables = variables.iter();
            let environment = EnvSnapshot {
                variables: variables
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                user_id,
            };
            assert_eq!(StorageSettings::owner(&environment), owner);
        }
    }
}
