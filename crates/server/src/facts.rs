//! What a manifest says about other content, kept because manifests never change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dhow_model::manifest::Docker1Manifest;
use dhow_model::{
    Admitted, Annotations, Descriptor, Digest, ImageManifest, Index, ManifestError, MediaType,
    RawManifest,
};

/// The relations of one manifest.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The manifest itself, with the annotations and artifact type that a list of referrers shows.
    pub(crate) descriptor: Descriptor,
    pub(crate) subject: Option<Digest>,
    /// The manifests that an index lists.
    pub(crate) children: Vec<Descriptor>,
    /// Config and layers of an image.
    pub(crate) blobs: Vec<Descriptor>,
}

impl Facts {
    /// Reads the relations of `raw`.
    pub(crate) fn new(raw: &RawManifest) -> Result<Self, ManifestError> {
        let mut facts = Self {
            descriptor: raw.descriptor(),
            subject: None,
            children: Vec::new(),
            blobs: Vec::new(),
        };
        if raw.kind().is_index() {
            let index = Index::parse(raw)?;
            facts.describe(index.artifact_type, index.annotations, index.subject);
            facts.children = index.entries;
        } else if raw.kind().is_docker1() {
            let manifest = Docker1Manifest::parse(&Admitted::by_policy(raw.clone()))?;
            facts.blobs = manifest
                .layers
                .into_iter()
                .map(|digest| Descriptor::new(MediaType::DOCKER2_LAYER_GZIP, digest, 0))
                .collect();
        } else {
            // Nothing is run from it here: what it lists is all that is read.
            let image = ImageManifest::parse(&Admitted::by_policy(raw.clone()))?;
            facts.blobs = image.blobs().cloned().collect();
            // SPEC: distribution-spec v1.1, Listing Referrers: the config's type stands in.
            let kind = image
                .artifact_type
                .unwrap_or_else(|| image.config.media_type.as_str().to_owned());
            facts.describe(Some(kind), image.annotations, image.subject);
        }
        Ok(facts)
    }

    fn describe(
        &mut self,
        artifact_type: Option<String>,
        annotations: Annotations,
        subject: Option<Descriptor>,
    ) {
        self.subject = subject.map(|subject| subject.digest);
        if self.subject.is_some() {
            self.descriptor.artifact_type = artifact_type;
            self.descriptor.annotations = annotations;
        }
    }
}

/// Facts by digest, of manifests of so many bytes together.
#[derive(Debug, Default)]
pub(crate) struct FactsCache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    facts: HashMap<Digest, Arc<Facts>>,
    size: u64,
}

impl FactsCache {
    pub(crate) fn find(&self, digest: &Digest) -> Option<Arc<Facts>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.facts.get(digest).cloned()
    }

    pub(crate) fn keep(&self, digest: Digest, facts: Facts) -> Arc<Facts> {
        let facts = Arc::new(facts);
        let size = facts.descriptor.size;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.size + size > MAX_SIZE {
            *kept = Kept::default();
        }
        kept.size += size;
        kept.facts.insert(digest, Arc::clone(&facts));
        facts
    }

    pub(crate) fn forget(&self, digest: &Digest) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = kept.facts.remove(digest) {
            kept.size = kept.size.saturating_sub(facts.descriptor.size);
        }
    }
}

/// How many bytes the manifests have together whose facts are kept: some thousands of usual ones.
const MAX_SIZE: u64 = 4 * 1024 * 1024;
