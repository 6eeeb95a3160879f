//! Content that compresses to about half, the same for the same seed: noise with words between.

use std::io::{self, Write};

use dhow_testkit::image::noise;

/// Writes `size` bytes.
pub(super) fn write(out: &mut impl Write, seed: u64, size: usize) -> io::Result<()> {
    let mut left = size;
    let mut number = 0_u64;
    while left > 0 {
        let mut piece = piece(seed.wrapping_add(number.wrapping_mul(0x9E37_79B9)));
        piece.truncate(left);
        out.write_all(&piece)?;
        left -= piece.len();
        number += 1;
    }
    Ok(())
}

/// Returns some noise in small bites, after each of them some words.
fn piece(seed: u64) -> Vec<u8> {
    let noise = noise(seed, NOISE);
    let mut piece = Vec::with_capacity(3 * NOISE);
    let mut rest = noise.as_slice();
    while let [choice, after @ ..] = rest {
        let length = usize::from(choice % 24).min(after.len());
        let (bite, after) = after.split_at(length);
        piece.extend_from_slice(bite);
        piece.extend_from_slice(WORDS[usize::from(choice / 24) % WORDS.len()].as_bytes());
        rest = after;
    }
    piece
}

/// How much noise goes into a piece, in bytes.
const NOISE: usize = 32 * 1024;

const WORDS: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu/",
    "Permission is hereby granted",
    " return value != NULL; }\n",
    "<a href=\"https://",
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    "static const struct option ",
    "import os\nimport sys\n",
    ".debian.org/package/",
];

#[cfg(test)]
mod tests {
    use dhow_testkit::image::gzip;

    use super::*;

    fn content(seed: u64, size: usize) -> Vec<u8> {
        let mut content = Vec::new();
        write(&mut content, seed, size).unwrap();
        content
    }

    #[test]
    fn the_same_seed_gives_the_same_content_which_compresses_to_half() {
        let size = 1_000_000;
        let one = content(1, size);
        assert_eq!(one.len(), size);
        assert_eq!(one, content(1, size));
        assert_ne!(one, content(2, size));
        let packed = gzip(&one).len();
        assert!((400_000..600_000).contains(&packed), "{packed}");
    }
}
