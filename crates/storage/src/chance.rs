//! Names and tokens that nobody else has.

use std::hash::{BuildHasher as _, RandomState};

/// Returns bytes of chance. Not for secrets.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut made = [0; N];
    for chunk in made.chunks_mut(8) {
        // Every state has keys of its own, from the system's source of chance.
        let word = RandomState::new().hash_one(chunk.len()).to_le_bytes();
        for (slot, byte) in chunk.iter_mut().zip(word) {
            *slot = byte;
        }
    }
    made
}

/// Returns 16 lower-case hex digits of chance.
pub(crate) fn name() -> String {
    format!("{:016x}", u64::from_le_bytes(bytes()))
}

/// Returns 64 lower-case hex digits of chance, as IDs have them.
pub(crate) fn id() -> String {
    format!("{}{}{}{}", name(), name(), name(), name())
}

/// Returns 26 characters of `A`–`Z` and `2`–`7`: the short name of a layer, which overlay mounts
/// name instead of the long one.
pub(crate) fn link() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte & 31)]);
    bytes::<26>().iter().map(letter).collect()
}
