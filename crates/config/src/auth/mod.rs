//! Credentials as users keep them: auth.json of Podman, skopeo and CRI-O (containers-auth.json(5)),
//! config.json of Docker and its forerunner `.dockercfg`, and credential helpers.

mod document;
mod files;
mod helper;
mod keys;
mod store;

pub use files::{AuthFiles, SurveyedFile, SurveyedHelper};
pub use helper::CredentialHelper;
pub use keys::LoginKey;
pub use store::{Removed, Stored, Target};
