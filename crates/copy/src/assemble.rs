//! Assemble: makes the bytes of a manifest that changes, from what became of its parts. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use dhow_model::convert::{self, ConvertError, Converted};
use dhow_model::{Descriptor, Digest, ImageManifest, Index, ManifestKind, RawManifest};
use dhow_transport::Placed;

use crate::plan::{NodePlan, gzip_type};

/// Returns an image's manifest in the kind `to`, and its config if that is new.
pub(crate) fn image(
    raw: &RawManifest,
    image: &ImageManifest,
    config: Option<&Bytes>,
    placed: &BTreeMap<Digest, Placed>,
    to: ManifestKind,
) -> Result<Converted, ConvertError> {
    let layers: Vec<Descriptor> = image
        .layers
        .iter()
        .map(|layer| match placed.get(&layer.digest) {
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
    if plan.kind == index.kind && entries == index.entries {
        return Ok(raw.clone());
    }
    convert::index(raw, &entries, plan.kind)
}
