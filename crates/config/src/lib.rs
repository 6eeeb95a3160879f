//! Configuration: the environment captured once, and the files that users already have (auth.json,
//! config.json, certs.d, policy.json), parsed by pure functions and loaded once.

mod credentials;
mod env;
mod secret;

pub use credentials::{CredentialSource, Credentials, FoundCredentials};
pub use env::EnvSnapshot;
pub use secret::Secret;
