//! Make: the bytes of one manifest, and the blobs that have to be made with it.

use std::collections::BTreeMap;

use bytes::Bytes;
use dhow_model::convert::{self, ConvertError};
use dhow_model::manifest::{Docker1Manifest, docker1_renamed, docker1_signed};
use dhow_model::{
    Admitted, Compression, Descriptor, ImageManifest, ManifestKind, MediaType, RawManifest,
};
use dhow_transport::Slot;

use crate::admit::{Content, Node};
use crate::assemble::{self, Member};
use crate::plan::{BlobKey, NodePlan, docker1_name};
use crate::run::Work;
use crate::transfer::Arrival;
use crate::{Error, PlanError, survey};

/// What a manifest is made from.
pub(crate) struct Parts<'a> {
    pub(crate) work: &'a Work,
    pub(crate) node: usize,
    pub(crate) placed: &'a BTreeMap<BlobKey, Arrival>,
    pub(crate) published: &'a [Option<Member>],
}

/// A manifest that was made, with the blobs that were made for it.
pub(crate) struct Made {
    pub(crate) manifest: RawManifest,
    pub(crate) blobs: Vec<(Descriptor, Bytes, Slot)>,
    /// It has layers that are compressed with zstd because they were compressed here.
    pub(crate) zstd: bool,
}

impl Made {
    fn alone(manifest: RawManifest) -> Self {
        Self {
            manifest,
            blobs: Vec::new(),
            zstd: false,
        }
    }
}

/// Makes the manifest of a node in one kind.
pub(crate) async fn manifest(parts: &Parts<'_>, to: ManifestKind) -> Result<Made, Error> {
    let node = &parts.work.tree.nodes[parts.node];
    let plan = &parts.work.plan.nodes[parts.node];
    match &node.content {
        Content::Docker1(_) if to.is_docker1() => parts.renamed(node, plan),
        Content::Docker1(image) => parts.converted_docker1(image, plan, to),
        Content::Index(index, members) => {
            assemble::index(&node.raw, index, members, plan, parts.published, to)
                .map(Made::alone)
                .map_err(|source| PlanError::Convert { to, source }.into())
        }
        Content::Image(image) => {
            let mut made = parts.image(node, plan, image, to).await?;
            made.zstd = parts.placed.values().any(Arrival::is_packed_with_zstd);
            Ok(made)
        }
    }
}

impl Parts<'_> {
    async fn image(
        &self,
        node: &Node,
        plan: &NodePlan,
        image: &ImageManifest,
        to: ManifestKind,
    ) -> Result<Made, Error> {
        let convert = |source| PlanError::Convert { to, source };
        let layers = assemble::layers(image, node.held.as_deref(), plan, self.placed, to);
        if to == image.kind {
            let made = convert::image(&node.raw, image, &[], &layers, to).map_err(convert)?;
            return Ok(Made::alone(made.manifest));
        }
        let old = self.config(&image.config).await?;
        if to.is_docker1() {
            return self.to_docker1(image, &old, &layers);
        }
        let made = convert::image(&node.raw, image, &old, &layers, to).map_err(convert)?;
        // The config of a converted image is not among the blobs that moved.
        let (config, bytes) = match made.config {
            Some(new) => (Descriptor::of(image.config.media_type.clone(), &new), new),
            None => (image.config.clone(), old),
        };
        Ok(Made {
            blobs: vec![(config, bytes, Slot::Config)],
            ..Made::alone(made.manifest)
        })
    }

    /// Returns the config of an image that is converted; a kind that was not planned for needs it
    /// only now.
    async fn config(&self, config: &Descriptor) -> Result<Bytes, Error> {
        if let Some(known) = self.work.configs.get(&config.digest) {
            return Ok(known.clone());
        }
        let context = &self.work.context;
        survey::read(&*context.source, config, &context.patience).await
    }
}

impl Arrival {
    fn is_packed_with_zstd(&self) -> bool {
        let form = self.form.as_ref();
        form.is_some_and(|form| form.compression == Some(Compression::Zstd))
    }
}

/// Schema 1.
impl Parts<'_> {
    /// Returns a schema 1 manifest that stays one, with the name it needs where it goes.
    fn renamed(&self, node: &Node, plan: &NodePlan) -> Result<Made, Error> {
        if plan.change.is_none() {
            return Ok(Made::alone(node.raw.clone()));
        }
        let (name, tag) = self.name();
        let payload = docker1_renamed(&node.raw, &name, &tag);
        let signed = payload.and_then(|payload| docker1_signed(&payload, &now()));
        signed.map(Made::alone).map_err(|source| Error::Manifest {
            name: node.raw.digest().to_string(),
            source,
        })
    }

    fn converted_docker1(
        &self,
        image: &Docker1Manifest,
        plan: &NodePlan,
        to: ManifestKind,
    ) -> Result<Made, Error> {
        let convert = |source| PlanError::Convert { to, source };
        let mut layers = Vec::with_capacity(plan.layers.len());
        for key in &plan.layers {
            let Some(key) = key else {
                layers.push(None);
                continue;
            };
            let arrival = self.placed.get(key).ok_or(Error::Lost)?;
            let diff_id = arrival.diff_id.ok_or(Error::Lost)?;
            layers.push(Some((assemble::docker1_layer(arrival), diff_id)));
        }
        let mut made = convert::from_docker1(image, &layers).map_err(convert)?;
        if to == ManifestKind::OciManifest {
            let view = ImageManifest::parse(&Admitted::by_policy(made.manifest.clone()));
            let view = view.map_err(ConvertError::from).map_err(convert)?;
            let config = made.config.take().unwrap_or_default();
            made = convert::image(&made.manifest, &view, &config, &view.layers, to)
                .map_err(convert)?;
        }
        let config = made.config.unwrap_or_default();
        let media_type = match to {
            ManifestKind::OciManifest => MediaType::OCI_CONFIG,
            _ => MediaType::DOCKER2_CONFIG,
        };
        let descriptor = Descriptor::of(media_type, &config);
        Ok(Made {
            manifest: made.manifest,
            blobs: vec![(descriptor, config, Slot::Config)],
            zstd: self.placed.values().any(Arrival::is_packed_with_zstd),
        })
    }

    fn to_docker1(
        &self,
        image: &ImageManifest,
        config: &[u8],
        layers: &[Descriptor],
    ) -> Result<Made, Error> {
        let to = ManifestKind::Docker1Signed;
        let (name, tag) = self.name();
        let payload = convert::to_docker1(image, config, layers, &name, &tag);
        let payload = payload.map_err(|source| PlanError::Convert { to, source })?;
        let signed = docker1_signed(&payload.bytes, &now()).map_err(ConvertError::from);
        let manifest = signed.map_err(|source| PlanError::Convert { to, source })?;
        let (empty, bytes) = convert::empty_layer();
        let mut blobs = Vec::new();
        if payload.needs_empty_layer {
            blobs.push((empty, bytes, Slot::Other));
        }
        Ok(Made {
            blobs,
            ..Made::alone(manifest)
        })
    }

    /// Returns name and tag of the destination as schema 1 wants them; empty where it has none.
    fn name(&self) -> (String, String) {
        let destination = self.work.context.destination_name.as_ref();
        destination.map(docker1_name).unwrap_or_default()
    }
}

/// Returns the time, in RFC 3339.
fn now() -> String {
    let time = jiff::Timestamp::now();
    format!("{time:.0}")
}
