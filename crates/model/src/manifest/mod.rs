//! Typed views of manifests: one file per document.

pub(crate) mod docker1;
mod image;
mod index;

pub use docker1::{Docker1History, Docker1Manifest, docker1_renamed, docker1_signed};
pub use image::ImageManifest;
pub use index::Index;
