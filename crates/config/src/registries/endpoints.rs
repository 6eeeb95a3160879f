//! Where an image is read from: mirrors in their order, then its own place.

use dhow_model::{Reference, Repository};

use super::{PullFromMirror, RegistryEntry};
use crate::{ConfigError, Registries};

/// One place from which an image can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullEndpoint {
    /// The image, as it is named there.
    pub reference: Reference,
    /// Whether plain http and certificates that cannot be verified are accepted there.
    pub insecure: bool,
    /// Whether this is a mirror and not the place itself.
    pub mirror: bool,
}

impl Registries {
    /// Returns the places from which `reference` is read, in order. The last is its own place,
    /// with the location rewritten.
    ///
    /// # Errors
    /// When the registry is blocked, or a rewritten name is none.
    pub fn pull_endpoints(&self, reference: &Reference) -> Result<Vec<PullEndpoint>, ConfigError> {
        let name = reference.to_string();
        let Some((entry, length)) = self.find_matching(&name) else {
            return Ok(vec![PullEndpoint {
                reference: reference.clone(),
                insecure: false,
                mirror: false,
            }]);
        };
        entry.check_blocked()?;
        let by_digest = reference.digest.is_some();
        let mirrors = entry.mirrors.iter().filter(|mirror| match mirror.pull {
            PullFromMirror::All => true,
            PullFromMirror::DigestOnly => by_digest,
            PullFromMirror::TagOnly => !by_digest,
        });
        let mut endpoints = Vec::new();
        for mirror in mirrors {
            endpoints.push(PullEndpoint {
                reference: entry.rewritten(&mirror.location, &name, length)?,
                insecure: mirror.insecure,
                mirror: true,
            });
        }
        endpoints.push(PullEndpoint {
            reference: match &entry.location {
                Some(location) => entry.rewritten(location, &name, length)?,
                None => reference.clone(),
            },
            insecure: entry.insecure,
            mirror: false,
        });
        Ok(endpoints)
    }

    /// Returns whether `repository` itself may be reached by plain http and with certificates that
    /// cannot be verified: for everything that is not a read of an image, which never goes to
    /// mirrors.
    ///
    /// # Errors
    /// When the registry is blocked.
    pub fn is_insecure(&self, repository: &Repository) -> Result<bool, ConfigError> {
        let Some(entry) = self.find(&repository.to_string()) else {
            return Ok(false);
        };
        entry.check_blocked()?;
        Ok(entry.insecure)
    }
}

impl RegistryEntry {
    fn check_blocked(&self) -> Result<(), ConfigError> {
        if self.blocked {
            return Err(ConfigError::Blocked {
                prefix: self.prefix.clone(),
                file: self.file.clone(),
            });
        }
        Ok(())
    }

    /// Returns `name` with `location` in place of its first `length` bytes.
    fn rewritten(
        &self,
        location: &str,
        name: &str,
        length: usize,
    ) -> Result<Reference, ConfigError> {
        let rest = name.get(length..).unwrap_or_default();
        let rewritten = format!("{location}{rest}");
        Reference::parse(&rewritten).map_err(|error| {
            ConfigError::invalid(
                &self.file,
                "registries configuration",
                format!("rewriting `{name}` to `{rewritten}` gives no reference: {error}"),
            )
        })
    }
}
