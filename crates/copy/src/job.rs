//! What to copy and how: the typed form of the command line.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use dhow_model::{Platform, Reference};
use dhow_transport::Location;

/// One copy: from a location to a location.
#[derive(Clone, Debug)]
pub struct Job {
    /// Where the image is.
    pub source: Arc<dyn Location>,
    /// Where it is to be.
    pub destination: Arc<dyn Location>,
    /// How to copy it.
    pub options: Options,
}

/// How to copy.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which images of an index to copy.
    pub select: Select,
    /// The platform that `Select::System` means, and that an index is resolved to.
    pub platform: dhow_model::PlatformWish,
    /// Rewrite the index so that it lists only what was copied.
    pub strip_removed_platforms: bool,
    /// Fail rather than change a manifest.
    pub preserve_digests: bool,
    /// The format of the copied manifests; `None` keeps what the destination takes.
    pub format: Option<Format>,
    /// Make a plan and report it; change nothing.
    pub dry_run: bool,
    /// The most blobs of this copy in flight at once.
    pub parallel: NonZeroUsize,
    /// How often a blob or request is tried again after a failure that may pass.
    pub retries: u32,
    /// The wait before trying again; `None` starts at one second and doubles.
    pub retry_delay: Option<Duration>,
    /// Other repositories of the destination's registry where blobs may be mounted from.
    pub mount_from: Vec<Reference>,
}

/// Which images of an index to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// The one for this system (or the platform that was asked for).
    System,
    /// The index and all its images.
    All,
    /// The index alone.
    IndexOnly,
    /// The index and the images for these platforms.
    Platforms(Vec<Platform>),
}

/// The format of manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OCI image manifests and indexes.
    Oci,
    /// Docker schema 2 manifests and lists.
    Docker2,
}
