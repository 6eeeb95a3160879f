//! The names in a layout's `index.json`, which others may change, too.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use dhow_layout::{Layout, LayoutIndex};
use dhow_model::Digest;

use super::edit::Edit;
use super::{Catalog, Publication, Seen, View};
use crate::naming::Naming;
use crate::store::{StoreError, absent_as_none};

/// The catalog of a layout directory.
#[derive(Debug)]
pub(crate) struct LayoutCatalog {
    layout: Layout,
    naming: Naming,
    kept: Mutex<Option<(Stamp, Arc<View>)>>,
}

/// Two equal stamps mean that the index did not change in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp([i128; 4]);

impl LayoutCatalog {
    pub(crate) fn new(layout: Layout, naming: Naming) -> Self {
        Self {
            layout,
            naming,
            kept: Mutex::new(None),
        }
    }

    fn stamp(&self) -> Result<Stamp, StoreError> {
        match std::fs::metadata(self.layout.path().join("index.json")) {
            Ok(metadata) => Ok(Stamp([
                i128::from(metadata.ino()),
                i128::from(metadata.mtime()),
                i128::from(metadata.mtime_nsec()),
                i128::from(metadata.size()),
            ])),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Stamp([-1; 4])),
            Err(error) => Err(error.into()),
        }
    }

    fn edit<T: Default>(
        &self,
        repository: &str,
        mut change: impl FnMut(&mut Edit<'_>) -> T,
    ) -> Result<T, StoreError> {
        let mut changed = T::default();
        self.layout.update_index(|index| {
            changed = change(&mut Edit {
                index,
                naming: &self.naming,
                repository,
            });
            Ok(())
        })?;
        Ok(changed)
    }
}

impl Catalog for LayoutCatalog {
    /// The index is read anew when it has changed.
    fn view(&self) -> Result<Seen<'_>, StoreError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.stamp()?;
        if let Some((old, view)) = &*kept
            && *old == stamp
        {
            return Ok(Seen::Shared(Arc::clone(view)));
        }
        let index = absent_as_none(self.layout.read_index())?.unwrap_or_else(LayoutIndex::empty);
        let view = Arc::new(View::new(&index, &self.naming));
        *kept = Some((stamp, Arc::clone(&view)));
        Ok(Seen::Shared(view))
    }

    fn publish(&self, publication: &Publication<'_>) -> Result<(), StoreError> {
        self.edit(publication.repository, |edit| {
            match publication.tag {
                Some(tag) => edit.tag(publication.entry, tag),
                None => edit.list(publication.entry),
            }
            edit.remove_covered(publication.covered);
        })
    }

    fn untag(&self, repository: &str, tag: &str) -> Result<bool, StoreError> {
        self.edit(repository, |edit| edit.untag(tag))
    }

    fn remove(&self, repository: &str, digest: &Digest) -> Result<bool, StoreError> {
        self.edit(repository, |edit| edit.remove(digest))
    }
}
