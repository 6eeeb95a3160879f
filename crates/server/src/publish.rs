//! Putting manifests into the index and taking them out. Everything here blocks.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::PoisonError;

use dhow_layout::LayoutIndex;
use dhow_model::{Annotations, Descriptor, Digest, Hasher, RawManifest};

use crate::answer::Refusal;
use crate::body::CHUNK;
use crate::facts::Facts;
use crate::naming::{Naming, REPOSITORY_ANNOTATION};
use crate::registry::{ManifestName, Registry, unknown_manifest};
use crate::store::{Content, StoreError};

impl Registry {
    /// Stores a manifest and lists it. Returns its subject.
    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        name: &ManifestName,
        raw: &RawManifest,
    ) -> Result<Option<Digest>, Refusal> {
        let facts =
            Facts::new(raw).map_err(|error| Refusal::bad("MANIFEST_INVALID", error.to_string()))?;
        let _no_blob_goes = self
            .publishing
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        self.check_content(&facts)?;
        self.store.put(&raw.digest(), raw.bytes())?;
        let view = self.view()?;
        let known = view.repositories.get(repository);
        if let ManifestName::Digest(digest) = name
            && known.is_some_and(|known| self.reachable(known, digest).is_some())
        {
            return Ok(facts.subject);
        }
        let mut covered = BTreeSet::new();
        for child in &facts.children {
            // A referrer is found by its own entry.
            if let Some(child_facts) = self.facts(child)?
                && child_facts.subject.is_none()
            {
                covered.insert(child.digest);
            }
        }
        let entry = raw.descriptor();
        self.store.update_index(&mut |index| {
            let mut edit = Edit {
                index,
                naming: &self.naming,
                repository,
            };
            match name {
                ManifestName::Tag(tag) => edit.tag(&entry, tag.as_str()),
                ManifestName::Digest(_) => edit.list(&entry),
            }
            edit.remove_covered(&covered);
        })?;
        Ok(facts.subject)
    }

    /// Checks that what a manifest needs is there.
    fn check_content(&self, facts: &Facts) -> Result<(), Refusal> {
        for blob in &facts.blobs {
            match self.store.blob_size(&blob.digest) {
                Some(size) if size == blob.size => {}
                Some(size) if self.is_whole(&blob.digest)? => {
                    return Err(Refusal::bad(
                        "MANIFEST_INVALID",
                        format!(
                            "blob `{}` has {size} bytes, the manifest says {}",
                            blob.digest, blob.size
                        ),
                    ));
                }
                Some(_) => {
                    // As long as it is there, clients see no reason to push it again.
                    tracing::warn!(digest = %blob.digest, "a damaged blob is removed");
                    self.store.remove_blob(&blob.digest)?;
                    return Err(Refusal::bad(
                        "MANIFEST_BLOB_UNKNOWN",
                        format!("blob `{}` is damaged; push it again", blob.digest),
                    ));
                }
                None if !blob.urls.is_empty() || blob.media_type.is_foreign_layer() => {}
                None => {
                    return Err(Refusal::bad(
                        "MANIFEST_BLOB_UNKNOWN",
                        format!("blob `{}` was not pushed before the manifest", blob.digest),
                    ));
                }
            }
        }
        for child in facts.children.iter().filter(|_| !self.allow_sparse) {
            if self.store.blob_size(&child.digest) != Some(child.size) {
                return Err(Refusal::bad(
                    "MANIFEST_BLOB_UNKNOWN",
                    format!(
                        "manifest `{}` was not pushed before the index",
                        child.digest
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Returns whether a blob has its digest. Reads all of it.
    fn is_whole(&self, digest: &Digest) -> Result<bool, Refusal> {
        let mut hasher = Hasher::new(digest.algorithm());
        match self.store.open_blob(digest)? {
            None => return Ok(false),
            Some(Content::Bytes(bytes)) => hasher.update(&bytes),
            Some(Content::File { mut file, .. }) => {
                let mut buffer = vec![0; CHUNK];
                loop {
                    match file.read(&mut buffer).map_err(StoreError::Io)? {
                        0 => break,
                        length => hasher.update(&buffer[..length]),
                    }
                }
            }
        }
        Ok(hasher.finish() == *digest)
    }

    /// Removes a tag, or a manifest with all its tags.
    pub(crate) fn remove_manifest(
        &self,
        repository: &str,
        name: &ManifestName,
    ) -> Result<(), Refusal> {
        let mut removed = false;
        self.store.update_index(&mut |index| {
            let mut edit = Edit {
                index,
                naming: &self.naming,
                repository,
            };
            removed = match name {
                ManifestName::Tag(tag) => edit.untag(tag.as_str()),
                ManifestName::Digest(digest) => edit.remove(digest),
            };
        })?;
        if removed {
            if let ManifestName::Digest(digest) = name {
                self.forget(digest);
            }
            return Ok(());
        }
        let ManifestName::Digest(digest) = name else {
            return Err(unknown_manifest(repository, name));
        };
        let view = self.view()?;
        match view
            .repositories
            .get(repository)
            .and_then(|known| self.reachable(known, digest))
        {
            Some(_) => Err(Refusal::unsupported(format!(
                "manifest `{digest}` is part of an index; delete the index"
            ))),
            None => Err(unknown_manifest(repository, name)),
        }
    }
}

/// Changes of the index in one repository's name.
struct Edit<'a> {
    index: &'a mut LayoutIndex,
    naming: &'a Naming,
    repository: &'a str,
}

impl Edit<'_> {
    /// Makes `tag` mean `entry`. What it meant before stays, by digest.
    fn tag(&mut self, entry: &Descriptor, tag: &str) {
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
        if let Some(mut before) = before {
            before.annotations.remove(Annotations::REF_NAME);
            before.annotations.remove(REPOSITORY_ANNOTATION);
            self.relist(&before);
        }
    }

    /// Lists `entry` by digest.
    fn list(&mut self, entry: &Descriptor) {
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
    fn untag(&mut self, tag: &str) -> bool {
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
    fn remove(&mut self, digest: &Digest) -> bool {
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
    fn remove_covered(&mut self, covered: &BTreeSet<Digest>) {
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
