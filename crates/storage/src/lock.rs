//! The locks of a store: `storage.lock`, `layers.lock` and `images.lock`.
//!
//! Podman takes record locks over whole files (fcntl(2), *Advisory record locking*), and after a
//! change writes a token of 64 bytes into the file, by which others see that their copy of the
//! records is old. The locks here belong to the open file (`F_OFD_SETLKW`), so that threads of one
//! process exclude each other, too; they exclude Podman's in either form.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, fcntl};

use crate::error::{Error, Result};

/// A lock that is held. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Waits until nobody else has the file, and takes it for writing. Blocks.
    pub(crate) fn exclusive(path: &Path) -> Result<Self> {
        let lock = Self::open(path)?;
        lock.take(libc::F_WRLCK)?;
        Ok(lock)
    }

    /// Waits until nobody writes, and takes the file for reading. A store that may not be written
    /// is not locked: nobody changes it. Blocks.
    pub(crate) fn shared(path: &Path) -> Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("open", path)(error)),
        };
        let lock = Self {
            file,
            path: path.to_owned(),
        };
        lock.take(libc::F_RDLCK)?;
        Ok(Some(lock))
    }

    /// Takes the file for writing if nobody else has it.
    pub(crate) fn attempt(path: &Path) -> Result<Option<Self>> {
        let lock = Self::open(path)?;
        match fcntl(&lock.file, FcntlArg::F_OFD_SETLK(&record(libc::F_WRLCK))) {
            Ok(_) => Ok(Some(lock)),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(None),
            Err(errno) => Err(Error::file("lock", path)(errno.into())),
        }
    }

    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(Error::file("open", path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    fn take(&self, kind: i32) -> Result<()> {
        loop {
            match fcntl(&self.file, FcntlArg::F_OFD_SETLKW(&record(kind))) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(Error::file("lock", &self.path)(errno.into())),
            }
        }
    }

    /// Returns whether the file that is locked is still the one under its name.
    pub(crate) fn is_there(&self) -> bool {
        let same = |there: std::fs::Metadata| {
            let own = self.file.metadata();
            own.is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()))
        };
        std::fs::metadata(&self.path).is_ok_and(same)
    }

    /// Tells everybody that what the lock protects was changed.
    pub(crate) fn touch(&self) -> Result<()> {
        let written = self.file.write_all_at(&token(), 0);
        written.map_err(Error::file("write", &self.path))
    }
}

/// Describes a lock over a whole file.
fn record(kind: i32) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: 0, // SEEK_SET
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Makes a token that was never there before: the time, a count, the process, and chance.
fn token() -> [u8; TOKEN] {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |since| since.as_nanos());
    let mut token = [0; TOKEN];
    let parts: [&[u8]; 4] = [
        &u64::try_from(nanos).unwrap_or(u64::MAX).to_le_bytes(),
        &COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes(),
        &std::process::id().to_le_bytes(),
        &crate::chance::bytes::<44>(),
    ];
    let mut place = token.iter_mut();
    for byte in parts.into_iter().flatten() {
        if let Some(slot) = place.next() {
            *slot = *byte;
        }
    }
    token
}

/// The size of a token, in bytes.
const TOKEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_second_waits_and_every_change_leaves_another_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layers.lock");
        let first = Lock::exclusive(&path).unwrap();
        assert!(Lock::attempt(&path).unwrap().is_none());
        first.touch().unwrap();
        let before = std::fs::read(&path).unwrap();
        assert_eq!(before.len(), TOKEN);
        drop(first);
        let second = Lock::attempt(&path).unwrap().expect("nobody has it");
        second.touch().unwrap();
        assert_ne!(std::fs::read(&path).unwrap(), before);
        drop(second);
        let _one = Lock::shared(&path).unwrap().unwrap();
        let _two = Lock::shared(&path).unwrap().unwrap();
        assert!(Lock::attempt(&path).unwrap().is_none());
    }
}
