//! Changes of a layout's index in one repository's name.

use std::collections::BTreeSet;

use dhow_layout::LayoutIndex;
use dhow_model::{Annotations, Descriptor, Digest};

use crate::naming::{Naming, REPOSITORY_ANNOTATION};

/// Changes of the index in one repository's name.
pub(super) struct Edit<'a> {
    pub(super) index: &'a mut LayoutIndex,
    pub(super) naming: &'a Naming,
    pub(super) repository: &'a str,
}

impl Edit<'_> {
    /// Makes `tag` mean `entry`. What it meant before stays, by digest.
    pub(super) fn tag(&mut self, entry: &Descriptor, tag: &str) {
        let place = (self.repository.to_owned(), tag.to_owned());
        let before = self
            .index
            .entries()
            .into_iter()
            .find(|old| self.naming.place(old).as_ref() == Some(&place));
        if before
            .as_ref()
            .is_some_and(|old| old.digest == entry.digest)
        {
            return;
        }
        let name = before
            .as_ref()
            .and_then(|old| old.annotations.value(Annotations::REF_NAME))
            .map_or_else(|| format!("{}:{tag}", self.repository), str::to_owned);
        let mut places = self.unnamed_places(&entry.digest);
        places.remove(self.repository);
        self.index.insert(&with_places(entry, &places), Some(&name));
        // Entries of other repositories may have said that it can be had by digest here.
        self.remove_covered(&BTreeSet::from([entry.digest]));
        if let Some(mut before) = before {
            before.annotations.remove(Annotations::REF_NAME);
            before.annotations.remove(REPOSITORY_ANNOTATION);
            self.relist(&before);
        }
    }

    /// Lists `entry` by digest.
    pub(super) fn list(&mut self, entry: &Descriptor) {
        let mut places = self.unnamed_places(&entry.digest);
        if self.is_tagged(&entry.digest) || !places.insert(self.repository.to_owned()) {
            return;
        }
        let named = self.index.entries().into_iter().find(|old| {
            old.digest == entry.digest && old.annotations.value(Annotations::REF_NAME).is_some()
        });
        match named {
            // One entry of a digest is enough, and an unnamed one would not be taken.
            Some(named) => {
                let name = named.annotations.value(Annotations::REF_NAME);
                self.index.insert(&with_places(&named, &places), name);
            }
            None => self.index.insert(&with_places(entry, &places), None),
        }
    }

    /// Keeps an entry that lost its name to another one in the repository.
    fn relist(&mut self, entry: &Descriptor) {
        let unnamed = |old: &Descriptor| {
            old.digest == entry.digest && old.annotations.value(Annotations::REF_NAME).is_none()
        };
        let mut places: BTreeSet<String> = self
            .index
            .entries()
            .iter()
            .filter(|old| unnamed(old) && old.annotations.value(REPOSITORY_ANNOTATION).is_some())
            .flat_map(|old| self.naming.unnamed_places(old))
            .collect();
        if !self.is_tagged(&entry.digest) {
            places.insert(self.repository.to_owned());
        }
        self.index.remove(unnamed);
        if !places.is_empty() {
            self.list_in(entry, &places);
        }
    }

    fn list_in(&mut self, entry: &Descriptor, places: &BTreeSet<String>) {
        for place in places {
            let mut edit = Edit {
                index: self.index,
                naming: self.naming,
                repository: place,
            };
            edit.list(entry);
        }
    }

    /// Removes a tag and returns whether it was there.
    pub(super) fn untag(&mut self, tag: &str) -> bool {
        let place = Some((self.repository.to_owned(), tag.to_owned()));
        let entries = self.index.entries();
        let removed = self.index.remove(|entry| self.naming.place(entry) == place);
        for mut entry in entries {
            if self.naming.place(&entry) == place {
                let places = annotated_places(self.naming, &entry);
                entry.annotations.remove(Annotations::REF_NAME);
                entry.annotations.remove(REPOSITORY_ANNOTATION);
                self.list_in(&entry, &places);
            }
        }
        removed > 0
    }

    /// Removes a manifest from the repository and returns whether it was listed there.
    pub(super) fn remove(&mut self, digest: &Digest) -> bool {
        let mut places = self.unnamed_places(digest);
        let listed = places.remove(self.repository) | self.is_tagged(digest);
        if !listed {
            return false;
        }
        let entries: Vec<Descriptor> = self
            .index
            .entries()
            .into_iter()
            .filter(|entry| entry.digest == *digest)
            .collect();
        self.index.remove(|entry| entry.digest == *digest);
        for mut entry in entries {
            let name = entry.annotations.remove(Annotations::REF_NAME);
            entry.annotations.remove(REPOSITORY_ANNOTATION);
            match name {
                Some(name)
                    if self
                        .naming
                        .split(&name)
                        .is_some_and(|(repository, _)| repository != self.repository) =>
                {
                    self.index.insert(&entry, Some(&name));
                }
                _ => self.list_in(&entry, &places),
            }
        }
        true
    }

    /// Forgets that manifests were pushed by digest which an index of the repository now lists.
    pub(super) fn remove_covered(&mut self, covered: &BTreeSet<Digest>) {
        if covered.is_empty() {
            return;
        }
        for entry in self.index.entries() {
            let mut places = annotated_places(self.naming, &entry);
            if !covered.contains(&entry.digest) || !places.remove(self.repository) {
                continue;
            }
            let name = entry.annotations.value(Annotations::REF_NAME);
            if name.is_some() || !places.is_empty() {
                self.index.insert(&with_places(&entry, &places), name);
            } else {
                self.index.remove(|old| *old == entry);
            }
        }
    }

    fn is_tagged(&self, digest: &Digest) -> bool {
        self.index.entries().iter().any(|entry| {
            entry.digest == *digest
                && self
                    .naming
                    .place(entry)
                    .is_some_and(|(repository, _)| repository == self.repository)
        })
    }

    fn unnamed_places(&self, digest: &Digest) -> BTreeSet<String> {
        self.index
            .entries()
            .iter()
            .filter(|entry| entry.digest == *digest)
            .flat_map(|entry| self.naming.unnamed_places(entry))
            .collect()
    }
}

fn annotated_places(naming: &Naming, entry: &Descriptor) -> BTreeSet<String> {
    match entry.annotations.value(REPOSITORY_ANNOTATION) {
        Some(_) => naming.unnamed_places(entry).into_iter().collect(),
        None => BTreeSet::new(),
    }
}

fn with_places(entry: &Descriptor, places: &BTreeSet<String>) -> Descriptor {
    let mut entry = entry.clone();
    entry.annotations.remove(REPOSITORY_ANNOTATION);
    if !places.is_empty() {
        let list: Vec<&str> = places.iter().map(String::as_str).collect();
        entry
            .annotations
            .insert(REPOSITORY_ANNOTATION, list.join(" "));
    }
    entry
}
