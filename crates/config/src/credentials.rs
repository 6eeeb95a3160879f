//! Credentials and where they come from.

use dhow_model::Repository;

use crate::{AuthFiles, ConfigError, Secret};

/// What a registry is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// A user name and a password or token, for Basic and for token services.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth2 refresh token that a token service turns into an access token.
    IdentityToken(Secret),
    /// A bearer token that is sent as it is, with no exchange (`--registry-token`).
    RegistryToken(Secret),
}

/// Credentials, with the words in which a message names their origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCredentials {
    /// The credentials.
    pub credentials: Credentials,
    /// Where they were found: `--creds`, or `/root/.docker/config.json (quay.io)`.
    pub origin: String,
}

impl FoundCredentials {
    /// Returns the user, as far as it is known: a token names nobody.
    pub fn user(&self) -> Option<&str> {
        match &self.credentials {
            Credentials::Anonymous => None,
            Credentials::Basic { username, .. } => Some(username),
            Credentials::IdentityToken(_) => Some("an identity token"),
            Credentials::RegistryToken(_) => Some("a registry token"),
        }
    }
}

/// Where to look for credentials.
#[derive(Clone, Debug)]
pub enum CredentialSource {
    /// These and no others: they were given on the command line. They are for the registry named
    /// there and for no other.
    Given(FoundCredentials),
    /// Those in the files that `login` commands write.
    Files(AuthFiles),
}

impl CredentialSource {
    /// Returns what to show to the registry of `repository`. Reads files.
    pub fn find(&self, repository: &Repository) -> Result<FoundCredentials, ConfigError> {
        match self {
            Self::Given(found) => Ok(found.clone()),
            Self::Files(files) => files.find(repository),
        }
    }
}
