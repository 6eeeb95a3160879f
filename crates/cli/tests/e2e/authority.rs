//! A private certificate authority, as a company or a cluster has one.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// An authority with one certificate for loopback.
#[derive(Debug)]
pub(crate) struct Authority {
    /// A directory as `--cert-dir` takes it, with the authority's `ca.crt`.
    pub(crate) trusted: PathBuf,
    /// The certificate of the registry.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

impl Authority {
    /// Makes an authority and a certificate for `localhost` and `127.0.0.1` in a directory.
    pub(crate) fn create(place: &Path) -> Self {
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
        let issuer = Issuer::new(ca, ca_key);

        let key_pair = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = CertificateParams::new(names).unwrap();
        let server = server.signed_by(&key_pair, &issuer).unwrap();

        let trusted = place.join("trusted");
        fs::create_dir_all(&trusted).unwrap();
        fs::write(trusted.join("ca.crt"), ca_certificate.pem()).unwrap();
        let certificate = place.join("registry.crt");
        fs::write(&certificate, server.pem()).unwrap();
        let key = place.join("registry.key");
        fs::write(&key, key_pair.serialize_pem()).unwrap();
        Self {
            trusted,
            certificate,
            key,
        }
    }
}
