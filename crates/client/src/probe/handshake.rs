//! One TLS handshake that is carried to its end whatever the certificates are, to see all of them.
//! Nothing is sent over the connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, ProtocolVersion, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::CertificateFacts;
use crate::channel::Channel;
use crate::host::Scheme;
use crate::{Error, ErrorKind, fault, tls};

/// What a TLS handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLS 1.3`.
    pub version: &'static str,
    /// The certificates that the server sent, its own first.
    pub chain: Vec<CertificateFacts>,
    /// Why the server's certificate is not trusted; `None` when it is.
    pub distrust: Option<String>,
}

/// Shakes hands with the host of a channel at an address.
pub(super) async fn run(channel: &Channel, address: SocketAddr) -> Result<Option<TlsFacts>, Error> {
    let limit = channel.session().timeouts().connect;
    match tokio::time::timeout(limit, shake(channel, address)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            format!("{address} takes connections and then says nothing"),
        )),
    }
}

async fn shake(channel: &Channel, address: SocketAddr) -> Result<Option<TlsFacts>, Error> {
    let host = channel.host();
    let base = host.base(Scheme::Https)?;
    let name = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let server_name = ServerName::try_from(name.to_owned()).map_err(|source| {
        Error::new(
            ErrorKind::Settings,
            format!("`{name}` is not a name that a certificate can have"),
        )
        .caused_by(source)
    })?;
    let loaded = host.load_tls(channel.session()).await?;
    let mut config = loaded.config;
    let verifier = Arc::new(Onlooker {
        judge: loaded.judge,
        seen: Mutex::default(),
    });
    config
        .dangerous()
        .set_certificate_verifier(Arc::clone(&verifier) as _);
    let authority = fault::authority(&base);
    let stream = TcpStream::connect(address).await.map_err(|source| {
        Error::new(
            ErrorKind::Unreachable,
            format!("`{authority}` cannot be reached"),
        )
        .caused_by(source)
    })?;
    let connected = TlsConnector::from(Arc::new(config))
        .connect(server_name, stream)
        .await;
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) => {
            return match fault::find::<rustls::Error>(&error) {
                // Who hangs up on a greeting speaks something else, or is broken.
                None | Some(rustls::Error::InvalidMessage(_)) => Ok(None),
                Some(found) => Err(fault::tls_fault(found, &authority, host)),
            };
        }
    };
    let seen = std::mem::take(&mut *verifier.lock());
    let version = stream.get_ref().1.protocol_version();
    Ok(Some(TlsFacts {
        version: match version {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        },
        chain: seen.chain.iter().filter_map(CertificateFacts::of).collect(),
        distrust: seen.distrust,
    }))
}

/// Looks at certificates, remembers what is wrong with them, and lets the handshake go on.
#[derive(Debug)]
struct Onlooker {
    judge: Arc<dyn ServerCertVerifier>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    distrust: Option<String>,
}

impl Onlooker {
    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.judge.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let mut seen = self.lock();
        seen.chain = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        seen.distrust = match verdict {
            Ok(_) => None,
            Err(rustls::Error::InvalidCertificate(wrong)) => Some(tls::explain(&wrong)),
            Err(other) => Some(other.to_string()),
        };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Nothing is sent to whom this connection leads.
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
