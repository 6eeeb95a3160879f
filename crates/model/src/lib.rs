//! Container images as data: digests, references, media types, descriptors, manifests, indexes,
//! configs and platforms, with the pure functions that parse, choose, convert and edit them.
//!
//! This crate does no I/O, reads no clock and no environment, and is not async. The bytes of a
//! manifest as they were received are the truth ([`RawManifest`]); everything typed is a view of
//! them.

mod annotations;
mod choose;
mod config;
pub mod convert;
mod descriptor;
mod digest;
mod fields;
pub mod json;
mod layer_type;
pub mod manifest;
mod media_type;
pub mod platform;
mod raw;
mod reference;
mod timestamp;

pub use annotations::Annotations;
pub use config::{ContainerConfig, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use layer_type::LayerType;
pub use manifest::{ImageManifest, Index};
pub use media_type::{Compression, ManifestKind, MediaType};
pub use platform::{Platform, PlatformError, PlatformWish};
pub use raw::{Admitted, ManifestError, RawManifest};
pub use reference::{Reference, ReferenceError, Repository, Tag};
pub use timestamp::Timestamp;
