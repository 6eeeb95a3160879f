//! Advisory locks on the layout directory itself, so that no extra file is left behind.
//!
//! `flock` on the directory's handle: shared by writers while they place blobs, exclusive for
//! garbage collection; a second handle of `blobs` serializes changes of `index.json`.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::Error;

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _handle: File,
}

impl Lock {
    /// Waits until nobody else holds the lock on `directory`.
    pub fn exclusive(directory: &Path) -> Result<Self, Error> {
        Self::take(directory, FlockOperation::LockExclusive)
    }

    /// Waits until nobody holds the lock on `directory` exclusively.
    pub fn shared(directory: &Path) -> Result<Self, Error> {
        Self::take(directory, FlockOperation::LockShared)
    }

    fn take(directory: &Path, operation: FlockOperation) -> Result<Self, Error> {
        let handle = File::open(directory).map_err(|error| Error::io("open", directory, error))?;
        loop {
            match flock(&handle, operation) {
                Ok(()) => return Ok(Self { _handle: handle }),
                Err(Errno::INTR) => {}
                // Some network file systems have no locks; other tools take none at all.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK) => {
                    tracing::warn!(
                        directory = %directory.display(),
                        "the file system has no locks: let one process at a time write here"
                    );
                    return Ok(Self { _handle: handle });
                }
                Err(error) => return Err(Error::io("lock", directory, error.into())),
            }
        }
    }
}
