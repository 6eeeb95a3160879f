//! What becomes of an OCI or Docker schema 2 image.

use std::collections::BTreeMap;

use dhow_model::{Descriptor, ImageManifest, ManifestKind, MediaType, convert};
use dhow_transport::{SinkCaps, Slot};

use super::step::{Step, type_after};
use super::{BlobPlan, Blobs, NodePlan, Terms};
use crate::{Error, Format, PlanError};

impl Terms<'_> {
    /// Plans an image whose layers the source holds as `held`.
    pub(super) fn image(
        &self,
        image: &ImageManifest,
        held: &[Descriptor],
        blobs: &mut Blobs,
    ) -> Result<NodePlan, Error> {
        // Only schema 1 has no sizes. Elsewhere a size of 0 would be an invitation without an end.
        let endless = |blob: &&Descriptor| blob.size == 0 && !blob.digest.matches(b"");
        if let Some(blob) = image.blobs().chain(held).find(endless) {
            return Err(PlanError::NoSize(blob.digest).into());
        }
        let mut kinds = self.image_kinds(image)?.into_iter();
        let kind = kinds.next().ok_or(PlanError::NotAccepted(image.kind))?;
        let steps = self.steps(image, held, kind);
        check(image, held, &steps, kind)?;
        // A manifest that is refused must not mean that a blob moves again.
        let fallbacks = kinds
            .filter(|other| self.frozen().is_none() && self.steps(image, held, *other) == steps)
            .filter(|other| check(image, held, &steps, *other).is_ok())
            .collect();
        let mut layers = Vec::with_capacity(held.len());
        for (index, (layer, step)) in held.iter().zip(&steps).enumerate() {
            layers.push(match step {
                Some(step) => Some(blobs.add(BlobPlan {
                    stays: self.stays(layer, *step, image.kind, kind),
                    ..BlobPlan::kept(layer.clone(), Slot::Layer { index }, *step)
                })?),
                None => None,
            });
        }
        // The config of a converted image is made anew, and put when its manifest is.
        let config = if kind == image.kind {
            let config = BlobPlan::kept(image.config.clone(), Slot::Config, Step::Keep);
            Some(blobs.add(config)?)
        } else {
            None
        };
        Ok(NodePlan {
            kind,
            fallbacks,
            change: self.change(image, held, kind, &steps),
            entries: Vec::new(),
            layers,
            config,
        })
    }

    /// Returns what is done with each layer; `None` for one that is not copied.
    fn steps(
        &self,
        image: &ImageManifest,
        held: &[Descriptor],
        to: ManifestKind,
    ) -> Vec<Option<Step>> {
        let step = |layer: &Descriptor| {
            if keeps_elsewhere(layer, self.caps) {
                None
            } else if image.has_image_config() {
                Some(self.step(layer, image.kind, to))
            } else {
                Some(Step::Keep)
            }
        };
        held.iter().map(step).collect()
    }

    /// Returns the kinds that the image may have, the first to try first: what was asked for, else
    /// what it is, else what the destination takes.
    fn image_kinds(&self, image: &ImageManifest) -> Result<Vec<ManifestKind>, Error> {
        let mut kinds = match self.options.format {
            Some(format) => {
                let wanted = format.image();
                if !self.can_hold(wanted) {
                    return Err(PlanError::CannotHold {
                        wanted,
                        taken: self.caps.manifests.clone(),
                    }
                    .into());
                }
                vec![wanted]
            }
            None => self.taken(image.kind),
        };
        if let Some(format) = self.demanding().filter(|_| image.has_image_config()) {
            kinds.retain(|kind| *kind == ManifestKind::OciManifest);
            if kinds.is_empty() {
                return Err(PlanError::Compression {
                    format,
                    wanted: self.options.format.map(Format::image),
                }
                .into());
            }
        }
        Ok(kinds)
    }

    /// Returns the kinds of image that the destination takes, that of the source first.
    fn taken(&self, source: ManifestKind) -> Vec<ManifestKind> {
        let images = [ManifestKind::OciManifest, ManifestKind::Docker2Manifest];
        std::iter::once(source)
            .chain(images.into_iter().filter(|kind| *kind != source))
            .filter(|kind| self.caps.accepts(*kind))
            .collect()
    }

    /// Returns why the manifest changes, if it does.
    fn change(
        &self,
        image: &ImageManifest,
        held: &[Descriptor],
        to: ManifestKind,
        steps: &[Option<Step>],
    ) -> Option<String> {
        let mut changes = Vec::new();
        if image.kind != to {
            changes.push(format!("conversion to `{}`", to.media_type()));
        }
        // Where nothing may change, layers are called what they were called.
        let types = held.iter().zip(&image.layers);
        let wrong = types
            .filter(|(held, named)| held.media_type != named.media_type)
            .count();
        if wrong > 0 && self.frozen().is_none() {
            let plural = if wrong == 1 { "" } else { "s" };
            changes.push(format!("the right type{plural} for {wrong} layer{plural}"));
        }
        let mut counted: BTreeMap<Step, usize> = BTreeMap::new();
        for step in steps.iter().flatten() {
            *counted.entry(*step).or_default() += 1;
        }
        changes.extend(
            counted
                .into_iter()
                .filter_map(|(step, count)| step.change(count)),
        );
        (!changes.is_empty()).then(|| changes.join(", "))
    }
}

/// Checks that the image can become one of kind `to`, with its layers as they will be.
fn check(
    image: &ImageManifest,
    held: &[Descriptor],
    steps: &[Option<Step>],
    to: ManifestKind,
) -> Result<(), PlanError> {
    let mut types: Vec<MediaType> = Vec::with_capacity(held.len());
    for (layer, step) in held.iter().zip(steps) {
        let step = step.unwrap_or(Step::Keep);
        types.push(match type_after(&layer.media_type, step, to) {
            Some(media_type) => media_type,
            None => {
                return Err(PlanError::NoLayerType {
                    layer: layer.media_type.clone(),
                    to,
                });
            }
        });
    }
    convert::check(image, &types, to).map_err(|source| PlanError::Convert { to, source })
}

/// Returns whether a layer stays where its URLs say, and is not copied.
pub(super) fn keeps_elsewhere(layer: &Descriptor, caps: &SinkCaps) -> bool {
    caps.foreign_layers && !layer.urls.is_empty() && layer.media_type.is_foreign_layer()
}
