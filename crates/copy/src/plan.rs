//! Plan: pure choice of what moves, in which form, and what changes. Everything that can be refused
//! is refused here, before a byte moves.

use std::collections::BTreeMap;

use dhow_model::{Descriptor, Digest, ImageManifest, Index, ManifestKind, MediaType, convert};
use dhow_transport::{LayerForm, SinkCaps, Slot};

use crate::admit::{Content, Tree};
use crate::error::Frozen;
use crate::report::{PlanSummary, PlannedBlob, PlannedManifest};
use crate::{Error, Format, Options, PlanError};

/// What will happen.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For each manifest of the tree, in its order.
    pub(crate) nodes: Vec<NodePlan>,
    /// The blobs, each digest once, the largest first.
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
    /// For an image: its layers; `None` for one that stays where its URLs say.
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
}

impl BlobPlan {
    pub(crate) fn key(&self) -> BlobKey {
        (self.blob.digest, self.step)
    }
}

/// What is done with a blob on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Nothing: its digest stays.
    Keep,
    /// It is compressed with gzip.
    Gzip,
}

/// What the plan is made from, besides the tree.
#[derive(Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) options: &'a Options,
    pub(crate) caps: &'a SinkCaps,
    /// The digest by which the destination is named.
    pub(crate) destination_digest: Option<Digest>,
}

/// Makes the plan.
pub(crate) fn tree(tree: &Tree, terms: &Terms<'_>) -> Result<Plan, Error> {
    let mut nodes: Vec<NodePlan> = Vec::with_capacity(tree.nodes.len());
    let mut blobs = Blobs::default();
    for node in &tree.nodes {
        let planned = match &node.content {
            Content::Image(image) => terms.image(image, &mut blobs)?,
            Content::Docker1(layers) => terms.docker1(node.raw.kind(), layers, &mut blobs)?,
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
    if let Some(digest) = terms.destination_digest {
        let actual = tree.nodes[tree.root()].raw.digest();
        if digest != actual {
            let error = dhow_transport::Error::new(
                dhow_transport::Kind::DigestMismatch,
                format!(
                    "digest of source image's manifest would not match destination reference: it is {actual}"
                ),
            );
            let hint = "name the destination by a tag, or copy all images with `--all` when the digest is that of the index";
            return Err(Error::destination(
                &digest,
                "store the manifest under this digest",
                error.hint(hint),
            ));
        }
    }
    let mut blobs: Vec<BlobPlan> = blobs.0.into_values().collect();
    blobs.sort_by_key(|planned: &BlobPlan| std::cmp::Reverse(planned.blob.size));
    Ok(Plan { nodes, blobs })
}

/// The blobs of all images, each piece of work once.
#[derive(Debug, Default)]
struct Blobs(BTreeMap<BlobKey, BlobPlan>);

impl Blobs {
    fn add(&mut self, blob: Descriptor, slot: Slot, step: Step) -> Result<BlobKey, PlanError> {
        let key = (blob.digest, step);
        let size = blob.size;
        let known = self.0.entry(key).or_insert(BlobPlan { blob, slot, step });
        match known.blob.size {
            // Schema 1 does not say sizes.
            0 => known.blob.size = size,
            other if size != other && size != 0 => return Err(PlanError::SizesDiffer(key.0)),
            _ => {}
        }
        Ok(key)
    }
}

impl Terms<'_> {
    fn frozen(&self) -> Option<Frozen> {
        if self.options.preserve_digests {
            Some(Frozen::PreserveDigests)
        } else if self.destination_digest.is_some() {
            Some(Frozen::DigestDestination)
        } else {
            None
        }
    }

    fn image(&self, image: &ImageManifest, blobs: &mut Blobs) -> Result<NodePlan, Error> {
        // Only schema 1 has no sizes. Elsewhere a size of 0 would be an invitation without an end.
        let endless = |blob: &&Descriptor| blob.size == 0 && !blob.digest.matches(b"");
        if let Some(blob) = image.blobs().find(endless) {
            return Err(PlanError::NoSize(blob.digest).into());
        }
        let (kind, fallbacks) = self.image_kind(image)?;
        let compress = image.has_image_config()
            && self.caps.layers == LayerForm::Compressed
            && self.frozen().is_none();
        let mut layers = Vec::with_capacity(image.layers.len());
        let mut compressed = 0_usize;
        for (index, layer) in image.layers.iter().enumerate() {
            if keeps_elsewhere(layer, self.caps) {
                layers.push(None);
                continue;
            }
            let step = if compress && gzip_type(&layer.media_type).is_some() {
                compressed += 1;
                Step::Gzip
            } else {
                Step::Keep
            };
            layers.push(Some(blobs.add(
                layer.clone(),
                Slot::Layer { index },
                step,
            )?));
        }
        let mut changes = Vec::new();
        if kind != image.kind {
            changes.push(format!("conversion to `{}`", kind.media_type()));
        }
        if compressed > 0 {
            let plural = if compressed == 1 { "" } else { "s" };
            changes.push(format!(
                "compression of {compressed} uncompressed layer{plural}"
            ));
        }
        // The config of a converted image is made anew, and put when its manifest is.
        let config = if kind == image.kind {
            Some(blobs.add(image.config.clone(), Slot::Config, Step::Keep)?)
        } else {
            None
        };
        let change = (!changes.is_empty()).then(|| changes.join(", "));
        Ok(NodePlan {
            kind,
            fallbacks,
            change,
            entries: Vec::new(),
            layers,
            config,
        })
    }

    /// Chooses the kind of an image: what was asked for, else what it is, else what the
    /// destination takes.
    fn image_kind(
        &self,
        image: &ImageManifest,
    ) -> Result<(ManifestKind, Vec<ManifestKind>), Error> {
        let convertible = |kind: &ManifestKind| convert::check(image, *kind).is_ok();
        let images = [ManifestKind::OciManifest, ManifestKind::Docker2Manifest];
        let wanted = match self.options.format {
            Some(Format::Oci) => ManifestKind::OciManifest,
            Some(Format::Docker2) => ManifestKind::Docker2Manifest,
            None if self.caps.accepts(image.kind) => {
                let fallbacks = match self.frozen() {
                    Some(_) => Vec::new(),
                    None => images
                        .into_iter()
                        .filter(|kind| *kind != image.kind && self.caps.accepts(*kind))
                        .filter(convertible)
                        .collect(),
                };
                return Ok((image.kind, fallbacks));
            }
            None => images
                .into_iter()
                .find(|kind| self.caps.accepts(*kind))
                .ok_or(PlanError::NotAccepted(image.kind))?,
        };
        if wanted != image.kind {
            convert::check(image, wanted)
                .map_err(|source| PlanError::Convert { to: wanted, source })?;
        }
        Ok((wanted, Vec::new()))
    }

    fn docker1(
        &self,
        kind: ManifestKind,
        layers: &[Digest],
        blobs: &mut Blobs,
    ) -> Result<NodePlan, Error> {
        let wanted = match self.options.format {
            Some(Format::Oci) => Some(ManifestKind::OciManifest),
            Some(Format::Docker2) => Some(ManifestKind::Docker2Manifest),
            None if self.caps.accepts(kind) => None,
            None => Some(
                *self
                    .caps
                    .manifests
                    .first()
                    .unwrap_or(&ManifestKind::OciManifest),
            ),
        };
        if let Some(wanted) = wanted {
            return Err(PlanError::Docker1(wanted).into());
        }
        let mut keys = Vec::with_capacity(layers.len());
        for (index, digest) in layers.iter().enumerate() {
            // Schema 1 does not say how large its layers are.
            let blob = Descriptor::new(MediaType::DOCKER2_LAYER_GZIP, *digest, 0);
            keys.push(Some(blobs.add(blob, Slot::Layer { index }, Step::Keep)?));
        }
        Ok(NodePlan {
            kind,
            fallbacks: Vec::new(),
            change: None,
            entries: Vec::new(),
            layers: keys,
            config: None,
        })
    }

    fn index(
        &self,
        index: &Index,
        members: &[Option<usize>],
        planned: &[NodePlan],
    ) -> Result<NodePlan, Error> {
        let (kind, fallbacks) = self.index_kind(index)?;
        let all = members.len();
        let entries: Vec<usize> = if self.options.strip_removed_platforms {
            (0..all).filter(|place| members[*place].is_some()).collect()
        } else {
            (0..all).collect()
        };
        let sparse = entries.iter().any(|place| members[*place].is_none());
        if sparse && !self.caps.sparse_index {
            return Err(PlanError::NoSparseIndexes.into());
        }
        let mut changes = Vec::new();
        if kind != index.kind {
            changes.push(format!("conversion to `{}`", kind.media_type()));
        }
        if entries.len() < all {
            changes.push(format!("{} of {all} entries removed", all - entries.len()));
        }
        let changed = members
            .iter()
            .flatten()
            .filter(|node| planned[**node].change.is_some());
        match changed.count() {
            0 => {}
            1 => changes.push("one of its manifests changes".to_owned()),
            count => changes.push(format!("{count} of its manifests change")),
        }
        let change = (!changes.is_empty()).then(|| changes.join(", "));
        Ok(NodePlan {
            kind,
            fallbacks,
            change,
            entries,
            layers: Vec::new(),
            config: None,
        })
    }

    fn index_kind(&self, index: &Index) -> Result<(ManifestKind, Vec<ManifestKind>), Error> {
        if !self.caps.accepts_indexes() {
            return Err(PlanError::NoIndexes.into());
        }
        let mut taken = [
            index.kind,
            ManifestKind::OciIndex,
            ManifestKind::Docker2List,
        ]
        .into_iter()
        .filter(|kind| self.caps.accepts(*kind));
        Ok(match self.options.format {
            Some(Format::Oci) => (ManifestKind::OciIndex, Vec::new()),
            Some(Format::Docker2) => (ManifestKind::Docker2List, Vec::new()),
            None => {
                let kind = taken.next().ok_or(PlanError::NoIndexes)?;
                let fallbacks = match self.frozen() {
                    Some(_) => Vec::new(),
                    None => taken.filter(|other| *other != kind).collect(),
                };
                (kind, fallbacks)
            }
        })
    }
}

impl Plan {
    /// Returns the plan as it is shown.
    pub(crate) fn summary(&self, tree: &Tree) -> PlanSummary {
        let manifests = tree
            .nodes
            .iter()
            .zip(&self.nodes)
            .map(|(node, planned)| PlannedManifest {
                source_digest: node.raw.digest(),
                media_type: planned.kind.media_type(),
                platform: node.platform.clone(),
                change: planned.change.clone(),
                size: node.raw.bytes().len() as u64,
            });
        let blobs = self.blobs.iter().map(|planned| PlannedBlob {
            digest: planned.blob.digest,
            size: planned.blob.size,
            media_type: planned.blob.media_type.clone(),
            present: None,
        });
        PlanSummary {
            manifests: manifests.collect(),
            blobs: blobs.collect(),
        }
    }
}

/// Returns whether a layer stays where its URLs say, and is not copied.
pub(crate) fn keeps_elsewhere(layer: &Descriptor, caps: &SinkCaps) -> bool {
    caps.foreign_layers && !layer.urls.is_empty() && layer.media_type.is_foreign_layer()
}

/// Returns the type of an uncompressed layer once it is compressed.
pub(crate) fn gzip_type(media_type: &MediaType) -> Option<MediaType> {
    [
        (MediaType::OCI_LAYER, MediaType::OCI_LAYER_GZIP),
        (
            MediaType::OCI_FOREIGN_LAYER,
            MediaType::OCI_FOREIGN_LAYER_GZIP,
        ),
        (MediaType::DOCKER2_LAYER, MediaType::DOCKER2_LAYER_GZIP),
        (
            MediaType::DOCKER2_FOREIGN_LAYER,
            MediaType::DOCKER2_FOREIGN_LAYER_GZIP,
        ),
    ]
    .into_iter()
    .find(|(plain, _)| plain == media_type)
    .map(|(_, packed)| packed)
}
