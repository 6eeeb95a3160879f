//! Names in memory, which nobody else changes: each change costs as much as finding its place.

use std::collections::{BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use dhow_model::{Descriptor, Digest};

use super::{Catalog, Publication, Relations, RepositoryView, Seen, View};
use crate::store::StoreError;

/// The catalog of a store in memory.
#[derive(Debug)]
pub(crate) struct MemoryCatalog(RwLock<Contents>);

/// What is in the catalog.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(super) view: View,
    /// The tags of each manifest, by repository.
    tags: HashMap<String, TagsOf>,
}

type TagsOf = HashMap<Digest, BTreeSet<String>>;

impl MemoryCatalog {
    pub(crate) fn new() -> Self {
        let view = View {
            relations: Some(Relations::default()),
            ..View::default()
        };
        Self(RwLock::new(Contents {
            view,
            tags: HashMap::new(),
        }))
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Contents> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalog for MemoryCatalog {
    fn view(&self) -> Result<Seen<'_>, StoreError> {
        let contents = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Seen::Held(contents))
    }

    fn publish(&self, publication: &Publication<'_>) -> Result<(), StoreError> {
        let mut contents = self.lock();
        if let Some(relations) = &mut contents.view.relations {
            relations.add(publication.facts);
        }
        let mut place = contents.place(publication.repository);
        let entry = publication.entry;
        if let Some(tag) = publication.tag {
            place.tag(entry, tag);
        }
        let roots = &mut place.view.roots;
        roots.entry(entry.digest).or_insert_with(|| entry.clone());
        for covered in publication.covered {
            if !place.tags.contains_key(covered) {
                place.view.roots.remove(covered);
            }
        }
        Ok(())
    }

    fn untag(&self, repository: &str, tag: &str) -> Result<bool, StoreError> {
        let mut contents = self.lock();
        let mut place = contents.place(repository);
        let removed = place.view.tags.remove(tag);
        if let Some(entry) = &removed
            && place.forget_tag(&entry.digest, tag)
        {
            place.view.roots.remove(&entry.digest);
        }
        contents.drop_empty(repository);
        Ok(removed.is_some())
    }

    fn remove(&self, repository: &str, digest: &Digest) -> Result<bool, StoreError> {
        let mut contents = self.lock();
        let place = contents.place(repository);
        let removed = place.view.roots.remove(digest).is_some();
        for tag in place.tags.remove(digest).unwrap_or_default() {
            place.view.tags.remove(&tag);
        }
        contents.drop_empty(repository);
        Ok(removed)
    }
}

impl Contents {
    /// Returns a repository, made if it is not there.
    fn place(&mut self, repository: &str) -> Place<'_> {
        let repositories = &mut self.view.repositories;
        Place {
            view: repositories.entry(repository.to_owned()).or_default(),
            tags: self.tags.entry(repository.to_owned()).or_default(),
        }
    }

    /// Forgets a repository in which there is nothing.
    fn drop_empty(&mut self, repository: &str) {
        let known = self.view.repositories.get(repository);
        if known.is_some_and(|known| known.roots.is_empty()) {
            self.view.repositories.remove(repository);
            self.tags.remove(repository);
        }
    }
}

struct Place<'a> {
    view: &'a mut RepositoryView,
    tags: &'a mut TagsOf,
}

impl Place<'_> {
    /// Makes `tag` mean `entry`. What it meant before stays, by digest.
    fn tag(&mut self, entry: &Descriptor, tag: &str) {
        if let Some(before) = self.view.tags.insert(tag.to_owned(), entry.clone()) {
            self.forget_tag(&before.digest, tag);
        }
        let tags = self.tags.entry(entry.digest).or_default();
        tags.insert(tag.to_owned());
    }

    /// Returns whether it was the last tag of the manifest.
    fn forget_tag(&mut self, digest: &Digest, tag: &str) -> bool {
        let Some(tags) = self.tags.get_mut(digest) else {
            return true;
        };
        tags.remove(tag);
        let was_last = tags.is_empty();
        if was_last {
            self.tags.remove(digest);
        }
        was_last
    }
}
