//! containers-storage on disk: the images of Podman, Buildah and CRI-O, read and written without
//! them.
//!
//! ```text
//! Store ──▶ Home (one folder of images and layers; more of them may be read only)
//!   │         records: layers.json, images.json        lock: layers.lock, images.lock
//!   ├─ stage    a layer stream becomes a folder that nobody else sees
//!   ├─ publish  folders, records and names become visible, under the locks
//!   ├─ export   a layer's folder and its tar-split become the stream again
//!   ├─ table    files of layers are found by their digests
//!   └─ delete
//! ```
//!
//! Everything is synchronous and blocks. Whatever happens, other users of the store see an image
//! complete or not at all: layers are unpacked aside, renamed into place and then recorded, under the
//! locks.

mod big_data;
mod chance;
mod clone_tree;
mod delete;
mod error;
mod export;
mod home;
mod lock;
mod means;
mod open;
mod overlay;
mod publish;
mod records;
mod resolve;
mod stage;
mod table;
mod tar;
mod tar_split;
mod unpack;
pub mod userns;

pub use error::{Error, Result};
pub use export::LayerReader;
pub use home::Driver;
pub use means::in_user_namespace;
pub use open::{Options, Store};
pub use publish::{NewImage, NewLayer};
pub use records::{ImageRecord, LayerRecord};
pub use resolve::{Found, ImageName};
pub use stage::{Base, Staged};
pub use table::{FileTable, LocalFiles, Wanted};
