//! TLS for servers that are no registries, such as a Docker engine, from files that are named.

use std::path::PathBuf;
use std::sync::Arc;

use dhow_config::EnvSnapshot;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;

use crate::{Error, authorities, tls};

/// The files that TLS with a server needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of authorities that are trusted besides those of the system.
    pub authority: Option<PathBuf>,
    /// The client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Take any certificate of the server.
    pub skip_verify: bool,
}

/// Reads the files and returns a configuration. Blocks.
///
/// # Errors
/// When a file cannot be read or used.
pub fn tls_config(environment: &EnvSnapshot, files: &TlsFiles) -> Result<ClientConfig, Error> {
    let judge: Arc<dyn ServerCertVerifier> = if files.skip_verify {
        Arc::new(tls::NoVerifier(tls::provider()))
    } else {
        let system = authorities::system(environment)?;
        let listed: Vec<PathBuf> = files.authority.iter().cloned().collect();
        Arc::new(tls::Verifier::new(system.certificates, &listed)?)
    };
    let identities = files.identity.iter();
    let identities = identities
        .map(|(certificate, key)| tls::read_identity(certificate, key))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(tls::builder()?
        .dangerous()
        .with_custom_certificate_verifier(judge)
        .with_client_cert_resolver(Arc::new(tls::Identities::new(identities))))
}
