//! Writing tar files: headers without owner and time, padding, the end (POSIX.1-2017, *ustar
//! Interchange Format*).

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

use tar::{EntryType, Header};

use crate::file_blob::Part;

/// The size of a header, and what all content is padded to, in bytes.
pub(crate) const BLOCK: u64 = 512;

/// Returns the header of a member that belongs to root and is as old as the epoch.
pub(crate) fn header(name: &str, kind: EntryType, size: u64, mode: u32) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

/// Returns the header of a symbolic link.
pub(crate) fn link(name: &str, target: &str) -> io::Result<Header> {
    let mut header = header(name, EntryType::Symlink, 0, 0o777)?;
    header.set_link_name(target)?;
    header.set_cksum();
    Ok(header)
}

/// Returns the zeros behind content of this size.
pub(crate) fn padding(size: u64) -> Vec<u8> {
    let rest = size.next_multiple_of(BLOCK) - size;
    vec![0; usize::try_from(rest).unwrap_or_default()]
}

/// The end of a tar file.
pub(crate) const END: [u8; 1024] = [0; 1024];

/// Copies a part of a file to where another one stands; the kernel moves the bytes where it can.
pub(crate) fn copy(from: &File, part: Part, to: &mut File) -> io::Result<()> {
    let (mut offset, mut left) = (part.offset, part.size);
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let moved = match rustix::fs::copy_file_range(from, Some(&mut offset), &*to, None, most) {
            Ok(moved) => moved as u64,
            // Between file systems, or into a pipe.
            Err(_) => return copy_bytes(from, Part { offset, size: left }, to),
        };
        if moved == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= moved;
    }
    Ok(())
}

/// Copies a part of a file to anything.
pub(crate) fn copy_bytes(from: &File, part: Part, to: &mut dyn Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let (mut offset, end) = (part.offset, part.offset + part.size);
    while offset < end {
        let room = usize::try_from(end - offset).unwrap_or(PIECE).min(PIECE);
        from.read_exact_at(&mut piece[..room], offset)?;
        to.write_all(&piece[..room])?;
        offset += room as u64;
    }
    Ok(())
}

/// How much is copied at once where the kernel does not do it, in bytes.
const PIECE: usize = 256 * 1024;
