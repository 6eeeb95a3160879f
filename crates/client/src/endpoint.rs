//! One side of a command: which credentials and certificates it uses.

use std::path::PathBuf;
use std::sync::Arc;

use dhow_config::{CredentialSource, Credentials, FoundCredentials};
use dhow_model::Repository;
use futures_core::stream::BoxStream;
use http::Method;

use crate::channel::Channel;
use crate::host::HostKey;
use crate::request::Request;
use crate::{Error, Session};

/// How one side of a command reaches registries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoint {
    session: Session,
    options: Arc<EndpointOptions>,
}

/// What an [`Endpoint`] is made from.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// Where the credentials for the registry that is named come from.
    pub credentials: CredentialSource,
    /// Where those for its mirrors on other hosts come from.
    pub mirror_credentials: CredentialSource,
    /// Whether certificates are verified; when `None`, registries.conf says so. Plain http is
    /// tried only where they are not.
    pub tls_verify: Option<bool>,
    /// The directory of CA and client certificates, in place of the usual ones.
    pub cert_dir: Option<PathBuf>,
}

impl EndpointOptions {
    /// Returns the usual settings with these credentials, which are for the registry that is named
    /// and not for its mirrors.
    pub fn new(credentials: CredentialSource) -> Self {
        Self {
            credentials,
            mirror_credentials: anonymous("mirrors get none"),
            tls_verify: None,
            cert_dir: None,
        }
    }
}

/// Returns the source of no credentials; `why` is for messages.
pub(crate) fn anonymous(why: &str) -> CredentialSource {
    CredentialSource::Given(FoundCredentials {
        credentials: Credentials::Anonymous,
        origin: why.to_owned(),
    })
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

    /// Shows the credentials to a registry (`GET /v2/`), as `login` does it.
    ///
    /// # Errors
    /// `Unauthorized` when the registry refuses them.
    pub async fn check_login(&self, registry: &str) -> Result<(), Error> {
        let place = crate::tags::catalog_place(registry)?;
        let channel = self.catalog_channel(place).await?;
        let answer = channel
            .send(Request::to_path(Method::GET, "/v2/".to_owned()))
            .await?;
        if answer.status().is_success() {
            return Ok(());
        }
        let what = format!("registry `{registry}` does not let these credentials in");
        Err(channel.refusal(answer, what).await)
    }

    /// Returns the folder of the user for what can be lost, if there is one.
    pub fn cache_home(&self) -> Option<PathBuf> {
        self.session.environment().cache_home()
    }

    /// Lists the repositories of a registry, in its order.
    pub fn catalog(&self, registry: &str) -> BoxStream<'static, Result<Repository, Error>> {
        crate::tags::catalog(self, registry)
    }

    pub(crate) async fn catalog_channel(&self, repository: Repository) -> Result<Channel, Error> {
        let client = self.repository(&repository, Access::Pull).await?;
        Ok(client.channel)
    }

    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn credentials(&self) -> &CredentialSource {
        &self.options.credentials
    }

    pub(crate) fn credentials_elsewhere(&self) -> &CredentialSource {
        &self.options.mirror_credentials
    }

    /// Returns how a host is known. `insecure` is what registries.conf says of it.
    pub(crate) fn host_key(&self, registry: &str, insecure: bool) -> HostKey {
        HostKey {
            registry: registry.to_owned(),
            verify: self.options.tls_verify.unwrap_or(!insecure),
            cert_dir: self.options.cert_dir.clone(),
            named_by: None,
        }
    }
}
