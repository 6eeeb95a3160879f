//! What the header of an entry says.

/// One entry of an archive, as its headers together describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name, as it is written.
    pub(crate) name: Vec<u8>,
    /// What a link leads to.
    pub(crate) link: Vec<u8>,
    /// What it is.
    pub(crate) kind: EntryKind,
    /// Permissions, and the bits for set-user-ID, set-group-ID and sticky.
    pub(crate) mode: u32,
    /// The owner.
    pub(crate) uid: u64,
    /// The group.
    pub(crate) gid: u64,
    /// The bytes that follow.
    pub(crate) size: u64,
    /// When it was changed.
    pub(crate) mtime: Time,
    /// When it was read, where it is told.
    pub(crate) atime: Option<Time>,
    /// The numbers of a device.
    pub(crate) device: (u32, u32),
    /// Extended attributes.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The parts of a sparse file that hold something, and its whole size.
    pub(crate) sparse: Option<Sparse>,
}

/// How the parts of a sparse file are told (GNU tar, *Sparse Formats*).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// The size of the file with its holes.
    pub(crate) real_size: u64,
    /// The parts, where the header tells them; else they stand before the content.
    pub(crate) map: Option<Vec<(u64, u64)>>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Regular,
    Directory,
    HardLink,
    Symlink,
    Character,
    Block,
    Fifo,
    /// Something else, by its letter.
    Other(u8),
}

impl EntryKind {
    /// Returns the kind for the letter of a header.
    pub(super) fn of(letter: u8, name: &[u8]) -> Self {
        match letter {
            // SPEC: POSIX.1-1988 archives mark folders by their name alone.
            0 | b'0' if name.ends_with(b"/") => Self::Directory,
            0 | b'0' => Self::Regular,
            b'1' => Self::HardLink,
            b'2' => Self::Symlink,
            b'3' => Self::Character,
            b'4' => Self::Block,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            other => Self::Other(other),
        }
    }

    /// Returns whether bytes follow such a header.
    pub(super) const fn has_content(self) -> bool {
        matches!(self, Self::Regular | Self::Other(_))
    }
}

/// A moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub(crate) seconds: i64,
    /// Nanoseconds after that: 0 to 999,999,999.
    pub(crate) nanos: u32,
}

impl Time {
    /// Parses the decimal number of a pax record.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let seconds: i64 = whole.parse().ok()?;
        let mut digits = part.bytes().chain(std::iter::repeat(b'0')).take(9);
        let nanos = digits.try_fold(0u32, |sum, digit| {
            digit
                .is_ascii_digit()
                .then(|| sum * 10 + u32::from(digit - b'0'))
        })?;
        if whole.starts_with('-') && nanos > 0 {
            return Some(Self {
                seconds: seconds.checked_sub(1)?,
                nanos: 1_000_000_000 - nanos,
            });
        }
        Some(Self { seconds, nanos })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_of_any_length() {
        let time = |seconds, nanos| Some(Time { seconds, nanos });
        for (text, expected) in [
            ("12", time(12, 0)),
            ("12.5", time(12, 500_000_000)),
            ("1.0000000019", time(1, 1)),
            ("-1.25", time(-2, 750_000_000)),
            ("-3", time(-3, 0)),
            ("x", None),
            ("1.x", None),
            ("", None),
        ] {
            assert_eq!(Time::parse(text.as_bytes()), expected, "{text}");
        }
    }
}
