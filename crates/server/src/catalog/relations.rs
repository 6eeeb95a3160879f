//! What manifests say of each other, from below: which indexes list a manifest, and what refers to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dhow_model::{Descriptor, Digest};

use crate::facts::Facts;

/// The relations of all manifests that were ever published. Manifests never change, so that nothing
/// is taken out.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    listed: HashMap<Digest, Listed>,
    referrers: HashMap<Digest, BTreeMap<Digest, Descriptor>>,
}

/// A manifest that indexes list.
#[derive(Debug)]
struct Listed {
    entry: Descriptor,
    indexes: BTreeSet<Digest>,
}

impl Relations {
    pub(super) fn add(&mut self, facts: &Facts) {
        let digest = facts.descriptor.digest;
        for child in &facts.children {
            if child.media_type.manifest_kind().is_some() {
                let listed = self.listed.entry(child.digest).or_insert_with(|| Listed {
                    entry: child.clone(),
                    indexes: BTreeSet::new(),
                });
                listed.indexes.insert(digest);
            }
        }
        if let Some(subject) = facts.subject {
            let referrers = self.referrers.entry(subject).or_default();
            referrers.insert(digest, facts.descriptor.clone());
        }
    }

    /// Returns the entry of a manifest that one of `roots` lists, or an index below one of them.
    pub(crate) fn below<V>(
        &self,
        roots: &BTreeMap<Digest, V>,
        digest: &Digest,
        depth: usize,
    ) -> Option<Descriptor> {
        let listed = self.listed.get(digest)?;
        let is_root = |index: &&Digest| roots.contains_key(*index);
        if listed.indexes.iter().any(|index| is_root(&index)) {
            return Some(listed.entry.clone());
        }
        let mut seen = BTreeSet::new();
        let mut level: Vec<&Digest> = listed.indexes.iter().collect();
        for _ in 2..depth {
            let above = level.iter().filter_map(|index| self.listed.get(index));
            let above = above.flat_map(|listed| &listed.indexes);
            level = above.filter(|index| seen.insert(**index)).collect();
            if level.iter().any(is_root) {
                return Some(listed.entry.clone());
            }
        }
        None
    }

    /// Returns what refers to a manifest, in the order of the digests.
    pub(crate) fn referrers(&self, subject: &Digest) -> impl Iterator<Item = &Descriptor> {
        self.referrers
            .get(subject)
            .into_iter()
            .flat_map(BTreeMap::values)
    }
}
