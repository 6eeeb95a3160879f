//! Where a repository is reached: its own place for everything, and mirrors for reads
//! (containers-registries.conf(5)).

use std::sync::Arc;

use dhow_config::{ConfigError, CredentialSource, PullEndpoint, Registries};
use dhow_model::{Reference, Repository};

use crate::channel::Channel;
use crate::{Access, Endpoint, Error, ErrorKind, ManifestRef, RepositoryClient, Session};

/// One place from which an image can be read.
#[derive(Clone, Debug)]
pub struct Place {
    /// The client of the repository there.
    pub client: RepositoryClient,
    /// How the image is named there.
    pub manifest: ManifestRef,
    /// Whether this is a mirror and not the place itself.
    pub mirror: bool,
}

impl Endpoint {
    /// Returns a client of one repository, at the place that is named. Reads registries.conf if
    /// nobody has read it yet.
    ///
    /// # Errors
    /// `Refused` when the registry is blocked, `Settings` when registries.conf makes no sense.
    pub async fn repository(
        &self,
        repository: &Repository,
        access: Access,
    ) -> Result<RepositoryClient, Error> {
        let registries = registries(self.session()).await?;
        let insecure = registries.is_insecure(repository).map_err(settings)?;
        let channel = self.channel(repository, insecure, self.credentials().clone());
        Ok(RepositoryClient::new(channel, repository.clone(), access))
    }

    /// Returns the places from which an image can be read, in the order in which they are asked:
    /// mirrors, then its own place. Never empty.
    ///
    /// # Errors
    /// `Refused` when the registry is blocked, `Settings` when registries.conf makes no sense.
    pub async fn places(&self, reference: &Reference) -> Result<Vec<Place>, Error> {
        let registries = registries(self.session()).await?;
        let endpoints = registries.pull_endpoints(reference).map_err(settings)?;
        let named = reference.repository.registry();
        Ok(endpoints
            .into_iter()
            .map(|endpoint| self.place(endpoint, named))
            .collect())
    }

    /// Returns what a name without a registry may stand for, by registries.conf; nothing when that
    /// cannot be read.
    pub async fn short_name_candidates(&self, name: &str) -> Vec<String> {
        match registries(self.session()).await {
            Ok(registries) => registries.short_name_candidates(name),
            Err(_) => Vec::new(),
        }
    }

    fn place(&self, endpoint: PullEndpoint, named: &str) -> Place {
        let PullEndpoint {
            reference,
            insecure,
            mirror,
        } = endpoint;
        let repository = reference.repository;
        // COMPAT(skopeo): credentials on the command line are for the registry named there.
        let credentials = if repository.registry() == named {
            self.credentials()
        } else {
            self.credentials_elsewhere()
        };
        let channel = self.channel(&repository, insecure, credentials.clone());
        let manifest = match (reference.digest, reference.tag) {
            (Some(digest), _) => ManifestRef::Digest(digest),
            (None, Some(tag)) => ManifestRef::Tag(tag),
            (None, None) => ManifestRef::Tag(dhow_model::Tag::latest()),
        };
        Place {
            client: RepositoryClient::new(channel, repository, Access::Pull),
            manifest,
            mirror,
        }
    }

    pub(crate) fn channel(
        &self,
        repository: &Repository,
        insecure: bool,
        credentials: CredentialSource,
    ) -> Channel {
        let key = self.host_key(repository.registry(), insecure);
        Channel::new(self.session(), key, credentials, repository.clone())
    }
}

/// Returns registries.conf, read by a thread that may block.
pub(crate) async fn registries(session: &Session) -> Result<Arc<Registries>, Error> {
    if let Some(registries) = session.config().loaded_registries() {
        return Ok(Arc::clone(registries));
    }
    let config = Arc::clone(session.config());
    let reading = tokio::task::spawn_blocking(move || config.registries().cloned());
    let outcome = reading.await.map_err(|source| {
        Error::new(ErrorKind::Bug, "reading registries.conf was interrupted").caused_by(source)
    })?;
    outcome.map_err(settings)
}

/// Returns the error for settings that cannot be used.
pub(crate) fn with_hint(what: String, cause: ConfigError) -> Error {
    let hint = cause.hint();
    let error = Error::new(ErrorKind::Settings, what).caused_by(cause);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Returns the error for what registries.conf says, or does not say as it should.
pub(crate) fn settings(error: ConfigError) -> Error {
    match error {
        ConfigError::Blocked { .. } => {
            let hint = error.hint().unwrap_or_default();
            Error::new(ErrorKind::Refused, error.to_string()).hint(hint)
        }
        other => with_hint(
            "the settings of registries cannot be used".to_owned(),
            other,
        ),
    }
}
