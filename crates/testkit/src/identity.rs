//! A certificate for loopback with the authority that signed it, as a private registry has one.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
pub use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ALL_VERSIONS, ServerConfig, SupportedProtocolVersion};

/// Who a server is.
pub struct Identity {
    authority: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    /// Makes an authority and a certificate for `localhost` and `127.0.0.1`.
    ///
    /// # Panics
    /// When no certificate can be made.
    pub fn new() -> Self {
        Self::speaking(ALL_VERSIONS)
    }

    /// Makes one that speaks only `versions` of TLS.
    ///
    /// # Panics
    /// When no certificate can be made.
    pub fn speaking(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let made = "certificates can be made";
        let ca_key = KeyPair::generate().expect(made);
        let mut ca = CertificateParams::new(Vec::new()).expect(made);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name
            .push(DnType::CommonName, "Authority of a Test");
        let authority = ca.self_signed(&ca_key).expect(made).pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().expect(made);
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect(made);
        let certificate = params.signed_by(&key, &issuer).expect(made);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![certificate.der().clone()];
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .expect("certificate and key belong together");
        Self {
            authority,
            config: Arc::new(config),
        }
    }

    /// Offers HTTP/2 to those who can speak it.
    #[must_use]
    pub fn with_http2(mut self) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        self
    }

    /// Returns the certificate of the authority (PEM).
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns what shakes hands as this server.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
