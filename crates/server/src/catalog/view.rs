//! The index as repositories: tags, and manifests that can be had by digest.

use std::collections::BTreeMap;

use dhow_layout::LayoutIndex;
use dhow_model::{Descriptor, Digest};

use super::Relations;
use crate::naming::Naming;

/// What one state of the index says.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) repositories: BTreeMap<String, RepositoryView>,
    /// What manifests say of each other, where that is known of all; else they must be read.
    pub(crate) relations: Option<Relations>,
}

/// One repository.
#[derive(Debug, Default)]
pub(crate) struct RepositoryView {
    /// Tags by name.
    pub(crate) tags: BTreeMap<String, Descriptor>,
    /// The manifests that the index lists for the repository. What they list themselves is in
    /// the repository too.
    pub(crate) roots: BTreeMap<Digest, Descriptor>,
}

impl View {
    pub(super) fn new(index: &LayoutIndex, naming: &Naming) -> Self {
        let mut view = Self::default();
        for entry in index.entries() {
            let (tagged, mut places) = (naming.place(&entry), naming.unnamed_places(&entry));
            if let Some((name, tag)) = tagged {
                let repository = view.repositories.entry(name.clone()).or_default();
                repository.tags.entry(tag).or_insert_with(|| entry.clone());
                places.push(name);
            }
            for name in places {
                let repository = view.repositories.entry(name).or_default();
                repository
                    .roots
                    .entry(entry.digest)
                    .or_insert_with(|| entry.clone());
            }
        }
        view
    }
}
