//! What becomes of an index.

use dhow_model::{Index, ManifestKind};

use super::{NodePlan, Terms};
use crate::{Error, PlanError};

impl Terms<'_> {
    /// Plans an index, whose members are planned already.
    pub(super) fn index(
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
        Ok(NodePlan {
            kind,
            fallbacks,
            change: (!changes.is_empty()).then(|| changes.join(", ")),
            entries,
            layers: Vec::new(),
            config: None,
        })
    }

    fn index_kind(&self, index: &Index) -> Result<(ManifestKind, Vec<ManifestKind>), Error> {
        if !self.caps.accepts_indexes() {
            return Err(PlanError::NoIndexes.into());
        }
        if let Some(format) = self.options.format {
            return Ok((format.index(), Vec::new()));
        }
        let mut taken = [
            index.kind,
            ManifestKind::OciIndex,
            ManifestKind::Docker2List,
        ]
        .into_iter()
        .filter(|kind| self.caps.accepts(*kind));
        let kind = taken.next().ok_or(PlanError::NoIndexes)?;
        let fallbacks = match self.frozen() {
            Some(_) => Vec::new(),
            None => taken.filter(|other| *other != kind).collect(),
        };
        Ok((kind, fallbacks))
    }
}
