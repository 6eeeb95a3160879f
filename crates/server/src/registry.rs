//! Repositories over a store: what there is, and what may be read. Everything here blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use dhow_model::{Descriptor, Digest, RawManifest, Tag};
use http::StatusCode;

use crate::answer::Refusal;
use crate::catalog::{Catalog, RepositoryView, View};
use crate::facts::{Facts, FactsCache};
use crate::store::{Store, StoreError};

/// Repositories over a store.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) allow_sparse: bool,
    /// Held for writing while a blob is removed, so that no manifest appears meanwhile that
    /// needs it.
    pub(crate) publishing: RwLock<()>,
    facts: FactsCache,
}

/// A store and what its content is called.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Arc<dyn Catalog>,
}

/// How a manifest is asked for.
#[derive(Clone, Debug)]
pub(crate) enum ManifestName {
    Tag(Tag),
    Digest(Digest),
}

impl Registry {
    pub(crate) fn new(opened: Opened, allow_sparse: bool) -> Self {
        Self {
            store: opened.store,
            catalog: opened.catalog,
            allow_sparse,
            publishing: RwLock::new(()),
            facts: FactsCache::default(),
        }
    }

    /// Returns a manifest of a repository, verified.
    pub(crate) fn manifest(
        &self,
        repository: &str,
        name: &ManifestName,
    ) -> Result<RawManifest, Refusal> {
        let view = self.catalog.view()?;
        let known = view
            .repositories
            .get(repository)
            .ok_or_else(|| unknown_repository(repository))?;
        let entry = match name {
            ManifestName::Tag(tag) => known.tags.get(tag.as_str()).cloned(),
            ManifestName::Digest(digest) => self.reachable(&view, known, digest),
        };
        drop(view);
        let entry = entry.ok_or_else(|| unknown_manifest(repository, name))?;
        self.read(&entry)?
            .ok_or_else(|| unknown_manifest(repository, name))
    }

    /// Reads a manifest, or returns `None` when it is not there or is not what it should be.
    fn read(&self, entry: &Descriptor) -> Result<Option<RawManifest>, Refusal> {
        let Some(bytes) = self.store.read_manifest(&entry.digest)? else {
            return Ok(None);
        };
        match RawManifest::verified(bytes, Some(&entry.media_type), &entry.digest) {
            Ok(raw) => Ok(Some(raw)),
            Err(error) => {
                tracing::error!(digest = %entry.digest, %error, "a manifest in the store is damaged");
                Ok(None)
            }
        }
    }

    /// Returns what a manifest says, or `None` when it cannot be read.
    pub(crate) fn facts(&self, entry: &Descriptor) -> Result<Option<Arc<Facts>>, Refusal> {
        if let Some(facts) = self.facts.find(&entry.digest) {
            return Ok(Some(facts));
        }
        let Some(raw) = self.read(entry)? else {
            return Ok(None);
        };
        match Facts::new(&raw) {
            Ok(facts) => Ok(Some(self.facts.keep(entry.digest, facts))),
            Err(error) => {
                tracing::warn!(digest = %entry.digest, %error, "a manifest cannot be read");
                Ok(None)
            }
        }
    }

    pub(crate) fn forget(&self, digest: &Digest) {
        self.facts.forget(digest);
    }

    /// Returns the descriptor of a manifest that the repository lists, or that one of its indexes
    /// lists.
    pub(crate) fn reachable(
        &self,
        view: &View,
        repository: &RepositoryView,
        digest: &Digest,
    ) -> Option<Descriptor> {
        if let Some(entry) = repository.roots.get(digest) {
            return Some(entry.clone());
        }
        if let Some(relations) = &view.relations {
            return relations.below(&repository.roots, digest, MAX_DEPTH);
        }
        self.walk(repository.roots.values().cloned(), |entry| {
            entry.digest == *digest
        })
        .unwrap_or_default()
        .remove(digest)
    }

    /// Returns everything that can be reached from `from`, up to the first for which `stop` holds.
    fn walk(
        &self,
        from: impl IntoIterator<Item = Descriptor>,
        stop: impl Fn(&Descriptor) -> bool,
    ) -> Result<BTreeMap<Digest, Descriptor>, Refusal> {
        let mut found = BTreeMap::new();
        let mut level: Vec<Descriptor> = from.into_iter().collect();
        for _ in 0..MAX_DEPTH {
            let mut next = Vec::new();
            for entry in level {
                if found.contains_key(&entry.digest) || entry.media_type.manifest_kind().is_none() {
                    continue;
                }
                let stops = stop(&entry);
                let is_index = entry
                    .media_type
                    .manifest_kind()
                    .is_some_and(dhow_model::ManifestKind::is_index);
                found.insert(entry.digest, entry.clone());
                if stops {
                    return Ok(found);
                }
                if is_index && let Some(facts) = self.facts(&entry)? {
                    next.extend(facts.children.iter().cloned());
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        Ok(found)
    }

    /// Returns the manifests of a repository that refer to `subject`, in the order of their
    /// digests.
    pub(crate) fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Refusal> {
        let view = self.catalog.view()?;
        let Some(known) = view.repositories.get(repository) else {
            // SPEC: distribution-spec v1.1, Listing Referrers: never 404.
            return Ok(Vec::new());
        };
        if let Some(relations) = &view.relations {
            let referrers = relations.referrers(subject);
            let here = referrers
                .filter(|referrer| self.reachable(&view, known, &referrer.digest).is_some());
            return Ok(here.cloned().collect());
        }
        let mut referrers = Vec::new();
        for entry in self
            .walk(known.roots.values().cloned(), |_| false)?
            .into_values()
        {
            if let Some(facts) = self.facts(&entry)?
                && facts.subject == Some(*subject)
            {
                referrers.push(facts.descriptor.clone());
            }
        }
        Ok(referrers)
    }

    /// Removes a blob that no manifest needs.
    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<(), Refusal> {
        let _nobody_publishes = self
            .publishing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if self.store.blob_size(digest).is_none() {
            return Err(unknown_blob(digest));
        }
        if self.is_used(digest)? {
            return Err(Refusal::unsupported(format!(
                "blob `{digest}` is part of an image; delete its manifests first"
            )));
        }
        Ok(self.store.remove_blob(digest)?)
    }

    fn is_used(&self, digest: &Digest) -> Result<bool, Refusal> {
        let view = self.catalog.view()?;
        let mut seen = BTreeSet::new();
        for repository in view.repositories.values() {
            for (manifest, entry) in self.walk(repository.roots.values().cloned(), |_| false)? {
                if manifest == *digest {
                    return Ok(true);
                }
                if seen.insert(manifest)
                    && let Some(facts) = self.facts(&entry)?
                    && facts.blobs.iter().any(|blob| blob.digest == *digest)
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl std::fmt::Display for ManifestName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let is_full = |error: &std::io::Error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            )
        };
        let full = match &error {
            StoreError::Digest { .. } => return Self::bad("DIGEST_INVALID", error.to_string()),
            StoreError::Full => true,
            StoreError::Io(source) | StoreError::Layout(dhow_layout::Error::Io { source, .. }) => {
                is_full(source)
            }
            StoreError::Layout(_) => false,
        };
        if full {
            tracing::error!(%error, "there is no space left");
            return Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "DENIED",
                "the registry's store is full",
            );
        }
        Self::internal(&error)
    }
}

pub(crate) fn unknown_repository(repository: &str) -> Refusal {
    Refusal::not_found(
        "NAME_UNKNOWN",
        format!("there is no repository `{repository}`"),
    )
}

pub(crate) fn unknown_manifest(repository: &str, name: &ManifestName) -> Refusal {
    Refusal::not_found(
        "MANIFEST_UNKNOWN",
        format!("repository `{repository}` has no manifest `{name}`"),
    )
}

pub(crate) fn unknown_blob(digest: &Digest) -> Refusal {
    Refusal::not_found("BLOB_UNKNOWN", format!("there is no blob `{digest}`"))
}

/// How deep indexes may list indexes.
const MAX_DEPTH: usize = 8;
