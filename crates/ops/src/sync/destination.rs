//! What stands at the destination before the first image is copied there.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use dhow_copy::Standing;
use dhow_transport::Kind;
use dhow_transports::Transports;

use super::image::parse;
use crate::{Error, RetryOptions, list_tags};

/// The names that stand at the destination, as far as they are known. Only their hashes are kept: two
/// names with one hash cost a question, and never a mistake.
#[derive(Debug, Default)]
pub(super) enum Names {
    /// Nobody has listed them.
    #[default]
    Unknown,
    /// These, and no others.
    Listed(HashSet<u64>),
    /// Those of folders: the file system is asked.
    Folders,
}

impl Names {
    /// Returns what is known of an image's name.
    pub(super) fn standing(&self, destination: &str) -> Standing {
        let present = match self {
            Self::Unknown => return Standing::Unknown,
            Self::Listed(names) => names.contains(&hash(destination)),
            Self::Folders => {
                let folder = destination.strip_prefix("dir:").unwrap_or(destination);
                Path::new(folder).join("manifest.json").exists()
            }
        };
        if present {
            Standing::Present
        } else {
            Standing::Absent
        }
    }

    /// Lists a repository, or a layout, of which names begin with `prefix`.
    pub(super) async fn list(
        transports: &Transports,
        place: &str,
        prefix: &str,
        retry: RetryOptions,
    ) -> Self {
        match tags(transports, place, retry).await {
            Ok(tags) => {
                let names = tags.iter().map(|tag| hash(&format!("{prefix}{tag}")));
                Self::Listed(names.collect())
            }
            Err(error) if error.kind() == Kind::NotFound => Self::Listed(HashSet::new()),
            Err(error) => {
                tracing::debug!(place, %error, "the destination cannot be listed");
                Self::Unknown
            }
        }
    }
}

/// Lists the tags of a repository, or the names in a layout.
pub(super) async fn tags(
    transports: &Transports,
    place: &str,
    retry: RetryOptions,
) -> Result<Vec<String>, Error> {
    let location = parse(transports, place, "destination")?;
    match location.catalog() {
        Some(catalog) => list_tags::all(&*location, catalog, retry).await,
        None => Ok(Vec::new()),
    }
}

/// Returns a hash that is the same all through a process.
pub(super) fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
