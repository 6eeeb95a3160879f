//! What the content of a store is called: repositories with their tags, and manifests by digest.
//!
//! Everything here blocks and is called on blocking threads.

mod contract;
mod edit;
mod layout;
mod memory;
mod relations;
mod view;

pub(crate) use contract::{Catalog, Publication, Seen};
pub(crate) use layout::LayoutCatalog;
pub(crate) use memory::MemoryCatalog;
pub(crate) use relations::Relations;
pub(crate) use view::{RepositoryView, View};
