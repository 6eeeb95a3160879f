//! Credentials as users keep them: auth.json of Podman, skopeo and CRI-O (containers-auth.json(5)),
//! config.json of Docker and its forerunner `.dockercfg`, and credential helpers.

mod document;
mod files;
mod keys;
mod program;
mod store;

pub use files::{AuthFiles, SurveyedFile, SurveyedProgram};
pub use keys::LoginKey;
pub use program::CredentialProgram;
pub use store::{Removed, Stored, Target};
