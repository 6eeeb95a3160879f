//! storage.conf.
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::EnvSnapshot;

/// What storage.conf and the environment say about Podman's storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StorageSettings {
    pub driver: Option<String>,
    pub graph_root: PathBuf,
    pub run_root: PathBuf,
    pub additional_image_stores: Vec<PathBuf>,
    pub pull_options: BTreeMap<String, String>,
    pub ignore_chown_errors: bool,
    pub force_mask: Option<u32>,
    pub mount_program: Option<PathBuf>,
    pub options: Vec<String>,
    pub image_store: Option<PathBuf>,
    pub transient_store: bool,
}

impl StorageSettings {
    /// Loads.
    pub fn load(environment: &EnvSnapshot, _uid: u32) -> Result<Self, std::io::Error> {
        let mut made = Self { graph_root: "/var/lib/containers/storage".into(), run_root: "/run/containers/storage".into(), ..Self::default() };
        if let Some(path) = environment.variable("CONTAINERS_STORAGE_CONF") {
            for line in std::fs::read_to_string(path)?.lines() {
                if let Some((key, value)) = line.split_once('=') {
                    let value = value.trim().trim_matches('"').to_owned();
                    match key.trim() {
                        "driver" => made.driver = Some(value),
                        "graphroot" => made.graph_root = value.into(),
                        "runroot" => made.run_root = value.into(),
                        _ => {}
                    }
                }
            }
        }
        Ok(made)
    }
}
