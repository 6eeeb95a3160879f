//! The settings of one side of a command.

use std::path::PathBuf;

use dhow_client::Endpoint;
use dhow_config::{AuthFiles, CredentialSource, Credentials, FoundCredentials, Secret};
use dhow_model::Reference;
use dhow_transports::{EngineOptions, Parts};

use crate::Session;

/// An image's name with the settings of its side.
#[derive(Clone, Debug)]
pub struct ImageName {
    /// The name: `docker://quay.io/a/b:c`, `oci:./target:centos:7`, `dir:/path`.
    pub name: String,
    /// The settings.
    pub endpoint: EndpointOptions,
}

/// How a side is reached.
#[derive(Clone, Debug, Default)]
pub struct EndpointOptions {
    /// Which credentials are shown.
    pub credentials: CredentialsOption,
    /// Whether certificates are verified; `None`: yes.
    pub tls_verify: Option<bool>,
    /// The directory of certificates, in place of the usual ones.
    pub cert_dir: Option<PathBuf>,
    /// The credential file, in place of the usual ones.
    pub authfile: Option<PathBuf>,
    /// Where `oci:` keeps its blobs, when that is not in the layout.
    pub shared_blob_dir: Option<PathBuf>,
    /// Where the Docker engine listens, in place of what the environment says.
    pub daemon_host: Option<String>,
    /// More names for an image that is written to `docker-archive:`.
    pub additional_tags: Vec<Reference>,
}

/// Which credentials are shown to a registry.
#[derive(Clone, Debug, Default)]
pub enum CredentialsOption {
    /// Those in the credential files.
    #[default]
    FromFiles,
    /// None.
    Anonymous,
    /// These.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
        /// The flag they came by, for messages.
        flag: String,
    },
    /// This bearer token, as it is.
    RegistryToken {
        /// The token.
        token: Secret,
        /// The flag it came by, for messages.
        flag: String,
    },
}

impl EndpointOptions {
    pub(crate) fn parts(&self, session: &Session) -> Parts {
        let options = dhow_client::EndpointOptions {
            credentials: self.source(session),
            mirror_credentials: self.mirror_source(session),
            tls_verify: self.tls_verify,
            cert_dir: self.cert_dir.clone(),
        };
        Parts {
            endpoint: Endpoint::new(&session.client, options),
            shared_blob_dir: self.shared_blob_dir.clone(),
            tmp: session.tmp.clone(),
            platform: session.platform.clone(),
            additional_tags: self.additional_tags.clone(),
            environment: std::sync::Arc::clone(session.config.environment()),
            engine: EngineOptions {
                host: self.daemon_host.clone(),
                environment: std::sync::Arc::clone(session.config.environment()),
                cert_dir: self.cert_dir.clone(),
                tls_verify: self.tls_verify,
            },
        }
    }

    /// Returns the credentials for mirrors on other hosts: what was given on the command line is
    /// for the registry named there.
    fn mirror_source(&self, session: &Session) -> CredentialSource {
        match &self.credentials {
            CredentialsOption::Anonymous => self.source(session),
            _ => self.files(session),
        }
    }

    fn files(&self, session: &Session) -> CredentialSource {
        let config = std::sync::Arc::clone(&session.config);
        CredentialSource::Files(AuthFiles::new(config, self.authfile.clone()))
    }

    fn source(&self, session: &Session) -> CredentialSource {
        let given = |credentials, origin: &str| {
            CredentialSource::Given(FoundCredentials {
                credentials,
                origin: origin.to_owned(),
            })
        };
        match &self.credentials {
            CredentialsOption::FromFiles => self.files(session),
            CredentialsOption::Anonymous => given(Credentials::Anonymous, "`--no-creds` was given"),
            CredentialsOption::Basic {
                username,
                password,
                flag,
            } => {
                let (username, password) = (username.clone(), password.clone());
                given(Credentials::Basic { username, password }, flag)
            }
            CredentialsOption::RegistryToken { token, flag } => {
                given(Credentials::RegistryToken(token.clone()), flag)
            }
        }
    }
}
