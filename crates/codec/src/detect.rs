//! Tells by its first bytes how a stream is compressed.

use dhow_model::Compression;

/// How many bytes tell the compression.
pub const MAGIC: usize = 6;

/// Returns the compression whose magic number `start` has; [`MAGIC`] bytes are enough.
pub fn detect(start: &[u8]) -> Option<Compression> {
    const MAGICS: [(&[u8], Compression); 4] = [
        (&[0x1f, 0x8b, 0x08], Compression::Gzip),
        (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
        (b"BZh", Compression::Bzip2),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
    ];
    MAGICS
        .into_iter()
        .find(|(magic, _)| start.starts_with(magic))
        .map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_numbers_tell_the_compression() {
        assert_eq!(detect(&[0x1f, 0x8b, 8, 0]), Some(Compression::Gzip));
        assert_eq!(
            detect(&[0x28, 0xb5, 0x2f, 0xfd, 1]),
            Some(Compression::Zstd)
        );
        assert_eq!(detect(b"BZh9"), Some(Compression::Bzip2));
        assert_eq!(detect(b"\xfd7zXZ\0"), Some(Compression::Xz));
        assert_eq!(detect(b"etc/passwd"), None);
        assert_eq!(detect(b""), None);
    }
}
