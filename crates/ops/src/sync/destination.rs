//! What stands at the destination before the first image is copied there.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use dhow_copy::Standing;
use dhow_transport::Kind;
use dhow_transports::Transports;

use super::image::parse;
use super::listing::Listing;
use crate::{Error, RetryOptions};

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
    /// Returns what is known of an image's name; `None`: [`on_disk`] knows.
    pub(super) fn standing(&self, destination: &str) -> Option<Standing> {
        match self {
            Self::Unknown => Some(Standing::Unknown),
            Self::Listed(names) => Some(standing(names.contains(&hash(destination)))),
            Self::Folders => None,
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

/// Asks the file system whether an image stands in its folder.
pub(super) async fn on_disk(destination: &str) -> Standing {
    let folder = destination.strip_prefix("dir:").unwrap_or(destination);
    let file = Path::new(folder).join("manifest.json");
    let asked = tokio::task::spawn_blocking(move || file.exists()).await;
    asked.map_or(Standing::Unknown, standing)
}

const fn standing(present: bool) -> Standing {
    if present {
        Standing::Present
    } else {
        Standing::Absent
    }
}

/// Lists the tags of a repository, or the names in a layout.
pub(super) async fn tags(
    transports: &Transports,
    place: &str,
    retry: RetryOptions,
) -> Result<Vec<String>, Error> {
    let mut listing = Listing::start(parse(transports, place, "destination")?, retry);
    let mut tags = Vec::new();
    while let Some(tag) = listing.next().await {
        tags.push(tag?);
    }
    Ok(tags)
}

/// Returns a hash that is the same all through a process.
pub(super) fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
