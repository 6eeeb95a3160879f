//! The certificate authorities that the system trusts, from the files that Go's `crypto/x509` knows
//! too: `SSL_CERT_FILE` and `SSL_CERT_DIR` (folders between colons) if they are set, else the
//! bundle of the distribution.

use std::path::{Path, PathBuf};

use dhow_config::EnvSnapshot;
use rustls::pki_types::CertificateDer;

use crate::{Error, ErrorKind};

/// Where distributions keep their bundle.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",             // openSUSE
    "/etc/pki/tls/cacert.pem",            // OpenELEC
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL 7
    "/etc/ssl/cert.pem",                  // Alpine, macOS
];

/// Where they keep single certificates, for those that have no bundle.
const FOLDERS: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// The authorities, and where they were read from.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// The files and folders.
    pub(crate) read_from: Vec<PathBuf>,
}

/// Reads the authorities. Blocks.
///
/// # Errors
/// When a file or folder that the environment names cannot be read.
pub(crate) fn system(environment: &EnvSnapshot) -> Result<Authorities, Error> {
    let file = environment.variable("SSL_CERT_FILE").map(PathBuf::from);
    let folders: Vec<PathBuf> = environment
        .variable("SSL_CERT_DIR")
        .map(|list| list.split(':').filter(|one| !one.is_empty()))
        .into_iter()
        .flatten()
        .map(PathBuf::from)
        .collect();
    let mut authorities = Authorities::default();
    if file.is_some() || !folders.is_empty() {
        if let Some(file) = &file {
            authorities.add(Some(file), None, Some("SSL_CERT_FILE"))?;
        }
        for folder in &folders {
            authorities.add(None, Some(folder), Some("SSL_CERT_DIR"))?;
        }
        return Ok(authorities);
    }
    if let Some(bundle) = BUNDLES.iter().map(Path::new).find(|path| path.is_file()) {
        authorities.add(Some(bundle), None, None)?;
    }
    if authorities.certificates.is_empty() {
        for folder in FOLDERS.iter().map(Path::new).filter(|path| path.is_dir()) {
            authorities.add(None, Some(folder), None)?;
        }
    }
    Ok(authorities)
}

impl Authorities {
    fn add(
        &mut self,
        file: Option<&Path>,
        folder: Option<&Path>,
        named_by: Option<&str>,
    ) -> Result<(), Error> {
        let path = file.or(folder).unwrap_or(Path::new(""));
        let loaded = rustls_native_certs::load_certs_from_paths(file, folder);
        if let (Some(error), Some(variable)) = (loaded.errors.into_iter().next(), named_by)
            && loaded.certs.is_empty()
        {
            return Err(Error::new(
                ErrorKind::Settings,
                format!("`{}` in `{variable}` cannot be read", path.display()),
            )
            .caused_by(error)
            .hint(format!("correct `{variable}`, or unset it")));
        }
        self.certificates.extend(loaded.certs);
        self.read_from.push(path.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &Path)]) -> EnvSnapshot {
        EnvSnapshot {
            variables: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.display().to_string()))
                .collect(),
            ..EnvSnapshot::default()
        }
    }

    #[test]
    fn the_environment_replaces_the_systems_files() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("empty");
        std::fs::create_dir(&folder).unwrap();
        let found = system(&environment(&[("SSL_CERT_DIR", &folder)])).unwrap();
        assert!(found.certificates.is_empty());
        assert_eq!(found.read_from, [folder]);
    }

    #[test]
    fn a_file_that_the_environment_names_must_be_there() {
        let missing = Path::new("/nowhere/ca.crt");
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            let error = system(&environment(&[(variable, missing)])).unwrap_err();
            assert!(error.to_string().contains(variable), "{error}");
        }
    }
}
