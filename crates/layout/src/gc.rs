//! Removing images, and the blobs that no image uses any more.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use bytes::Bytes;
use dhow_model::{Admitted, Descriptor, Digest, ImageManifest, Index, RawManifest};
use serde_json::Value;

use crate::temporary::remove_stale;
use crate::{Error, Layout, Lock};

impl Layout {
    /// Removes the entries for which `condition` holds, then every blob that only they used, and
    /// partial blobs that nobody has gone on with for days. Returns how many entries there were. Blobs in a shared directory are left alone: other
    /// layouts may use them.
    ///
    /// # Errors
    /// When what the remaining entries use cannot be found out; then nothing is removed.
    pub fn remove(&self, condition: impl Fn(&Descriptor) -> bool) -> Result<usize, Error> {
        // Waits for those who have placed blobs that no index lists yet.
        let _lock = Lock::exclusive(self.path())?;
        let (removed, unused) = self.update_index(|index| {
            let before = index.entries();
            let removed = index.remove(condition);
            if removed == 0 || self.blobs_path() != self.path().join("blobs") {
                return Ok((removed, Vec::new()));
            }
            let used = self.used_by(&index.entries())?;
            let candidates = self.used_by(&before)?;
            let unused = candidates.difference(&used).copied().collect();
            Ok((removed, unused))
        })?;
        remove_stale(self.blobs_path());
        for digest in unused {
            let path = self.blob_path(&digest);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path, error));
                }
                _ => {}
            }
        }
        Ok(removed)
    }

    /// Collects the digests of everything that the entries use.
    fn used_by(&self, entries: &[Descriptor]) -> Result<BTreeSet<Digest>, Error> {
        let mut used = BTreeSet::new();
        let mut open: Vec<Descriptor> = entries.to_vec();
        while let Some(entry) = open.pop() {
            if !used.insert(entry.digest) || entry.size > RawManifest::MAX_SIZE as u64 {
                continue;
            }
            let bytes = match self.read_manifest(&entry.digest) {
                Ok(bytes) => Bytes::from(bytes),
                // An image that was left behind on purpose (a sparse index) uses nothing here.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            match RawManifest::new(bytes.clone(), Some(&entry.media_type)) {
                Ok(raw) if raw.kind().is_index() => match Index::parse(&raw) {
                    Ok(index) => open.extend(index.entries),
                    Err(_) => mentioned(&bytes, &mut used),
                },
                Ok(raw) => match ImageManifest::parse(&Admitted::by_policy(raw)) {
                    Ok(image) => used.extend(image.blobs().map(|blob| blob.digest)),
                    Err(_) => mentioned(&bytes, &mut used),
                },
                Err(_) => mentioned(&bytes, &mut used),
            }
        }
        Ok(used)
    }
}

/// Adds every digest in a document of an unknown kind: rather keep too much than lose something.
fn mentioned(bytes: &[u8], used: &mut BTreeSet<Digest>) {
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => used.extend(Digest::parse(text).ok()),
            Value::Array(values) => open.extend(values),
            Value::Object(values) => open.extend(values.values()),
            _ => {}
        }
    }
}
