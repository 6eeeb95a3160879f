//! What to sync, where to, and how.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use dhow_copy::{Format, Select};

use crate::select::{Rename, Shard, TagFilter, TagRegex, YamlSource};
use crate::{EndpointOptions, RetryOptions};

/// A sync: from some places to one.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// Where the images are.
    pub sources: Vec<SyncSource>,
    /// Where they are to be.
    pub destination: SyncDestination,
    /// How.
    pub options: SyncOptions,
}

/// A place with images.
#[derive(Clone, Debug)]
pub enum SyncSource {
    /// A repository with all its tags, or one image of it: `quay.io/a/b`, `quay.io/a/b:c`.
    Docker {
        /// The name, without `docker://`.
        name: String,
        /// How it is reached.
        endpoint: EndpointOptions,
    },
    /// All repositories of a registry, or those below a path: `registry.local:5000/team`.
    Registry {
        /// The name, without `docker://`.
        name: String,
        /// How it is reached.
        endpoint: EndpointOptions,
    },
    /// All images in folders below this one, in the form of `dir:`.
    Dir(PathBuf),
    /// All images with names in an OCI layout.
    Oci(PathBuf),
    /// All images with names in an archive of an OCI layout.
    OciArchive(PathBuf),
    /// A repository of Podman's storage with all its tags, or one image of it, with or without
    /// `[STORE]` before its name.
    ContainersStorage(String),
    /// What a file says.
    Yaml {
        /// Its content.
        yaml: YamlSource,
        /// How registries are reached where the file does not say.
        endpoint: EndpointOptions,
    },
}

/// The place to which images are synced.
#[derive(Clone, Debug)]
pub struct SyncDestination {
    /// What kind of place it is.
    pub target: SyncTarget,
    /// Registry and path, or a folder.
    pub name: String,
    /// How it is reached.
    pub endpoint: EndpointOptions,
}

/// A kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncTarget {
    /// A registry.
    Docker,
    /// A folder, with a folder for each image.
    Dir,
    /// One OCI layout, with a name for each image.
    Oci,
    /// One archive of an OCI layout, likewise; it is written anew for each image.
    OciArchive,
    /// Podman's storage.
    ContainersStorage,
}

/// How to sync.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    /// Keep the whole name of the source below the destination, not only its last part.
    pub scoped: bool,
    /// What is added to each tag at the destination.
    pub append_suffix: String,
    /// Rules that change names before they are put below the destination, in order.
    pub rename: Vec<Rename>,
    /// Which images of an index.
    pub select: Select,
    /// The format of manifests; `None` keeps what the destination takes.
    pub format: Option<Format>,
    /// Fail rather than change a manifest.
    pub preserve_digests: bool,
    /// Which tags, where all tags of a repository are meant.
    pub filter: TagFilter,
    /// Tags that never change: those that are there are not even asked for.
    pub immutable: Option<TagRegex>,
    /// The part of the work that is done here.
    pub shard: Option<Shard>,
    /// Copy the artifacts that refer to the images.
    pub referrers: bool,
    /// Copy signatures and the like that lie under tags made of digests, whatever `filter` says.
    pub digest_tags: bool,
    /// Remove tags at the destination that the source no longer has; not more than this.
    pub delete: Option<MaxDelete>,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Go on after an image that could not be copied.
    pub keep_going: bool,
    /// Go on where an earlier run of the same sync was cut off.
    pub resume: bool,
    /// How many images are in work at once; `None`: what suits the places.
    pub parallel: Option<NonZeroUsize>,
    /// Trying again.
    pub retry: RetryOptions,
    /// The file that gets a line for each image: its digest and its name at the destination.
    pub digestfile: Option<PathBuf>,
    /// The file that gets a JSON object for each failure, one per line.
    pub failures: Option<PathBuf>,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            scoped: false,
            append_suffix: String::new(),
            rename: Vec::new(),
            select: Select::System,
            format: None,
            preserve_digests: false,
            filter: TagFilter::default(),
            immutable: None,
            shard: None,
            referrers: false,
            digest_tags: false,
            delete: None,
            dry_run: false,
            keep_going: false,
            resume: true,
            parallel: None,
            retry: RetryOptions::default(),
            digestfile: None,
            failures: None,
        }
    }
}

/// How many tags may be removed in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxDelete {
    /// So many.
    Count(usize),
    /// So many of a hundred tags at the destination, and one in any case.
    Percent(u8),
}

impl MaxDelete {
    /// Returns how many of `total` tags may be removed.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => total.saturating_mul(usize::from(percent)).div_ceil(100),
        }
    }
}
