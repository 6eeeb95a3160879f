//! Assemble: makes the bytes of a manifest that changes, from what became of its parts. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use dhow_model::convert::{self, ConvertError, Converted};
use dhow_model::{Descriptor, Digest, ImageManifest, Index, ManifestKind, RawManifest};
use dhow_transport::Placed;

use crate::admit::{Content, Tree};
use crate::plan::{BlobKey, NodePlan, Plan, Step, gzip_type};

/// Returns an image's manifest in the kind `to`, and its config if that is new.
pub(crate) fn image(
    raw: &RawManifest,
    image: &ImageManifest,
    plan: &NodePlan,
    config: Option<&Bytes>,
    placed: &BTreeMap<BlobKey, Placed>,
    to: ManifestKind,
) -> Result<Converted, ConvertError> {
    let layers: Vec<Descriptor> = image
        .layers
        .iter()
        .zip(&plan.layers)
        .map(|(layer, key)| match key.and_then(|key| placed.get(&key)) {
            Some(now) if now.digest != layer.digest => {
                let packed = gzip_type(&layer.media_type);
                let media_type = packed.unwrap_or_else(|| layer.media_type.clone());
                Descriptor::new(media_type, now.digest, now.size)
            }
            _ => layer.clone(),
        })
        .collect();
    if to == image.kind && layers == image.layers {
        return Ok(Converted {
            manifest: raw.clone(),
            config: None,
        });
    }
    let config = config.map(Bytes::as_ref).unwrap_or_default();
    convert::image(raw, image, config, &layers, to)
}

/// Returns an index that lists what its entries have become.
pub(crate) fn index(
    raw: &RawManifest,
    index: &Index,
    members: &[Option<usize>],
    plan: &NodePlan,
    published: &[Option<Descriptor>],
    to: ManifestKind,
) -> Result<RawManifest, ConvertError> {
    let entries: Vec<Descriptor> = plan
        .entries
        .iter()
        .map(|place| {
            let mut entry = index.entries[*place].clone();
            let now = members[*place].and_then(|node| published.get(node)?.as_ref());
            if let Some(now) = now {
                entry.media_type = now.media_type.clone();
                entry.digest = now.digest;
                entry.size = now.size;
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
    configs: &BTreeMap<Digest, Bytes>,
) -> Result<Option<Descriptor>, ConvertError> {
    if plan.blobs.iter().any(|planned| planned.step == Step::Gzip) {
        return Ok(None);
    }
    let nothing = BTreeMap::new();
    let mut made: Vec<Option<Descriptor>> = Vec::with_capacity(tree.nodes.len());
    for (node, plan) in tree.nodes.iter().zip(&plan.nodes) {
        let manifest = match &node.content {
            Content::Docker1(_) => node.raw.clone(),
            Content::Index(view, members) => {
                index(&node.raw, view, members, plan, &made, plan.kind)?
            }
            Content::Image(view) => {
                let config = configs.get(&view.config.digest);
                image(&node.raw, view, plan, config, &nothing, plan.kind)?.manifest
            }
        };
        made.push(Some(manifest.descriptor()));
    }
    Ok(made.pop().flatten())
}
