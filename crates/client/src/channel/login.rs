//! Credentials of a channel: looked up once, when a registry first asks; and what a refusal of
//! them means.

use std::sync::Arc;

use dhow_config::{Credentials, FoundCredentials};

use super::Channel;
use crate::answer::Answer;
use crate::auth::Account;
use crate::places::with_hint;
use crate::{Error, ErrorKind};

/// Credentials, once they were looked up.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) found: FoundCredentials,
    pub(super) account: Arc<Account>,
}

impl Channel {
    pub(super) async fn login(&self) -> Result<&Login, Error> {
        self.0.login.get_or_try_init(|| self.look_up()).await
    }

    /// Returns the credentials that are shown to the registry.
    pub(crate) async fn found_credentials(&self) -> Result<FoundCredentials, Error> {
        Ok(self.login().await?.found.clone())
    }

    async fn look_up(&self) -> Result<Login, Error> {
        let source = self.0.source.clone();
        let repository = self.0.repository.clone();
        let looking = tokio::task::spawn_blocking(move || source.find(&repository));
        let found = looking
            .await
            .map_err(|source| {
                Error::new(ErrorKind::Bug, "looking for credentials was interrupted")
                    .caused_by(source)
            })?
            .map_err(|source| {
                let repository = &self.0.repository;
                with_hint(
                    format!("the credentials for `{repository}` cannot be found out"),
                    source,
                )
            })?;
        tracing::debug!(repository = %self.0.repository, origin = found.origin, "credentials");
        let account = self.session().account(&found.credentials);
        Ok(Login { found, account })
    }

    /// Adds to a 401 what was shown and what to do about it.
    pub(crate) fn unauthorized(&self, error: Error, found: &FoundCredentials) -> Error {
        let registry = self.0.host.registry();
        error.hint(match &found.credentials {
            Credentials::Anonymous => format!(
                "no credentials for `{registry}` were sent ({}); pass --creds USER:PASSWORD, or \
                 name a file that has them with --authfile",
                found.origin
            ),
            _ => format!(
                "`{registry}` refused the credentials from {}; check them, or pass others with \
                 --creds USER:PASSWORD or --authfile",
                found.origin
            ),
        })
    }

    /// Returns the error that an answer means, with a hint where credentials are the cause.
    pub(crate) async fn refusal(&self, answer: Answer, during: String) -> Error {
        let error = answer.into_error().await;
        let error = match (error.kind(), self.0.login.get()) {
            (ErrorKind::Unauthorized, Some(login)) => self.unauthorized(error, &login.found),
            (ErrorKind::Unauthorized, None) => error.hint(format!(
                "`{}` asks for no proof that dhow can give",
                self.0.host.registry()
            )),
            (ErrorKind::Denied, Some(login)) => error.hint(format!(
                "the credentials from {} do not allow this; use others, or ask for access",
                login.found.origin
            )),
            _ => error,
        };
        error.during(during)
    }
}
