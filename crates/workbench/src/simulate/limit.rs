//! A limit of a registry: so many requests in any stretch of time so long.

use std::collections::VecDeque;

use super::clock::{SECOND, Time};

/// At most `count` requests in any window. A sliding window is the strictest reading of "N per
/// second": a registry that counts by the clock lets twice as many through around the turn.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    count: usize,
    window: Time,
    /// When the last `count` requests were let through, the oldest first.
    admitted: VecDeque<Time>,
}

impl Limit {
    /// Returns a limit of `count` requests, at least one, in a window.
    pub(super) fn new(count: usize, window: Time) -> Self {
        Self {
            count: count.max(1),
            window,
            admitted: VecDeque::new(),
        }
    }

    /// Lets a request through, or says how long to wait: `Retry-After`, in whole seconds.
    pub(super) fn ask(&mut self, now: Time) -> Result<(), Time> {
        if self.admitted.len() == self.count {
            let free = self.admitted.front().map_or(0, |first| first + self.window);
            if free > now {
                return Err((free - now).div_ceil(SECOND) * SECOND);
            }
            self.admitted.pop_front();
        }
        self.admitted.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_has_more_than_the_limit() {
        let mut limit = Limit::new(3, SECOND);
        let mut passed = Vec::new();
        for step in 0..1000 {
            let now = step * 37_000_000;
            match limit.ask(now) {
                Ok(()) => passed.push(now),
                Err(wait) => assert!(wait > 0 && wait % SECOND == 0, "{wait}"),
            }
        }
        assert!(passed.len() > 90, "{}", passed.len());
        for four in passed.windows(4) {
            assert!(four[3] - four[0] >= SECOND, "{four:?}");
        }
    }
}
