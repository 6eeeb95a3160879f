//! A private certificate authority, as a company or a cluster has one.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// An authority with one certificate for loopback.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// A directory as `--cert-dir` takes it, with the authority's `ca.crt`.
    pub(crate) trusted: PathBuf,
    /// The certificate of the registry.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// What a certificate is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// For a server, valid.
    Server,
    /// For a server, and expired long ago.
    Expired,
    /// For a client.
    Client,
}

impl Authority {
    /// Makes an authority and a certificate for `localhost` and `127.0.0.1` in a directory.
    pub(crate) fn create(place: &Path) -> Self {
        Self::with(place, &["localhost", "127.0.0.1"], Flavour::Server)
    }

    /// Makes an authority and a certificate for these names in a directory.
    pub(crate) fn with(place: &Path, names: &[&str], flavour: Flavour) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        ca.distinguished_name
            .push(DnType::CommonName, "Private Authority of a Test");
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let trusted = place.join("trusted");
        fs::create_dir_all(&trusted).unwrap();
        fs::write(trusted.join("ca.crt"), ca_certificate.pem()).unwrap();
        let mut authority = Self {
            issuer: Issuer::new(ca, ca_key),
            trusted,
            certificate: PathBuf::new(),
            key: PathBuf::new(),
        };
        authority.certificate = place.join("registry.crt");
        authority.key = place.join("registry.key");
        authority.issue(&authority.certificate, &authority.key, names, flavour);
        authority
    }

    /// Makes a certificate and its key.
    pub(crate) fn issue(&self, certificate: &Path, key: &Path, names: &[&str], flavour: Flavour) {
        let key_pair = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "Somebody in a Test");
        match flavour {
            Flavour::Server => {}
            Flavour::Expired => {
                params.not_before = date_time_ymd(2001, 1, 1);
                params.not_after = date_time_ymd(2002, 2, 2);
            }
            Flavour::Client => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
        }
        let made = params.signed_by(&key_pair, &self.issuer).unwrap();
        fs::write(certificate, made.pem()).unwrap();
        fs::write(key, key_pair.serialize_pem()).unwrap();
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}
