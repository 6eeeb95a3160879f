//! All configuration of one process: where it is, decided at the start; what it says, read when it
//! is first needed and never again.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::{ConfigError, EnvSnapshot, Registries, SignatureStorage, StorageSettings};

/// The configuration of one process.
#[derive(Default)]
pub struct Config {
    environment: Arc<EnvSnapshot>,
    overrides: ConfigOverrides,
    registries: OnceLock<Arc<Registries>>,
    signature_storage: OnceLock<Arc<SignatureStorage>>,
    storage: OnceLock<Arc<StorageSettings>>,
}

/// Files that the command line names in place of the usual ones.
#[derive(Clone, Debug, Default)]
pub struct ConfigOverrides {
    /// The main registries.conf.
    pub registries_conf: Option<PathBuf>,
    /// The directory of signature storage settings.
    pub registries_d: Option<PathBuf>,
}

impl Config {
    /// Decides where configuration is. Reads nothing.
    pub fn new(environment: Arc<EnvSnapshot>, overrides: ConfigOverrides) -> Self {
        Self {
            environment,
            overrides,
            registries: OnceLock::new(),
            signature_storage: OnceLock::new(),
            storage: OnceLock::new(),
        }
    }

    /// Returns the same configuration with these settings of registries, whatever files say.
    #[must_use]
    pub fn with_registries(mut self, registries: Registries) -> Self {
        self.registries = OnceLock::from(Arc::new(registries));
        self
    }

    /// Returns the environment of the process.
    pub const fn environment(&self) -> &Arc<EnvSnapshot> {
        &self.environment
    }

    /// Returns the files that the command line names.
    pub const fn overrides(&self) -> &ConfigOverrides {
        &self.overrides
    }

    /// Returns registries.conf if it has been read.
    pub fn loaded_registries(&self) -> Option<&Arc<Registries>> {
        self.registries.get()
    }

    /// Returns registries.conf with its drop-ins. Reads files the first time.
    ///
    /// # Errors
    /// When a file that is there cannot be read or makes no sense.
    pub fn registries(&self) -> Result<&Arc<Registries>, ConfigError> {
        if let Some(registries) = self.registries.get() {
            return Ok(registries);
        }
        let main = self.overrides.registries_conf.as_deref();
        let loaded = Registries::load(&self.environment, main)?;
        Ok(self.registries.get_or_init(|| Arc::new(loaded)))
    }

    /// Returns the settings of registries.d. Reads files the first time.
    ///
    /// # Errors
    /// When a file that is there cannot be read or makes no sense.
    pub fn signature_storage(&self) -> Result<&Arc<SignatureStorage>, ConfigError> {
        if let Some(storage) = self.signature_storage.get() {
            return Ok(storage);
        }
        let directory = self.overrides.registries_d.as_deref();
        let loaded = SignatureStorage::load(&self.environment, directory)?;
        Ok(self.signature_storage.get_or_init(|| Arc::new(loaded)))
    }

    /// Returns storage.conf for the user who owns the storage. Reads files the first time.
    ///
    /// # Errors
    /// When the file that counts cannot be read or makes no sense.
    pub fn storage(&self) -> Result<&Arc<StorageSettings>, ConfigError> {
        if let Some(storage) = self.storage.get() {
            return Ok(storage);
        }
        let owner = StorageSettings::owner(&self.environment);
        let loaded = StorageSettings::load(&self.environment, owner)?;
        Ok(self.storage.get_or_init(|| Arc::new(loaded)))
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("overrides", &self.overrides)
            .finish_non_exhaustive()
    }
}
