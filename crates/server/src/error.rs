//! Why a server does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a server could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A directory with other things in it.
    #[error("`{}` is not an OCI image layout", .0.display())]
    NotALayout(PathBuf),
    /// The layout cannot be read.
    #[error("cannot open the store")]
    Store(#[source] dhow_layout::Error),
    /// A file that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A password file with a line that is not `user:bcrypt hash`.
    #[error("`{}`, line {line}: {why}", path.display())]
    Htpasswd {
        /// The file.
        path: PathBuf,
        /// The line, counted from one.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system gives no random numbers, or a thread died.
    #[error("cannot start: {0}")]
    System(String),
    /// The certificate or its key is of no use.
    #[error("cannot use the certificate: {0}")]
    Certificate(String),
}
