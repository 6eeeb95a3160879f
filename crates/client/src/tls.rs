//! TLS: which certificates are trusted, which are shown, and what a refusal means.
//!
//! The system's authorities and those of the registry's `certs.d` directory are trusted. A server
//! certificate that is itself listed there is trusted too, also when it is marked as an authority,
//! as `openssl req -x509` marks everything it makes.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dhow_config::{Certs, EnvSnapshot};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use zeroize::Zeroizing;

use crate::authorities;
use crate::host::HostKey;
use crate::places::with_hint;
use crate::{Error, ErrorKind};

/// The largest certificate or key file that is read, in bytes. Bundles of all public authorities
/// have about 300 KiB.
const MAX_PEM: u64 = 8 * 1024 * 1024;

/// Where trust comes from, for messages.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    /// The directories in which certificates for this registry are searched.
    pub(crate) looked_in: Vec<PathBuf>,
    /// The one that was found.
    pub(crate) dir: Option<PathBuf>,
    /// The certificate authorities in it.
    pub(crate) authorities: Vec<PathBuf>,
    /// The client certificates in it.
    pub(crate) identities: Vec<PathBuf>,
    /// Where the system's authorities were read from; empty when nothing is verified.
    pub(crate) system: Vec<PathBuf>,
    /// The server has asked for a client certificate, and there was none to show.
    identity_missing: Arc<AtomicBool>,
}

impl Trust {
    /// Returns whether the server has asked for a client certificate that there is not.
    pub(crate) fn is_identity_missing(&self) -> bool {
        self.identity_missing.load(Ordering::Relaxed)
    }
}

/// Returns a configuration that reaches no https server: for clients that speak plain http.
pub(crate) fn nothing_trusted() -> Result<ClientConfig, Error> {
    Ok(builder()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// What TLS with one host needs.
pub(crate) struct Loaded {
    pub(crate) config: ClientConfig,
    /// Who says whether a certificate is trusted.
    pub(crate) judge: Arc<dyn ServerCertVerifier>,
    pub(crate) trust: Trust,
}

/// Reads certificates and returns the configuration for a host. Blocks.
pub(crate) fn load(environment: &EnvSnapshot, key: &HostKey) -> Result<Loaded, Error> {
    let certs =
        Certs::find(environment, &key.registry, key.cert_dir.as_deref()).map_err(|source| {
            let registry = &key.registry;
            with_hint(
                format!("the certificates for `{registry}` cannot be used"),
                source,
            )
        })?;
    let mut system = Vec::new();
    let judge: Arc<dyn ServerCertVerifier> = if key.verify {
        let found = authorities::system(environment)?;
        system = found.read_from;
        let verifier = Verifier::new(found.certificates, &certs.authorities)?;
        Arc::new(verifier)
    } else {
        Arc::new(NoVerifier(provider()))
    };
    let builder = builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&judge));
    let identities = certs
        .identities
        .iter()
        .map(|identity| read_identity(&identity.certificate, &identity.key))
        .collect::<Result<Vec<_>, _>>()?;
    let missing = Arc::new(AtomicBool::new(false));
    let config = builder.with_client_cert_resolver(Arc::new(Identities {
        known: identities,
        missing: Arc::clone(&missing),
    }));
    let trust = Trust {
        looked_in: certs.looked_in,
        dir: certs.dir,
        authorities: certs.authorities,
        identities: certs
            .identities
            .into_iter()
            .map(|identity| identity.certificate)
            .collect(),
        system,
        identity_missing: missing,
    };
    Ok(Loaded {
        config,
        judge,
        trust,
    })
}

pub(crate) fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error>
{
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::new(ErrorKind::Bug, "TLS cannot be set up").caused_by(source))
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    // AES-128 is the fastest with hardware support, and no weaker where it matters.
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

/// Verifies against authorities, and accepts the certificates that are listed themselves.
pub(crate) struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl Verifier {
    pub(crate) fn new(
        system: Vec<CertificateDer<'static>>,
        authorities: &[PathBuf],
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system);
        let mut listed = Vec::new();
        for path in authorities {
            listed.extend(read_certificates(path)?);
        }
        roots.add_parsable_certificates(listed.iter().cloned());
        if roots.is_empty() {
            // The verifier cannot be built from nothing, and nothing could be verified.
            return Err(Error::new(
                ErrorKind::Untrusted,
                "there is not one certificate authority to trust",
            )
            .hint("install the system's CA certificates (package `ca-certificates`), or set SSL_CERT_FILE"));
        }
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|source| {
                Error::new(ErrorKind::Bug, "certificates cannot be verified").caused_by(source)
            })?;
        Ok(Self { inner, listed })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        // COMPAT(skopeo): Go accepts a certificate that is listed itself, even one marked as an
        // authority. Dates were checked before that mark; the name is checked here.
        if is_authority_as_server(&verdict) && self.listed.iter().any(|one| one == end_entity) {
            let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
            rustls::client::verify_server_name(&parsed, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn is_authority_as_server(verdict: &Result<ServerCertVerified, rustls::Error>) -> bool {
    match verdict {
        // rustls has no variant of its own for this.
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
            other.0.to_string().contains("CaUsedAsEndEntity")
        }
        _ => false,
    }
}

/// Accepts every certificate, because the user said so. Signatures are still checked: the server
/// must have the key of the certificate it shows.
#[derive(Debug)]
pub(crate) struct NoVerifier(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // A certificate that webpki cannot parse must not be in the way here.
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Shows the first client certificate that the server can check, and remembers when there was none.
#[derive(Debug)]
pub(crate) struct Identities {
    known: Vec<Arc<CertifiedKey>>,
    missing: Arc<AtomicBool>,
}

impl Identities {
    /// Returns certificates of which nobody asks afterwards whether one was missing.
    pub(crate) fn new(known: Vec<Arc<CertifiedKey>>) -> Self {
        Self {
            known,
            missing: Arc::default(),
        }
    }
}

impl rustls::client::ResolvesClientCert for Identities {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let fitting = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(schemes).is_some();
        let found = self.known.iter().find(fitting).cloned();
        self.missing.store(found.is_none(), Ordering::Relaxed);
        found
    }

    fn has_certs(&self) -> bool {
        !self.known.is_empty()
    }
}

pub(crate) fn read_identity(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, Error> {
    let chain = read_certificates(certificate)?;
    if chain.is_empty() {
        return Err(Error::new(
            ErrorKind::Settings,
            format!(
                "`{}` holds no client certificate in PEM form",
                certificate.display()
            ),
        ));
    }
    let key_der = read_key(key)?;
    let identity = CertifiedKey::from_der(chain, key_der, &provider()).map_err(|source| {
        let message = match source {
            rustls::Error::InconsistentKeys(_) => format!(
                "the key `{}` does not belong to the client certificate `{}`",
                key.display(),
                certificate.display()
            ),
            _ => format!(
                "the client certificate `{}` with the key `{}` cannot be used",
                certificate.display(),
                key.display()
            ),
        };
        Error::new(ErrorKind::Settings, message).caused_by(source)
    })?;
    Ok(Arc::new(identity))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let pem = Zeroizing::new(read(path)?);
    let shown = path.display();
    // PKCS#8 says so in its label (RFC 7468 §11), older keys in a header (RFC 1421 §4.6.1.1).
    let text = String::from_utf8_lossy(&pem);
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(Error::new(
            ErrorKind::Settings,
            format!("the key `{shown}` is encrypted, and dhow cannot ask for its password"),
        )
        .hint(format!(
            "decrypt it with `openssl pkey -in {shown} -out PLAIN.key`, and keep that file to \
             yourself"
        )));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|source| {
        Error::new(
            ErrorKind::Settings,
            format!("`{shown}` holds no private key in PEM form"),
        )
        .caused_by(source)
    })
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .filter_map(Result::ok)
        .collect();
    if found.is_empty() {
        // COMPAT(skopeo): such a file is passed over; here it is at least said.
        tracing::warn!(path = %path.display(), "no PEM certificate in this file");
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source: std::io::Error| {
        Error::new(
            ErrorKind::Settings,
            format!("`{}` cannot be read", path.display()),
        )
        .caused_by(source)
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_PEM)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

/// Returns what is wrong with a certificate, in words.
pub(crate) fn explain(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "it is signed by an authority that is not known here".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "it names no host (a subject alternative name is needed)".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().take(5).map(String::as_str).collect();
            format!("it is for another name: {}", names.join(", "))
        }
        CertificateError::Revoked => "it has been revoked".to_owned(),
        CertificateError::Other(other) if other.0.to_string().contains("CaUsedAsEndEntity") => {
            "it is a self-signed certificate that is not trusted here".to_owned()
        }
        other => other.to_string(),
    }
}
