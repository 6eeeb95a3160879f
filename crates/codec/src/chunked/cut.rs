//! Where the content of a large file is cut: at places that depend on the content before them, so
//! that an insertion moves the cuts with it and most chunks stay what they were.

/// A rolling hash (*gear hash*): each byte counts for the 64 bytes that follow it.
#[derive(Default)]
pub(super) struct Cut {
    hash: u64,
    length: usize,
}

impl Cut {
    /// Returns how many of these bytes belong to the chunk, and whether it ends with them.
    pub(super) fn at(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (place, byte) in bytes.iter().enumerate() {
            self.hash = (self.hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
            self.length += 1;
            let natural = self.length >= SMALLEST && self.hash & MASK == 0;
            if natural || self.length == LARGEST {
                *self = Self::default();
                return (place + 1, true);
            }
        }
        (bytes.len(), false)
    }
}

/// Chunks have 64 KiB on average beyond the smallest.
const MASK: u64 = 0xffff << 48;

/// The smallest chunk that is cut, in bytes.
const SMALLEST: usize = 16 * 1024;

/// The largest chunk, in bytes: so much of it is in memory.
const LARGEST: usize = 256 * 1024;

/// A number for each byte (splitmix64 of its value).
const GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let mut state: u64 = 0;
    let mut at = 0;
    while at < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(bytes: &[u8]) -> Vec<usize> {
        let (mut cut, mut rest, mut found) = (Cut::default(), bytes, Vec::new());
        let mut length = 0;
        while !rest.is_empty() {
            let (taken, ends) = cut.at(rest);
            length += taken;
            rest = &rest[taken..];
            if ends {
                found.push(std::mem::take(&mut length));
            }
        }
        found
    }

    #[test]
    fn an_insertion_moves_the_cuts_behind_it() {
        let bytes: Vec<u8> = (0_u64..2_000_000)
            .map(|n| (n.wrapping_mul(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
            .collect();
        let before = cuts(&bytes);
        assert!(
            before
                .iter()
                .all(|length| (SMALLEST..=LARGEST).contains(length))
        );
        assert!(before.len() > 10);
        let after = cuts(&[b"inserted".as_slice(), &bytes].concat());
        let same = before.iter().rev().zip(after.iter().rev());
        assert!(same.take_while(|(a, b)| a == b).count() > before.len() / 2);
    }
}
