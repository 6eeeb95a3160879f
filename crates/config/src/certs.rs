//! certs.d: certificate authorities and client certificates per registry
//! (containers-certs.d(5)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{ConfigError, EnvSnapshot};

/// The certificate files for one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certs {
    /// The directory that is used, if one of those looked in exists.
    pub dir: Option<PathBuf>,
    /// Certificate authorities to trust besides the system's: `*.crt`.
    pub authorities: Vec<PathBuf>,
    /// Client certificates: pairs of `NAME.cert` and `NAME.key`.
    pub identities: Vec<Identity>,
    /// The directories that were looked in, in order; for messages.
    pub looked_in: Vec<PathBuf>,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The PEM file of the certificate and its chain.
    pub certificate: PathBuf,
    /// The PEM file of the key.
    pub key: PathBuf,
}

impl Certs {
    /// Finds the files for `registry` (host and optional port, as users write it). With
    /// `cert_dir`, only there.
    pub fn find(
        environment: &EnvSnapshot,
        registry: &str,
        cert_dir: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let looked_in = match cert_dir {
            Some(directory) => vec![directory.to_owned()],
            None => search_path(environment, registry),
        };
        for directory in &looked_in {
            let entries = match fs::read_dir(directory) {
                Ok(entries) => entries,
                Err(error) if cert_dir.is_none() && is_absent(&error) => continue,
                Err(source) => {
                    return Err(ConfigError::Read {
                        path: directory.clone(),
                        source,
                    });
                }
            };
            let mut names: Vec<PathBuf> = entries
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .collect();
            names.sort();
            return Self::sort_out(directory, &names, looked_in.clone());
        }
        Ok(Self {
            looked_in,
            ..Self::default()
        })
    }

    fn sort_out(
        directory: &Path,
        names: &[PathBuf],
        looked_in: Vec<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let mut certs = Self {
            dir: Some(directory.to_owned()),
            looked_in,
            ..Self::default()
        };
        let missing = |of: &Path, ending: &str, hint: &str| {
            let mate = of.with_extension(ending);
            ConfigError::invalid(
                directory,
                "certificate directory",
                format!(
                    "`{}` has no `{}` beside it{hint}",
                    of.display(),
                    mate.display()
                ),
            )
        };
        for path in names {
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("crt") => certs.authorities.push(path.clone()),
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !names.contains(&key) {
                        let hint = " (certificate authorities have names that end in `.crt`)";
                        return Err(missing(path, "key", hint));
                    }
                    certs.identities.push(Identity {
                        certificate: path.clone(),
                        key,
                    });
                }
                Some("key") if !names.contains(&path.with_extension("cert")) => {
                    return Err(missing(path, "cert", ""));
                }
                _ => {}
            }
        }
        Ok(certs)
    }
}

fn search_path(environment: &EnvSnapshot, registry: &str) -> Vec<PathBuf> {
    environment
        .config_home()
        .map(|directory| directory.join("containers/certs.d"))
        .into_iter()
        .chain([
            PathBuf::from("/etc/containers/certs.d"),
            PathBuf::from("/etc/docker/certs.d"),
        ])
        .map(|directory| directory.join(registry))
        .collect()
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_sorted_out_by_their_endings() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.crt", "a.crt", "me.cert", "me.key", "notes.txt"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let certs =
            Certs::find(&EnvSnapshot::default(), "a.io:5000", Some(directory.path())).unwrap();
        assert_eq!(
            certs.authorities,
            [
                directory.path().join("a.crt"),
                directory.path().join("b.crt")
            ]
        );
        assert_eq!(certs.identities.len(), 1);
    }

    #[test]
    fn a_lone_certificate_or_key_is_an_error_that_says_what_is_missing() {
        for name in ["me.cert", "me.key"] {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(name), "").unwrap();
            let error = Certs::find(&EnvSnapshot::default(), "a.io", Some(directory.path()));
            assert!(error.unwrap_err().to_string().contains(name));
        }
    }

    #[test]
    fn the_users_directory_comes_first() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join(".config/containers/certs.d/a.io:5000");
        fs::create_dir_all(&directory).unwrap();
        let environment = EnvSnapshot {
            variables: [("HOME".to_owned(), home.path().display().to_string())].into(),
            user_id: 0,
        };
        let certs = Certs::find(&environment, "a.io:5000", None).unwrap();
        assert_eq!(certs.dir, Some(directory));
        assert_eq!(certs.looked_in.len(), 3);
    }
}
