//! What becomes of a Docker schema 1 image.

use dhow_model::manifest::Docker1Manifest;
use dhow_model::{Descriptor, ManifestKind, MediaType, Reference};
use dhow_transport::Slot;

use super::{BlobPlan, Blobs, NodePlan, Step, Terms};
use crate::{Error, Format, PlanError};

impl Terms<'_> {
    /// Plans a schema 1 image. Converted, it needs the digest of the content of each layer, which
    /// nobody knows before the layer has passed.
    pub(super) fn docker1(
        &self,
        kind: ManifestKind,
        image: &Docker1Manifest,
        blobs: &mut Blobs,
    ) -> Result<NodePlan, Error> {
        let to = self.docker1_kind(kind)?;
        let converts = !to.is_docker1();
        let mut layers = Vec::with_capacity(image.layers.len());
        for (index, digest) in image.layers.iter().enumerate() {
            let empty = image.history.get(index).is_some_and(|step| step.throwaway);
            if converts && empty {
                layers.push(None);
                continue;
            }
            // Schema 1 does not say how large its layers are.
            let blob = Descriptor::new(MediaType::DOCKER2_LAYER_GZIP, *digest, 0);
            let step = match self.step(&blob, kind, to) {
                _ if !converts => Step::Keep,
                Step::Keep => Step::Learn,
                step => step,
            };
            let planned = BlobPlan::kept(blob, Slot::Layer { index }, step);
            layers.push(Some(blobs.add(BlobPlan {
                stays: step.keeps_bytes(),
                ..planned
            })?));
        }
        let change = if converts {
            Some(format!("conversion to `{}`", to.media_type()))
        } else {
            self.other_name(image)
                .map(|(name, tag)| format!("the name in it becomes `{name}:{tag}`"))
        };
        Ok(NodePlan {
            kind: to,
            fallbacks: Vec::new(),
            change,
            entries: Vec::new(),
            layers,
            config: None,
        })
    }

    fn docker1_kind(&self, kind: ManifestKind) -> Result<ManifestKind, Error> {
        let demanding = self.demanding();
        let wanted = match self.options.format {
            Some(Format::Docker1) => kind,
            Some(format) => format.image(),
            None if self.caps.accepts(kind) && demanding.is_none() => kind,
            None => {
                let images = [ManifestKind::OciManifest, ManifestKind::Docker2Manifest];
                let wanted = images
                    .into_iter()
                    .filter(|kind| demanding.is_none() || *kind == ManifestKind::OciManifest)
                    .find(|kind| self.caps.accepts(*kind));
                wanted.ok_or(PlanError::NotAccepted(kind))?
            }
        };
        if !self.can_hold(wanted) {
            return Err(PlanError::CannotHold {
                wanted,
                taken: self.caps.manifests.clone(),
            }
            .into());
        }
        if let Some(format) = demanding.filter(|_| wanted != ManifestKind::OciManifest) {
            return Err(PlanError::Compression {
                format,
                wanted: Some(wanted),
            }
            .into());
        }
        Ok(wanted)
    }

    /// Returns the name and tag that a schema 1 manifest must have where it goes, when it has
    /// others: registries look at them.
    fn other_name(&self, image: &Docker1Manifest) -> Option<(String, String)> {
        let destination = self.destination.filter(|name| name.digest.is_none())?;
        let (name, tag) = docker1_name(destination);
        (image.name != name || image.tag != tag).then_some((name, tag))
    }
}

/// Returns name and tag as a schema 1 manifest at this place has them.
pub(crate) fn docker1_name(reference: &Reference) -> (String, String) {
    let tag = reference.tag.as_ref().map(ToString::to_string);
    (
        reference.repository.path().to_owned(),
        tag.unwrap_or_default(),
    )
}
