//! What came of a copy, and what a plan says before it is carried out.

use dhow_model::{Digest, MediaType, Platform};

/// The result of a copy.
#[derive(Clone, Debug)]
pub struct Report {
    /// The digest of the root as it is at the destination.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// How many images were copied (1 for an image, n for an index; 0 when nothing was to be done).
    pub images: usize,
    /// Blobs and bytes whose content was sent.
    pub sent: Tally,
    /// Blobs and bytes that were there.
    pub reused: Tally,
    /// Blobs and bytes that the registry mounted from another repository.
    pub mounted: Tally,
    /// The destination had all of it under this name: nothing was read, and nothing written.
    pub unchanged: bool,
    /// Where the image was really read from, when that is not the place that was named: a mirror,
    /// or what registries.conf puts in its stead.
    pub served_by: Option<String>,
    /// The plan, when the copy was a dry run.
    pub plan: Option<PlanSummary>,
}

/// A number of blobs and of their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many blobs.
    pub blobs: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// A plan, as it is shown.
#[derive(Clone, Debug)]
pub struct PlanSummary {
    /// The manifests to be written, images first, the root last.
    pub manifests: Vec<PlannedManifest>,
    /// The blobs, each digest once, the largest first.
    pub blobs: Vec<PlannedBlob>,
}

/// A manifest of a plan.
#[derive(Clone, Debug)]
pub struct PlannedManifest {
    /// Its digest at the source.
    pub source_digest: Digest,
    /// Its media type at the destination.
    pub media_type: MediaType,
    /// What it runs on, if known.
    pub platform: Option<Platform>,
    /// Why its bytes change; `None` when they are written as they are.
    pub change: Option<String>,
    /// Its size in bytes at the source.
    pub size: u64,
}

/// A blob of a plan.
#[derive(Clone, Debug)]
pub struct PlannedBlob {
    /// Its digest at the source.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type at the source.
    pub media_type: MediaType,
    /// It is at the destination already. Known in a dry run only.
    pub present: Option<bool>,
}
