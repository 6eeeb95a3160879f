//! An OCI image layout directory as a store (OCI image-spec, *Image Layout*): `index.json`,
//! `oci-layout` and `blobs/<algorithm>/<hex>`.
//!
//! Everything is synchronous. Files appear under their final names complete or not at all;
//! `index.json` is changed under an exclusive lock on the directory, so that any number of
//! processes can write into one layout at once.

mod blobs;
mod directory;
mod error;
mod file_copy;
mod flush;
mod gc;
mod index;
mod lock;
mod partial;
mod space;
mod temporary;

pub use blobs::BlobWriter;
pub use directory::{Layout, open_file, read_bounded};
pub use error::Error;
pub use file_copy::FileCopy;
pub use index::LayoutIndex;
pub use lock::Lock;
pub use space::lies_in_memory;
