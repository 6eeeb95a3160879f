//! What in a block cannot become smaller: files in a layer that are compressed already, or keys.
//!
//! They are a sixth of a usual layer, and a compressor takes longer over them than over anything
//! else.

use std::iter;

use memchr::memmem;

/// Cuts a block into runs, and says of each whether compressing it is in vain.
pub(super) fn runs(block: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let mut pieces = (0..block.len())
        .step_by(PIECE)
        .map(|start| (start, is_noise(block, start)))
        .peekable();
    iter::from_fn(move || {
        let (start, noise) = pieces.next()?;
        while pieces.next_if(|(_, next)| *next == noise).is_some() {}
        let end = pieces.peek().map_or(block.len(), |(end, _)| *end);
        Some((&block[start..end], noise))
    })
}

/// Returns whether the piece that starts there has no pattern that a compressor could use.
fn is_noise(block: &[u8], start: usize) -> bool {
    block[start..]
        .first_chunk()
        .is_some_and(|piece| is_even(piece) && !is_repeated(block, start))
}

/// Returns whether all bytes are about as frequent, by a sample of them.
fn is_even(piece: &[u8; PIECE]) -> bool {
    let mut counts = [0_u16; 256];
    for sample in piece.as_chunks::<{ 8 * SAMPLED }>().0 {
        for byte in &sample[..8] {
            counts[usize::from(*byte)] += 1;
        }
    }
    let squares = counts.iter().map(|count| usize::from(*count).pow(2));
    squares.sum::<usize>() < MOST_SQUARES
}

/// Returns whether the middle of the piece has been in the block before, as near as a compressor
/// looks: random bytes, but not for the first time.
fn is_repeated(block: &[u8], start: usize) -> bool {
    let middle = start + PIECE / 2;
    let needle = &block[middle..middle + 8];
    let before = &block[middle.saturating_sub(WINDOW)..middle + needle.len() - 1];
    memmem::find(before, needle).is_some()
}

/// How much is looked at as one, in bytes. Of smaller pieces too little is known.
const PIECE: usize = 8 * 1024;

/// Eight bytes in so many times eight are counted.
const SAMPLED: usize = 8;

/// How many bytes of a piece are counted.
const COUNTED: usize = PIECE / SAMPLED;

/// The sum of the squared counts under which bytes are as good as random: the sum to be expected
/// then, and half of what it would be if the counts were all the same.
const MOST_SQUARES: usize = COUNTED * COUNTED / 256 * 3 / 2 + COUNTED;

/// How far back a match may be, RFC 1951 section 2.
const WINDOW: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::noise;

    fn lengths(block: &[u8]) -> Vec<(usize, bool)> {
        runs(block).map(|(run, noise)| (run.len(), noise)).collect()
    }

    #[test]
    fn random_bytes_are_noise_and_text_is_not() {
        let text = b"usr/share/doc/libdeflate/copyright 0644 root root\n".iter();
        let text = |length: usize| text.clone().copied().cycle().take(length);
        let random = |length: usize| noise(1).take(length);
        let block: Vec<u8> = text(2 * PIECE)
            .chain(random(3 * PIECE))
            .chain(text(100))
            .collect();
        assert_eq!(
            lengths(&block),
            [(2 * PIECE, false), (3 * PIECE, true), (100, false)]
        );
        let whole: Vec<u8> = runs(&block).flat_map(|(run, _)| run).copied().collect();
        assert_eq!(whole, block);
        assert_eq!(lengths(&[]), []);
    }

    #[test]
    fn what_is_too_short_to_judge_is_compressed() {
        let block: Vec<u8> = noise(2).take(PIECE - 1).collect();
        assert_eq!(lengths(&block), [(PIECE - 1, false)]);
    }

    #[test]
    fn random_bytes_that_come_again_are_worth_compressing() {
        for period in [300, 4_000, PIECE, WINDOW] {
            let once: Vec<u8> = noise(3).take(period).collect();
            let block: Vec<u8> = once.iter().copied().cycle().take(256 * 1024).collect();
            let found: usize = runs(&block)
                .filter(|run| run.1)
                .map(|run| run.0.len())
                .sum();
            assert!(found <= period, "{found} of {period}");
        }
    }

    #[test]
    fn letters_of_base64_are_worth_compressing() {
        let block: Vec<u8> = noise(4).map(|byte| b'0' + byte % 64).take(PIECE).collect();
        assert_eq!(lengths(&block), [(PIECE, false)]);
    }
}
