//! The certificate: from files, or made up on the spot.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::{Error, TlsConfig};

/// What turns connections into encrypted ones.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// The certificate that was made up.
    pub(crate) pem: Option<String>,
}

impl Tls {
    pub(crate) fn new(config: &TlsConfig) -> Result<Option<Self>, Error> {
        match config {
            TlsConfig::Off => Ok(None),
            TlsConfig::Files { certificate, key } => {
                let (chain, key) = (read_chain(certificate)?, read_key(key)?);
                Self::serve(chain, key, None).map(Some)
            }
            TlsConfig::SelfSigned { names } => {
                let (chain, key, pem) = make(names)?;
                Self::serve(chain, key, Some(pem)).map(Some)
            }
        }
    }

    fn serve(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        pem: Option<String>,
    ) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            pem,
        })
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Certificate(format!("`{}`: {error}", path.display())))?;
    if chain.is_empty() {
        return Err(Error::Certificate(format!(
            "`{}` has no certificate",
            path.display()
        )));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|error| Error::Certificate(format!("`{}`: {error}", path.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    dhow_layout::read_bounded(path, MAX_FILE).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

type Made = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, String);

fn make(names: &[String]) -> Result<Made, Error> {
    let mut all = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    for name in names {
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let is_unspecified = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        if !all.iter().any(|known| known == name) && !is_unspecified {
            all.push(name.to_owned());
        }
    }
    let mut params = CertificateParams::new(all).map_err(unusable)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "dhow serve");
    // Trusted by itself, and good for nothing but this server.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let day = |date: jiff::civil::Date| {
        let part = |number: i8| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    };
    params.not_before = day(today.yesterday().unwrap_or(today));
    params.not_after = day(today.saturating_add(jiff::Span::new().days(LIFETIME_DAYS)));
    let key = KeyPair::generate().map_err(unusable)?;
    let certificate = params.self_signed(&key).map_err(unusable)?;
    let pem = certificate.pem();
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|why| Error::Certificate(why.to_owned()))?;
    Ok((vec![certificate.der().clone()], key, pem))
}

fn unusable(error: impl std::error::Error) -> Error {
    Error::Certificate(error.to_string())
}

/// The largest certificate or key file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// How long a certificate holds that was made up. Some clients refuse more than 825 days.
const LIFETIME_DAYS: i32 = 365;
