//! The table of contents of a layer: which files it has, by the digests of their content.
//!
//! ```text
//! unpack ─▶ Recorder ─▶ zstd-chunked-manifest, beside the layer ─▶ find ─▶ files of other layers
//! ```
//!
//! It is kept where Podman keeps the table of a layer that it pulled file by file, and in the same
//! form, so that each finds what the other has. What is written here was hashed here while it was
//! unpacked: Podman takes a file by what a table says of it, and does not look again.

mod find;
mod record;

pub use find::{LocalFiles, Wanted};
pub(crate) use record::Recorder;

/// Whether the files of a layer can be found by their digests later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileTable {
    /// They cannot.
    #[default]
    None,
    /// They can: each is hashed while it is unpacked.
    Kept,
}

/// COMPAT(podman): under which key a layer has its table (containers/storage,
/// `pkg/chunked/storage_linux.go`).
pub(crate) const TABLE_KEY: &str = "zstd-chunked-manifest";
