//! Assemble: what a manifest says of its parts, from what became of them. Pure.

use std::collections::BTreeMap;

use dhow_model::convert::{self, ConvertError};
use dhow_model::{
    Compression, Descriptor, Digest, ImageManifest, Index, ManifestKind, MediaType, RawManifest,
};

use crate::admit::{Content, Tree};
use crate::plan::{BlobKey, NodePlan, Plan, Step, retyped};
use crate::transfer::Arrival;

/// A manifest of an index that has been written.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// What it is at the destination.
    pub(crate) manifest: Descriptor,
    /// It has layers that were compressed with zstd on the way.
    pub(crate) zstd: bool,
}

/// Returns the layers of an image as they are at the destination, in an image of kind `to`.
pub(crate) fn layers(
    image: &ImageManifest,
    held: Option<&[Descriptor]>,
    plan: &NodePlan,
    placed: &BTreeMap<BlobKey, Arrival>,
    to: ManifestKind,
) -> Vec<Descriptor> {
    let arrivals: Vec<Option<&Arrival>> = plan
        .layers
        .iter()
        .map(|key| key.and_then(|key| placed.get(&key)))
        .collect();
    let held = held
        .filter(|_| plan.change.is_some())
        .unwrap_or(&image.layers);
    let layer = |(held, arrival): (&Descriptor, Option<&Arrival>)| {
        let Some((arrival, form)) = arrival.and_then(|found| Some((found, found.form.as_ref()?)))
        else {
            return held.clone();
        };
        let media_type = retyped(&held.media_type, form.compression, to);
        Descriptor {
            annotations: form.annotations.clone(),
            ..Descriptor::new(
                media_type.unwrap_or_else(|| held.media_type.clone()),
                arrival.placed.digest,
                arrival.placed.size,
            )
        }
    };
    held.iter().zip(arrivals).map(layer).collect()
}

/// Returns a layer of a schema 1 image, which says no types, as it is at the destination.
pub(crate) fn docker1_layer(arrival: &Arrival) -> Descriptor {
    let compression = match &arrival.form {
        None => Some(Compression::Gzip),
        Some(form) => form.compression,
    };
    let media_type = match compression {
        None => MediaType::DOCKER2_LAYER,
        Some(Compression::Zstd) => MediaType::DOCKER2_LAYER_ZSTD,
        Some(_) => MediaType::DOCKER2_LAYER_GZIP,
    };
    let form = arrival.form.as_ref();
    Descriptor {
        annotations: form
            .map(|form| form.annotations.clone())
            .unwrap_or_default(),
        ..Descriptor::new(media_type, arrival.placed.digest, arrival.placed.size)
    }
}

/// Returns an index that lists what its entries have become.
pub(crate) fn index(
    raw: &RawManifest,
    index: &Index,
    members: &[Option<usize>],
    plan: &NodePlan,
    published: &[Option<Member>],
    to: ManifestKind,
) -> Result<RawManifest, ConvertError> {
    let entries: Vec<Descriptor> = plan
        .entries
        .iter()
        .map(|place| {
            let mut entry = index.entries[*place].clone();
            let now = members[*place].and_then(|node| published.get(node)?.as_ref());
            if let Some(Member { manifest, zstd }) = now {
                entry.media_type = manifest.media_type.clone();
                entry.digest = manifest.digest;
                entry.size = manifest.size;
                if *zstd && to == ManifestKind::OciIndex {
                    // COMPAT(skopeo): clients that know zstd prefer such an entry.
                    entry.annotations.insert(ZSTD, "true");
                }
            }
            entry
        })
        .collect();
    if to == index.kind && entries == index.entries {
        return Ok(raw.clone());
    }
    convert::index(raw, &entries, to)
}

/// Returns what the root will be, if that can be known before anything moves.
pub(crate) fn preview(
    tree: &Tree,
    plan: &Plan,
    configs: &BTreeMap<Digest, bytes::Bytes>,
) -> Result<Option<Descriptor>, ConvertError> {
    let known = |node: &NodePlan| !(node.kind.is_docker1() && node.change.is_some());
    if plan.blobs.iter().any(|planned| planned.step != Step::Keep) || !plan.nodes.iter().all(known)
    {
        return Ok(None);
    }
    let nothing = BTreeMap::new();
    let mut made: Vec<Option<Member>> = Vec::with_capacity(tree.nodes.len());
    for (node, plan) in tree.nodes.iter().zip(&plan.nodes) {
        let manifest = match &node.content {
            Content::Docker1(_) if plan.kind.is_docker1() => node.raw.clone(),
            Content::Docker1(_) => return Ok(None),
            Content::Index(view, members) => {
                index(&node.raw, view, members, plan, &made, plan.kind)?
            }
            Content::Image(view) => {
                let layers = layers(view, node.held.as_deref(), plan, &nothing, plan.kind);
                let config = configs.get(&view.config.digest);
                let config = config.map(AsRef::as_ref).unwrap_or_default();
                convert::image(&node.raw, view, config, &layers, plan.kind)?.manifest
            }
        };
        made.push(Some(Member {
            manifest: manifest.descriptor(),
            zstd: false,
        }));
    }
    Ok(made.pop().flatten().map(|root| root.manifest))
}

/// The annotation of an index's entry whose layers are compressed with zstd.
const ZSTD: &str = "io.github.containers.compression.zstd";
