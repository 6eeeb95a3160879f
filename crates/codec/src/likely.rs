//! How much will come out of a gzip file, as its end tells (RFC 1952 section 2.3.1, ISIZE).
//!
//! It tells that of the last member only, and no more than 32 bits of it: who uses it looks whether it
//! was true.

/// How many bytes at the end of a gzip file tell it.
pub const ISIZE: usize = 4;

/// Returns how many bytes will probably come out of a gzip file of `compressed` bytes; `None` where
/// that is not likely, as it would have become larger, or smaller than layers do.
pub fn likely_size(compressed: u64, end: [u8; ISIZE]) -> Option<u64> {
    let size = u64::from(u32::from_le_bytes(end));
    // What cannot be compressed may have nine bits for a byte (RFC 1951 section 3.2.6).
    let most = size + size / 8 + MOST_AROUND;
    let least = size / MOST_RATIO;
    (least..=most).contains(&compressed).then_some(size)
}

/// How much is around the content, in bytes: header, name, comment and trailer.
const MOST_AROUND: u64 = 1024;

/// How many times smaller layers become at most. gzip itself can make a thousandth of zeros.
const MOST_RATIO: u64 = 100;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::sample::noise;

    fn guessed(file: &[u8]) -> Option<u64> {
        likely_size(file.len() as u64, *file.last_chunk().unwrap())
    }

    fn packed(content: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn one_member_tells_how_much_comes_out() {
        let text: Vec<u8> = (0..60_000_u32)
            .flat_map(|n| (n * n % 9767).to_string().into_bytes())
            .collect();
        let noise: Vec<u8> = noise(1).take(400_000).collect();
        for content in [text, noise] {
            for level in [0, 1, 9] {
                let size = content.len() as u64;
                assert_eq!(guessed(&packed(&content, level)), Some(size));
            }
        }
    }

    #[test]
    fn several_members_and_what_is_no_gzip_tell_nothing() {
        let noise: Vec<u8> = noise(1).take(400_000).collect();
        let members = [packed(&noise, 1), packed(b"the end", 1)].concat();
        assert_eq!(guessed(&members), None);
        assert_eq!(guessed(&[packed(&noise, 1), vec![0; 512]].concat()), None);
        assert_eq!(guessed(&[0xff; 5000]), None);
    }

    #[test]
    fn more_than_layers_shrink_is_not_believed() {
        assert_eq!(likely_size(1 << 20, u32::MAX.to_le_bytes()), None);
        let zeros = packed(&vec![0; 10 << 20], 9);
        assert_eq!(guessed(&zeros), None);
    }
}
