//! What goes wrong in a store.

use std::io;
use std::path::{Path, PathBuf};

/// Why an operation on a store did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder of the store could not be used.
    #[error("cannot {what} `{}`", path.display())]
    File {
        /// What was to be done: a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A record of the store makes no sense.
    #[error("`{}` is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer holds something that cannot be unpacked.
    #[error("layer entry `{entry}`: {reason}")]
    Entry {
        /// The name in the archive.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer is not a tar archive, or ends too early.
    #[error("layer is not a tar archive: {0}")]
    NotTar(String),
    /// The bytes of a layer did not come to their end.
    #[error("layer stream broke")]
    Stream(#[source] io::Error),
    /// The store has no such image or layer.
    #[error("{0}")]
    NotFound(String),
    /// Something uses what was to be deleted.
    #[error("{0}")]
    InUse(String),
    /// The store cannot do this.
    #[error("{0}")]
    Unsupported(String),
    /// Content does not have its digest any more.
    #[error("{0}")]
    Changed(String),
}

/// The result of everything that touches a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns what makes an I/O error one about a file.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    /// Returns what makes a system call's error one about a file.
    pub(crate) fn call(
        what: &'static str,
        path: &Path,
    ) -> impl FnOnce(rustix::io::Errno) -> Self + use<> {
        let path = path.to_owned();
        move |errno| Self::File {
            what,
            path,
            source: errno.into(),
        }
    }

    /// Returns an error about one entry of a layer.
    pub(crate) fn entry(name: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry {
            entry: String::from_utf8_lossy(name).escape_debug().to_string(),
            reason: reason.into(),
        }
    }
}
