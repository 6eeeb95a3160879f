//! The plan as it is shown.

use super::Plan;
use crate::admit::Tree;
use crate::report::{PlanSummary, PlannedBlob, PlannedManifest};

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
