//! What a certificate says (RFC 5280), as far as users need it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whose it is: `CN=registry.example.com`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The names and addresses of hosts that it is for.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
}

impl CertificateFacts {
    /// Reads a certificate; `None` when it is none.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = Certificate::from_der(certificate).ok()?;
        let parsed = parsed.tbs_certificate();
        let names = match parsed.get_extension::<SubjectAltName>() {
            Ok(Some((_, names))) => names.0.iter().filter_map(name).take(MOST_NAMES).collect(),
            _ => Vec::new(),
        };
        let at = |time: Duration| SystemTime::UNIX_EPOCH.checked_add(time);
        Some(Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            names,
            not_before: at(parsed.validity().not_before.to_unix_duration())?,
            not_after: at(parsed.validity().not_after.to_unix_duration())?,
        })
    }
}

/// No certificate that people make names more hosts than are worth showing.
const MOST_NAMES: usize = 100;

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(|four| IpAddr::V4(Ipv4Addr::from(four)));
            let address = v4.or_else(|_| {
                <[u8; 16]>::try_from(bytes).map(|sixteen| IpAddr::V6(Ipv6Addr::from(sixteen)))
            });
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}
