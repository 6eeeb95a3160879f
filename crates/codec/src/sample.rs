//! Content for tests.

use std::iter;

/// Returns bytes without a pattern, the same for the same seed (not 0).
pub(crate) fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed;
    // xorshift64: Marsaglia, "Xorshift RNGs".
    iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
}
