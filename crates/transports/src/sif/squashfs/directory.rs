//! The entries of a directory.

use std::io;

use super::inode::Listing;
use super::metadata::Position;
use super::{Squashfs, invalid};

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sif) struct Entry {
    pub(in crate::sif) name: Vec<u8>,
    /// Where its inode is.
    pub(in crate::sif) inode: u64,
}

impl Squashfs<'_> {
    /// Returns the entries of a directory in the order of their names.
    ///
    /// # Errors
    /// Also when a name could not be that of a file, or is there twice.
    pub(in crate::sif) fn entries(&mut self, listing: Listing) -> io::Result<Vec<Entry>> {
        if u64::from(listing.size) > MOST_NAMES {
            return Err(invalid("a directory of the squashfs has too many names"));
        }
        let reference = u64::from(listing.block) << 16 | u64::from(listing.offset);
        let mut position = Position::new(self.superblock.directory_table, reference)?;
        let mut reader = self.reader(&mut position);
        // SPEC: the size counts three bytes for `.` and `..`, which are not there.
        let mut left = listing.size.saturating_sub(3);
        let mut entries = Vec::new();
        while left > 0 {
            let count = reader.number32()?;
            let block = u64::from(reader.number32()?);
            let _number = reader.number32()?;
            left = take(left, 12)?;
            if count >= MOST_IN_A_RUN {
                return Err(invalid(
                    "a directory of the squashfs has a run that is too long",
                ));
            }
            for _ in 0..=count {
                let offset = u64::from(reader.number16()?);
                let (_number, _kind) = (reader.number16()?, reader.number16()?);
                let length = u32::from(reader.number16()?) + 1;
                if length > LONGEST_NAME {
                    return Err(invalid("the squashfs has a name that is too long"));
                }
                let mut name = vec![0; length as usize];
                reader.read(&mut name)?;
                left = take(left, 8 + length)?;
                check(&name)?;
                entries.push(Entry {
                    name,
                    inode: block << 16 | offset,
                });
            }
        }
        entries.sort_unstable();
        if let Some(twice) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let name = String::from_utf8_lossy(&twice[0].name);
            return Err(invalid(format!(
                "the squashfs has the name `{}` twice in a directory",
                name.escape_debug()
            )));
        }
        Ok(entries)
    }
}

fn take(left: u32, bytes: u32) -> io::Result<u32> {
    left.checked_sub(bytes)
        .ok_or_else(|| invalid("a directory of the squashfs goes on behind its end"))
}

fn check(name: &[u8]) -> io::Result<()> {
    if name == b"." || name == b".." || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        let shown = String::from_utf8_lossy(name);
        return Err(invalid(format!(
            "the squashfs has a file named `{}`, which is no name",
            shown.escape_debug()
        )));
    }
    Ok(())
}

/// SPEC: one less is noted.
const MOST_IN_A_RUN: u32 = 256;
/// What names and numbers of entries may take at a time, in bytes: some 500 000 usual names.
pub(in crate::sif) const MOST_NAMES: u64 = 16 * 1024 * 1024;
/// In bytes.
const LONGEST_NAME: u32 = 256;
