//! One side of a command: which credentials and certificates it uses.

use std::path::PathBuf;
use std::sync::Arc;

use dhow_config::CredentialSource;
use dhow_model::Repository;
use futures_core::stream::BoxStream;
use http::Method;

use crate::channel::Channel;
use crate::host::HostKey;
use crate::request::Request;
use crate::{Error, RepositoryClient, Session};

/// How one side of a command reaches registries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoint {
    session: Session,
    options: Arc<EndpointOptions>,
}

/// What an [`Endpoint`] is made from.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// Where credentials come from.
    pub credentials: CredentialSource,
    /// Whether certificates are verified. Plain http is tried only when this is `Some(false)`.
    pub tls_verify: Option<bool>,
    /// The directory of CA and client certificates, in place of the usual ones.
    pub cert_dir: Option<PathBuf>,
}

/// What a client is going to do with a repository; registries are asked for no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
    /// Delete manifests.
    Delete,
}

impl Access {
    pub(crate) const fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
            // COMPAT(skopeo): deletion asks for everything.
            Self::Delete => "*",
        }
    }
}

impl Endpoint {
    /// Returns a side of a command.
    pub fn new(session: &Session, options: EndpointOptions) -> Self {
        Self {
            session: session.clone(),
            options: Arc::new(options),
        }
    }

    /// Returns a client of one repository. Does no I/O.
    pub fn repository(&self, repository: &Repository, access: Access) -> RepositoryClient {
        let channel = Channel::new(
            &self.session,
            self.host_key(repository.registry()),
            self.options.credentials.clone(),
            repository.clone(),
        );
        RepositoryClient::new(channel, repository.clone(), access)
    }

    /// Shows the credentials to a registry (`GET /v2/`), as `login` does it.
    ///
    /// # Errors
    /// `Unauthorized` when the registry refuses them.
    pub async fn check_login(&self, registry: &str) -> Result<(), Error> {
        let place = crate::tags::catalog_place(registry)?;
        let channel = self.catalog_channel(place);
        let answer = channel
            .send(Request::to_path(Method::GET, "/v2/".to_owned()))
            .await?;
        if answer.status().is_success() {
            return Ok(());
        }
        let what = format!("registry `{registry}` does not let these credentials in");
        Err(channel.refusal(answer, what).await)
    }

    /// Lists the repositories of a registry, in its order.
    pub fn catalog(&self, registry: &str) -> BoxStream<'static, Result<Repository, Error>> {
        crate::tags::catalog(self, registry)
    }

    pub(crate) fn catalog_channel(&self, repository: Repository) -> Channel {
        Channel::new(
            &self.session,
            self.host_key(repository.registry()),
            self.options.credentials.clone(),
            repository,
        )
    }

    fn host_key(&self, registry: &str) -> HostKey {
        HostKey {
            registry: registry.to_owned(),
            verify: self.options.tls_verify != Some(false),
            cert_dir: self.options.cert_dir.clone(),
        }
    }
}
