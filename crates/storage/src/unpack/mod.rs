//! Unpacking a layer into a folder, so that what stands there then is what Podman would make of it.
//!
//! ```text
//! TarStream ─▶ Path (where it goes) ─▶ Root (resolve inside) ─▶ whiteout │ entry ─▶ attributes
//!      └────▶ tar-split (what is not content)
//! ```
//!
//! Names are resolved by the kernel as if the folder were the root of the file system
//! (openat2(2), `RESOLVE_IN_ROOT`): no name, link or symlink leads out of it.

mod attributes;
mod entry;
mod layer;
mod path;
mod root;
mod whiteout;

pub(crate) use attributes::Means;
pub(crate) use layer::{Owners, Target, unpack};
pub(crate) use whiteout::Whiteouts;
