//! Configuration: the environment captured once, and the files that users already have (auth.json,
//! config.json, certs.d, policy.json), parsed by pure functions and loaded once.

mod auth;
mod certs;
mod credentials;
mod env;
mod error;
mod file;
mod policy;
mod secret;

pub use auth::AuthFiles;
pub use certs::{Certs, Identity};
pub use credentials::{CredentialSource, Credentials, FoundCredentials};
pub use env::EnvSnapshot;
pub use error::ConfigError;
pub use policy::{Policy, Requirement};
pub use secret::Secret;
