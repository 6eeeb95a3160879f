//! Putting manifests into the index and taking them out. Everything here blocks.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::PoisonError;

use dhow_model::{Digest, Hasher, RawManifest};

use crate::answer::Refusal;
use crate::body::CHUNK;
use crate::catalog::Publication;
use crate::facts::Facts;
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
        if let ManifestName::Digest(digest) = name
            && self.has(repository, digest)?
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
        let tag = match name {
            ManifestName::Tag(tag) => Some(tag.as_str()),
            ManifestName::Digest(_) => None,
        };
        self.catalog.publish(&Publication {
            repository,
            tag,
            entry: &raw.descriptor(),
            facts: &facts,
            covered: &covered,
        })?;
        Ok(facts.subject)
    }

    /// Returns whether a manifest is in a repository.
    fn has(&self, repository: &str, digest: &Digest) -> Result<bool, Refusal> {
        let view = self.catalog.view()?;
        let known = view.repositories.get(repository);
        Ok(known.is_some_and(|known| self.reachable(&view, known, digest).is_some()))
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
        let removed = match name {
            ManifestName::Tag(tag) => self.catalog.untag(repository, tag.as_str())?,
            ManifestName::Digest(digest) => self.catalog.remove(repository, digest)?,
        };
        match name {
            ManifestName::Digest(digest) if removed => {
                self.forget(digest);
                Ok(())
            }
            ManifestName::Tag(_) if removed => Ok(()),
            ManifestName::Digest(digest) if self.has(repository, digest)? => {
                Err(Refusal::unsupported(format!(
                    "manifest `{digest}` is part of an index; delete the index"
                )))
            }
            _ => Err(unknown_manifest(repository, name)),
        }
    }
}
