//! Plan: pure choice of what moves, in which form, and what changes. Everything that can be refused
//! is refused here, before a byte moves.

mod docker1;
mod image;
mod index;
mod step;
mod summary;

use std::collections::BTreeMap;

use dhow_model::{Descriptor, Digest, ManifestKind, Reference};
use dhow_transport::{SinkCaps, Slot};

use crate::admit::{Content, Tree};
use crate::error::Frozen;
use crate::{Error, Options, PlanError};

pub(crate) use docker1::docker1_name;
pub(crate) use step::{Step, retyped};

/// What will happen.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For each manifest of the tree, in its order.
    pub(crate) nodes: Vec<NodePlan>,
    /// The blobs, each piece of work once, in the order in which they are to move.
    pub(crate) blobs: Vec<BlobPlan>,
}

/// What becomes of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    /// The kind it is written as.
    pub(crate) kind: ManifestKind,
    /// The kinds to try when the destination refuses that one.
    pub(crate) fallbacks: Vec<ManifestKind>,
    /// Why its bytes change; `None`: they are written as they are.
    pub(crate) change: Option<String>,
    /// For an index: the places of the entries that stay.
    pub(crate) entries: Vec<usize>,
    /// For an image: its layers; `None` for one that stays where its URLs say, or that is not
    /// needed in another format.
    pub(crate) layers: Vec<Option<BlobKey>>,
    /// For an image whose config is stored as it is: the config.
    pub(crate) config: Option<BlobKey>,
}

impl NodePlan {
    /// Returns the blobs that it needs at the destination.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &BlobKey> {
        self.layers.iter().flatten().chain(&self.config)
    }
}

/// What identifies a piece of work: the same blob may be kept in one image and compressed in
/// another, which calls it by another type.
pub(crate) type BlobKey = (Digest, Step);

/// What becomes of a blob.
#[derive(Clone, Debug)]
pub(crate) struct BlobPlan {
    /// The blob at the source.
    pub(crate) blob: Descriptor,
    /// What it is in the first image that lists it.
    pub(crate) slot: Slot,
    /// What is done on the way.
    pub(crate) step: Step,
    /// It may also be taken as it is, where the destination has it.
    pub(crate) stays: bool,
}

impl BlobPlan {
    /// Returns a blob that keeps its bytes.
    const fn kept(blob: Descriptor, slot: Slot, step: Step) -> Self {
        Self {
            blob,
            slot,
            step,
            stays: true,
        }
    }

    pub(crate) fn key(&self) -> BlobKey {
        (self.blob.digest, self.step)
    }
}

/// What the plan is made from, besides the tree.
#[derive(Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) options: &'a Options,
    pub(crate) caps: &'a SinkCaps,
    /// The name of the destination in a registry, if it has one.
    pub(crate) destination: Option<&'a Reference>,
}

/// Makes the plan.
pub(crate) fn tree(tree: &Tree, terms: &Terms<'_>) -> Result<Plan, Error> {
    let mut nodes: Vec<NodePlan> = Vec::with_capacity(tree.nodes.len());
    let mut blobs = Blobs::default();
    for node in &tree.nodes {
        let planned = match &node.content {
            Content::Image(image) => {
                let held = node.held.as_ref().unwrap_or(&image.layers);
                terms.image(image, held, &mut blobs)?
            }
            Content::Docker1(image) => terms.docker1(node.raw.kind(), image, &mut blobs)?,
            Content::Index(index, members) => terms.index(index, members, &nodes)?,
        };
        if let (Some(change), Some(frozen)) = (&planned.change, terms.frozen()) {
            return Err(PlanError::Frozen {
                change: change.clone(),
                frozen,
            }
            .into());
        }
        nodes.push(planned);
    }
    if let Some(digest) = terms.destination.and_then(|name| name.digest) {
        let actual = tree.nodes[tree.root()].raw.digest();
        check_destination(digest, actual)?;
    }
    Ok(Plan {
        nodes,
        blobs: blobs.sorted(terms.caps.in_order),
    })
}

/// Checks that the digest in the destination's name is that of the root.
fn check_destination(digest: Digest, actual: Digest) -> Result<(), Error> {
    if digest == actual {
        return Ok(());
    }
    let error = dhow_transport::Error::new(
        dhow_transport::Kind::DigestMismatch,
        format!(
            "digest of source image's manifest would not match destination reference: it is {actual}"
        ),
    );
    let hint = "name the destination by a tag, or copy all images with `--all` when the digest is that of the index";
    Err(Error::destination(
        &digest,
        "store the manifest under this digest",
        error.hint(hint),
    ))
}

/// The blobs of all images, each piece of work once.
#[derive(Debug, Default)]
struct Blobs(BTreeMap<BlobKey, BlobPlan>);

impl Blobs {
    fn add(&mut self, planned: BlobPlan) -> Result<BlobKey, PlanError> {
        let (key, size, stays) = (planned.key(), planned.blob.size, planned.stays);
        let known = self.0.entry(key).or_insert(planned);
        known.stays &= stays;
        match known.blob.size {
            // Schema 1 does not say sizes.
            0 => known.blob.size = size,
            other if size != other && size != 0 => return Err(PlanError::SizesDiffer(key.0)),
            _ => {}
        }
        Ok(key)
    }

    /// Returns the blobs, the largest first, or in the order of the manifest.
    fn sorted(self, in_order: bool) -> Vec<BlobPlan> {
        let mut blobs: Vec<BlobPlan> = self.0.into_values().collect();
        if in_order {
            blobs.sort_by_key(|planned| match planned.slot {
                Slot::Layer { index } => index,
                Slot::Config | Slot::Other => usize::MAX,
            });
        } else {
            blobs.sort_by_key(|planned: &BlobPlan| std::cmp::Reverse(planned.blob.size));
        }
        blobs
    }
}

impl Terms<'_> {
    fn frozen(&self) -> Option<Frozen> {
        if self.options.preserve_digests {
            Some(Frozen::PreserveDigests)
        } else if self.destination.is_some_and(|name| name.digest.is_some()) {
            Some(Frozen::DigestDestination)
        } else {
            None
        }
    }

    /// Returns whether a destination that is asked for a kind of manifest can hold it.
    fn can_hold(&self, kind: ManifestKind) -> bool {
        // COMPAT(skopeo): a layout takes Docker's manifests when they are asked for by name.
        let forced = !self.caps.strict && !kind.is_docker1();
        forced || self.caps.accepts(kind)
    }
}
