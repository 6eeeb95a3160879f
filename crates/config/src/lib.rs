//! Configuration: the environment captured once, and the files that users already have (auth.json,
//! config.json, certs.d, registries.conf, registries.d, policy.json, storage.conf), parsed by pure functions and
//! loaded once.

mod auth;
mod certs;
mod config;
mod credentials;
mod env;
mod error;
mod file;
mod policy;
mod registries;
mod registries_d;
mod secret;
mod storage;

pub use auth::{
    AuthFiles, CredentialProgram, LoginKey, Removed, Stored, SurveyedFile, SurveyedProgram, Target,
};
pub use certs::{Certs, Identity};
pub use config::{Config, ConfigOverrides};
pub use credentials::{CredentialSource, Credentials, FoundCredentials};
pub use env::EnvSnapshot;
pub use error::ConfigError;
pub use file::ConfigFile;
pub use policy::{Policy, Requirement};
pub use registries::{Mirror, PullEndpoint, PullFromMirror, Registries, RegistryEntry};
pub use registries_d::{SignatureStorage, StorageEntry};
pub use secret::Secret;
pub use storage::StorageSettings;
