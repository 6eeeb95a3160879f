//! How far a verification was when its stream broke, so that it goes on there and not at the start.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dhow_model::Hasher;

/// How far apart checkpoints are, in bytes: about so much is read again after a break.
const STEP: u64 = 256 * 1024;
/// How many are remembered. What is on its way to a registry that has not taken it is less than they
/// span.
const MOST: usize = 128;

/// The latest states of the verification of one blob. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints(Arc<Mutex<VecDeque<(u64, Hasher)>>>);

impl Checkpoints {
    /// Returns the last position (bytes, 0-based) up to `offset` from which the verification can go
    /// on. 0 is always one.
    pub fn before(&self, offset: u64) -> u64 {
        let known = self.lock();
        let found = known.iter().rev().find(|(position, _)| *position <= offset);
        found.map_or(0, |(position, _)| *position)
    }

    /// Returns the state at a position that [`Checkpoints::before`] has given, and forgets what came
    /// after it.
    pub(super) fn at(&self, position: u64) -> Option<Hasher> {
        let mut known = self.lock();
        known.retain(|(other, _)| *other <= position);
        let (last, hasher) = known.back()?;
        (*last == position).then(|| hasher.clone())
    }

    /// Remembers the state after `seen` bytes, if the last one is some way back.
    pub(super) fn pass(&self, seen: u64, hasher: &Hasher) {
        let mut known = self.lock();
        let last = known.back().map_or(0, |(position, _)| *position);
        if seen < last + STEP {
            return;
        }
        if known.len() == MOST {
            known.pop_front();
        }
        known.push_back((seen, hasher.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Hasher)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use dhow_model::{Algorithm, Digest};

    use super::*;

    #[test]
    fn a_verification_goes_on_where_it_was() {
        let at = |position: u64| usize::try_from(position).unwrap();
        let data: Vec<u8> = (0..=250).cycle().take(at(8 * STEP)).collect();
        let (checkpoints, mut hasher) = (Checkpoints::default(), Hasher::new(Algorithm::Sha256));
        let mut seen = 0;
        for piece in data[..at(6 * STEP)].chunks(100_000) {
            hasher.update(piece);
            seen += piece.len() as u64;
            checkpoints.pass(seen, &hasher);
        }
        let broke = 4 * STEP + 17;
        let start = checkpoints.before(broke);
        assert!(start <= broke && start + 2 * STEP > broke, "{start}");
        let mut again = checkpoints.at(start).unwrap();
        again.update(&data[at(start)..]);
        assert_eq!(again.finish(), Digest::sha256(&data));
        // What came later has not happened.
        assert_eq!(checkpoints.before(u64::MAX), start);
    }

    #[test]
    fn what_is_too_far_back_begins_anew() {
        let checkpoints = Checkpoints::default();
        let hasher = Hasher::new(Algorithm::Sha256);
        for step in 1..=2 * MOST as u64 {
            checkpoints.pass(step * STEP, &hasher);
        }
        assert_eq!(checkpoints.before(STEP), 0);
        assert!(checkpoints.at(0).is_none());
    }
}
