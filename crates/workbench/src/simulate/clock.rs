//! Virtual time: what is to happen, in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nanoseconds since the beginning.
pub(super) type Time = u64;

/// One second.
pub(super) const SECOND: Time = 1_000_000_000;

/// What is to happen. What is planned for the same moment happens in the order in which it was planned,
/// so that a run is the same every time.
#[derive(Debug)]
pub(super) struct Clock<E> {
    now: Time,
    planned: u64,
    queue: BinaryHeap<Reverse<(Time, u64, Ordered<E>)>>,
}

impl<E> Clock<E> {
    /// Returns a clock that stands at zero.
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            planned: 0,
            queue: BinaryHeap::new(),
        }
    }

    /// Returns the present.
    pub(super) const fn now(&self) -> Time {
        self.now
    }

    /// Plans something; what should have happened happens now.
    pub(super) fn plan(&mut self, at: Time, event: E) {
        self.planned += 1;
        let at = at.max(self.now);
        self.queue.push(Reverse((at, self.planned, Ordered(event))));
    }

    /// Goes on to what happens next.
    pub(super) fn next(&mut self) -> Option<E> {
        let Reverse((at, _, Ordered(event))) = self.queue.pop()?;
        self.now = at;
        Some(event)
    }
}

/// An event, which has no part in the order.
#[derive(Debug)]
struct Ordered<E>(E);

impl<E> PartialEq for Ordered<E> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<E> Eq for Ordered<E> {}

impl<E> PartialOrd for Ordered<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Ordered<E> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_and_then_of_planning() {
        let mut clock = Clock::new();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            clock.plan(at, name);
        }
        let mut seen = String::new();
        while let Some(name) = clock.next() {
            seen.push(name);
            if name == 'b' {
                clock.plan(0, 'x');
                assert_eq!(clock.now(), 3);
            }
        }
        assert_eq!(seen, "abxcd");
    }
}
