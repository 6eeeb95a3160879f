//! What a catalog must do.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::Deref;
use std::sync::{Arc, RwLockReadGuard};

use dhow_model::{Descriptor, Digest};

use super::View;
use super::memory::Contents;
use crate::facts::Facts;
use crate::store::StoreError;

/// The names of what is in a store.
pub(crate) trait Catalog: Send + Sync + Debug {
    /// Returns the repositories as they are now. It may keep others from changing them.
    fn view(&self) -> Result<Seen<'_>, StoreError>;
    /// Lists a manifest.
    fn publish(&self, publication: &Publication<'_>) -> Result<(), StoreError>;
    /// Removes a tag and returns whether it was there.
    fn untag(&self, repository: &str, tag: &str) -> Result<bool, StoreError>;
    /// Removes a manifest with all its tags from a repository and returns whether it was listed there.
    fn remove(&self, repository: &str, digest: &Digest) -> Result<bool, StoreError>;
}

/// A manifest that is to be listed.
#[derive(Debug)]
pub(crate) struct Publication<'a> {
    pub(crate) repository: &'a str,
    /// Its tag; without one it can be had by digest.
    pub(crate) tag: Option<&'a str>,
    pub(crate) entry: &'a Descriptor,
    pub(crate) facts: &'a Facts,
    /// Manifests that need no entry of their own any longer.
    pub(crate) covered: &'a BTreeSet<Digest>,
}

/// A view as long as it is looked at.
#[derive(Debug)]
pub(crate) enum Seen<'a> {
    Shared(Arc<View>),
    Held(RwLockReadGuard<'a, Contents>),
}

impl Deref for Seen<'_> {
    type Target = View;

    fn deref(&self) -> &View {
        match self {
            Self::Shared(view) => view,
            Self::Held(contents) => &contents.view,
        }
    }
}
