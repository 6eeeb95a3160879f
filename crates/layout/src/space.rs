//! Space for a large file, asked of its file system before the file is written.

use std::fs::File;
use std::io;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

/// Sees to it that `size` bytes have room in `file`, of which `written` are there. File systems
/// that cannot reserve go on without it.
///
/// # Errors
/// When there is no room.
pub(crate) fn reserve(file: &File, written: u64, size: u64) -> io::Result<()> {
    if let Some(free) = free_memory(file) {
        return if free < size.saturating_sub(written) {
            Err(Errno::NOSPC.into())
        } else {
            Ok(())
        };
    }
    // The length of the file stays: it tells how much has arrived.
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Returns how many bytes are free in the file system of `file`, if that is in memory. There,
/// reserving takes every page of it, a third of a second for a gigabyte. Meanwhile nobody reads the
/// connection, which slows down at its start and needs seconds to recover.
fn free_memory(file: &File) -> Option<u64> {
    if !lies_in_memory(file) {
        return None;
    }
    let system = fstatvfs(file).ok()?;
    if system.f_blocks == 0 {
        // Mounted without a limit.
        return Some(u64::MAX);
    }
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Returns whether a file is on a file system that is in memory, and so is never waited for. Blocks.
#[cfg(target_os = "linux")]
pub fn lies_in_memory(file: &File) -> bool {
    /// `TMPFS_MAGIC` of linux/magic.h: tmpfs cannot be asked what it has in memory.
    const TMPFS: u64 = 0x0102_1994;

    rustix::fs::fstatfs(file).is_ok_and(|found| u64::try_from(found.f_type) == Ok(TMPFS))
}

/// Returns whether a file is on a file system that is in memory: here, that is not known.
#[cfg(not(target_os = "linux"))]
pub const fn lies_in_memory(_: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_file_in_memory_takes_none_before_it_is_written() {
        let Some((file, free)) = in_memory() else {
            return;
        };
        reserve(&file, 0, free.min(1024 * 1024)).unwrap();
        assert_eq!(file.metadata().unwrap().blocks(), 0);
    }

    #[test]
    fn a_file_in_memory_is_refused_if_what_it_lacks_is_more_than_is_free() {
        let Some((file, _)) = in_memory() else {
            return;
        };
        let size = 1 << 62;
        let refused = reserve(&file, 0, size).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        reserve(&file, size, size).unwrap();
    }

    /// A file in memory, and how many bytes are free there.
    fn in_memory() -> Option<(File, u64)> {
        let file = tempfile::tempfile_in("/dev/shm").ok();
        let found = file.and_then(|file| {
            let free = free_memory(&file).filter(|free| *free < u64::MAX)?;
            Some((file, free))
        });
        if found.is_none() {
            eprintln!("skipped: /dev/shm is not in memory, or has no end");
        }
        found
    }
}
