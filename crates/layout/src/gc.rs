//! Removing images, and the blobs that no image uses any more.

use std::collections::BTreeSet;
use std::fs;

use bytes::Bytes;
use dhow_model::{Admitted, Descriptor, Digest, ImageManifest, Index, RawManifest};

use crate::{Error, Layout, Lock};

impl Layout {
    /// Removes the entries for which `condition` holds, then every blob that only they used.
    /// Returns how many entries there were. Blobs in a shared directory are left alone: other
    /// layouts may use them.
    pub fn remove(&self, condition: impl Fn(&Descriptor) -> bool) -> Result<usize, Error> {
        let _lock = Lock::exclusive(self.path())?;
        let (removed, before, after) = self.update_index(|index| {
            let before = index.entries();
            let removed = index.remove(condition);
            Ok((removed, before, index.entries()))
        })?;
        if removed == 0 || self.blobs_path() != self.path().join("blobs") {
            return Ok(removed);
        }
        let mut used = BTreeSet::new();
        for entry in &after {
            self.mark(entry, &mut used, 0);
        }
        let mut candidates = BTreeSet::new();
        for entry in &before {
            self.mark(entry, &mut candidates, 0);
        }
        for digest in candidates.difference(&used) {
            let path = self.blob_path(digest);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path, error));
                }
                _ => {}
            }
        }
        Ok(removed)
    }

    /// Collects what `entry` uses. A manifest that cannot be read uses nothing but itself.
    fn mark(&self, entry: &Descriptor, used: &mut BTreeSet<Digest>, depth: usize) {
        if !used.insert(entry.digest) || depth > MAX_DEPTH {
            return;
        }
        let Some(raw) = self
            .read_manifest(&entry.digest)
            .ok()
            .and_then(|bytes| RawManifest::new(Bytes::from(bytes), Some(&entry.media_type)).ok())
        else {
            return;
        };
        if let Ok(index) = Index::parse(&raw) {
            for child in &index.entries {
                self.mark(child, used, depth + 1);
            }
        } else if let Ok(image) = ImageManifest::parse(&Admitted::by_policy(raw)) {
            used.extend(image.blobs().map(|blob| blob.digest));
        }
    }
}

/// How deep indexes may list indexes.
const MAX_DEPTH: usize = 8;
