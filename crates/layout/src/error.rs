//! What can go wrong in a layout directory.

use std::io;
use std::path::{Path, PathBuf};

use dhow_model::Digest;

/// Why a layout could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file that a blob is copied from cannot be read.
    #[error("cannot read the file that the blob is copied from")]
    Read {
        /// What the system said.
        source: io::Error,
    },
    /// `index.json` is not an index.
    #[error("`{}` is not an image index: {why}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Bytes do not have their digest.
    #[error("digest mismatch: expected {expected}, got {actual}")]
    Digest {
        /// The digest they should have.
        expected: Digest,
        /// The digest they have.
        actual: Digest,
    },
    /// Bytes do not have their size.
    #[error("size mismatch: expected {expected} bytes, got {actual}")]
    Size {
        /// The size they should have.
        expected: u64,
        /// The size they have.
        actual: u64,
    },
    /// A blob goes on where the bytes that are there do not end.
    #[error("the blob goes on at byte {start}, and {kept} bytes of it are here")]
    Start {
        /// Where it goes on, in bytes.
        start: u64,
        /// How many bytes are there.
        kept: u64,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
