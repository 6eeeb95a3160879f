//! What to copy and how: the typed form of the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dhow_codec::Packing;
use dhow_model::{ManifestKind, Platform, PlatformWish, Reference};
use dhow_transport::{LayerForm, Location};

use crate::{Batch, BlobCache};

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
    pub platform: PlatformWish,
    /// Rewrite the index so that it lists only what was copied.
    pub strip_removed_platforms: bool,
    /// Fail rather than change a manifest.
    pub preserve_digests: bool,
    /// The format of the copied manifests; `None` keeps what the destination takes.
    pub format: Option<Format>,
    /// How layers are to arrive.
    pub layers: LayerOptions,
    /// Where big temporary files go.
    pub tmp: PathBuf,
    /// What is known of blobs from earlier copies.
    pub cache: BlobCache,
    /// Make a plan and report it; change nothing.
    pub dry_run: bool,
    /// The most blobs of this copy in flight at once; `None`: as many as bring something.
    pub parallel: Option<NonZeroUsize>,
    /// How often a blob or request is tried again after a failure that may pass.
    pub retries: u32,
    /// The wait before trying again; `None` starts at one second and doubles.
    pub retry_delay: Option<Duration>,
    /// Other repositories of the destination's registry where blobs may be mounted from.
    pub mount_from: Vec<Reference>,
    /// What is known of the destination's name before it is asked.
    pub standing: Standing,
    /// What other copies to the same registry or layout know and do.
    pub batch: Option<Arc<Batch>>,
}

/// What is known of the destination's name, from a list for example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    #[default]
    Unknown,
    /// Nothing stands under it: it need not be asked for.
    Absent,
    /// Something does, and likely the same as at the source: both are asked for the digest.
    Present,
}

/// How layers are to arrive. By default as the destination wants them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerOptions {
    /// In which form they are wanted, in place of what the destination says of itself.
    pub form: Option<LayerForm>,
    /// The compression wanted where layers are compressed; `None`: gzip for layers that are not
    /// compressed yet, and the others as they are.
    pub packing: Option<Packing>,
    /// Take no blob that the destination has in another compression.
    pub force_packing: bool,
    /// Find out the digest of what is compressed on the way before it is sent, so that it need not
    /// be sent when it is there.
    pub precompute_digests: bool,
}

impl Default for Options {
    /// Returns options that change nothing that need not change, for Linux on AMD64.
    fn default() -> Self {
        Self {
            select: Select::System,
            platform: PlatformWish::new("linux", "amd64", None),
            strip_removed_platforms: false,
            preserve_digests: false,
            format: None,
            layers: LayerOptions::default(),
            tmp: PathBuf::from("/var/tmp"),
            cache: BlobCache::off(),
            dry_run: false,
            parallel: None,
            retries: 0,
            retry_delay: None,
            mount_from: Vec::new(),
            standing: Standing::Unknown,
            batch: None,
        }
    }
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
    /// Signed Docker schema 1 manifests.
    Docker1,
}

impl Format {
    /// Returns the kind of an image in this format.
    pub(crate) const fn image(self) -> ManifestKind {
        match self {
            Self::Oci => ManifestKind::OciManifest,
            Self::Docker2 => ManifestKind::Docker2Manifest,
            Self::Docker1 => ManifestKind::Docker1Signed,
        }
    }

    /// Returns the kind of an index in this format.
    pub(crate) const fn index(self) -> ManifestKind {
        match self {
            Self::Oci => ManifestKind::OciIndex,
            // COMPAT(skopeo): schema 1 has no lists; its images can stand in a list of schema 2.
            Self::Docker2 | Self::Docker1 => ManifestKind::Docker2List,
        }
    }
}
