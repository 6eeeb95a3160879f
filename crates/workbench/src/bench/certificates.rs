//! Certificates for registries that speak TLS: an authority, and a leaf for their address.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Where the files are, in PEM.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    /// The certificate of the authority, which clients must trust.
    pub(super) authority: PathBuf,
    /// The certificate of the registries.
    pub(super) certificate: PathBuf,
    /// Its private key.
    pub(super) key: PathBuf,
}

impl Certificates {
    /// Makes them for an IP address, in `folder`.
    pub(super) fn make(folder: &Path, address: &str) -> Result<Self, String> {
        let made = Self {
            authority: folder.join("authority.crt"),
            certificate: folder.join("registry.crt"),
            key: folder.join("registry.key"),
        };
        let (authority, certificate, key) =
            sign(address).map_err(|error| format!("cannot make certificates: {error}"))?;
        for (path, text) in [
            (&made.authority, authority),
            (&made.certificate, certificate),
            (&made.key, key),
        ] {
            fs::write(path, text)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(made)
    }
}

fn sign(address: &str) -> Result<(String, String, String), rcgen::Error> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "cargo xtask bench");
    let authority_text = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec!["localhost".to_owned(), address.to_owned()])?;
    let certificate = leaf.signed_by(&key, &issuer)?;
    Ok((authority_text, certificate.pem(), key.serialize_pem()))
}
