//! Login and logout: credentials are checked with the registry, kept, and forgotten.

use std::path::PathBuf;
use std::sync::Arc;

use dhow_client::Endpoint;
use dhow_config::{
    AuthFiles, ConfigError, CredentialSource, Credentials, FoundCredentials, LoginKey, Removed,
    Secret, Stored, Target,
};

use crate::{Error, Session};

/// Whose credentials, and where they are kept.
#[derive(Clone, Debug)]
pub struct Account {
    /// The registry, or a part of its repositories.
    pub key: LoginKey,
    /// The file that counts, in place of the usual ones.
    pub authfile: Option<PathBuf>,
    /// Which file is changed.
    pub target: Target,
}

/// How the registry is reached when credentials are checked.
#[derive(Clone, Debug, Default)]
pub struct LoginOptions {
    /// Whether certificates are verified; `None`: as registries.conf says.
    pub tls_verify: Option<bool>,
    /// The directory of certificates, in place of the usual ones.
    pub cert_dir: Option<PathBuf>,
}

/// Returns the credentials that are kept for an account.
pub async fn known_login(session: &Session, account: &Account) -> Result<FoundCredentials, Error> {
    let (files, account) = (account.files(session), account.clone());
    blocking(move || match &account.target {
        Target::Own => files.find_key(&account.key),
        // Docker's file is looked at alone.
        Target::Docker(path) => {
            let only = AuthFiles::new(files.config(), Some(path.clone()));
            only.find_key(&account.key)
        }
    })
    .await
}

/// Shows credentials to the registry of an account.
///
/// # Errors
/// [`Error::Login`] when the registry refuses them.
pub async fn check_login(
    session: &Session,
    account: &Account,
    credentials: Credentials,
    options: &LoginOptions,
) -> Result<(), Error> {
    let source = CredentialSource::Given(FoundCredentials {
        credentials,
        origin: "what was entered".to_owned(),
    });
    let endpoint = dhow_client::EndpointOptions {
        tls_verify: options.tls_verify,
        cert_dir: options.cert_dir.clone(),
        ..dhow_client::EndpointOptions::new(source)
    };
    let registry = account.key.registry();
    Endpoint::new(&session.client, endpoint)
        .check_login(registry)
        .await
        .map_err(|source| Error::Login {
            registry: registry.to_owned(),
            source,
        })
}

/// Keeps credentials that were checked; returns where.
pub async fn store_login(
    session: &Session,
    account: &Account,
    username: String,
    password: Secret,
) -> Result<Stored, Error> {
    let (files, account) = (account.files(session), account.clone());
    blocking(move || files.store(&account.key, &username, &password, &account.target)).await
}

/// Forgets the credentials of an account.
pub async fn logout(session: &Session, account: &Account) -> Result<Removed, Error> {
    let (files, account) = (account.files(session), account.clone());
    blocking(move || files.remove(&account.key, &account.target)).await
}

/// Forgets all credentials of a file.
pub async fn logout_all(
    session: &Session,
    authfile: Option<PathBuf>,
    target: Target,
) -> Result<(), Error> {
    let files = AuthFiles::new(Arc::clone(&session.config), authfile);
    blocking(move || files.remove_all(&target)).await
}

impl Account {
    fn files(&self, session: &Session) -> AuthFiles {
        AuthFiles::new(Arc::clone(&session.config), self.authfile.clone())
    }
}

/// Runs what reads files, and waits for helpers, where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ConfigError> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Error::Interrupted),
    }
}
