//! How many blobs move at once: more as long as more brings something.
//!
//! It begins with a few, and with twice as many small ones. Whenever as many blobs have arrived as
//! are in flight, the throughput since the last time is looked at, in bytes and in blobs: small blobs
//! wait for round trips and large ones for the link. While it grows, and blobs are small, twice as
//! many are let through; when it falls, half as many, and from then on one more at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How many blobs move at once in the beginning.
const FIRST: usize = 6;
/// The most that move at once, unless the user asks for more.
const MOST: usize = 32;
/// Blobs up to this size in bytes, on average, wait for round trips more than for the link.
const SMALL: u64 = 1024 * 1024;
/// How much more throughput is worth more blobs at once.
const GAIN: f64 = 1.2;
/// How much less is a sign that they are in each other's way.
const LOSS: f64 = 0.6;

/// Lets blobs through.
#[derive(Debug)]
pub(crate) struct Flow {
    slots: Semaphore,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// How many slots are to be taken away when they come back.
    owed: usize,
    window: Window,
    best: Rate,
    /// There were too many once: from then on one more is tried at a time.
    lost: bool,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    blobs: usize,
    bytes: u64,
}

/// Throughput, per second.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    blobs: f64,
    bytes: f64,
}

impl Flow {
    /// Returns a flow between places that take `caps` blobs at once. A number that is `given` by the
    /// user stays as it is. Blobs that are known to be small on `average` begin with twice as many:
    /// they wait for round trips, and so does every connection that is added later.
    pub(crate) fn new(given: Option<usize>, caps: usize, average: Option<u64>) -> Self {
        let most = given.unwrap_or(MOST).min(caps).max(1);
        let are_small = average.is_some_and(|average| average < SMALL);
        let first = if are_small { 2 * FIRST } else { FIRST };
        let limit = if given.is_some() {
            most
        } else {
            most.min(first)
        };
        Self {
            slots: Semaphore::new(limit),
            most,
            state: Mutex::new(State {
                limit,
                owed: 0,
                window: Window::new(),
                best: Rate::default(),
                lost: false,
            }),
        }
    }

    /// Returns the most blobs that will ever move at once.
    pub(crate) const fn most(&self) -> usize {
        self.most
    }

    /// Waits until one more blob may move.
    pub(crate) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        self.slots.acquire().await.ok()
    }

    /// Notes that a blob has arrived, and gives its place to another.
    pub(crate) fn leave(&self, slot: SemaphorePermit<'_>, bytes: u64) {
        let mut state = self.lock();
        let before = state.limit;
        state.arrived(bytes, self.most);
        if state.limit > before {
            self.slots.add_permits(state.limit - before);
        } else {
            state.owed += before - state.limit;
        }
        if state.owed > 0 {
            state.owed -= 1;
            slot.forget();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn arrived(&mut self, bytes: u64, most: usize) {
        self.window.blobs += 1;
        self.window.bytes += bytes;
        if self.window.blobs < self.limit {
            return;
        }
        let rate = self.window.rate();
        let is_small = self.window.bytes / (self.window.blobs as u64) < SMALL;
        self.window = Window::new();
        let gain = rate.over(self.best);
        if gain >= GAIN && is_small {
            let more = if self.lost { 1 } else { self.limit };
            self.limit = (self.limit + more).min(most);
        } else if gain < LOSS && self.limit > FIRST {
            self.limit = (self.limit / 2).max(FIRST);
            self.lost = true;
            // What was best under other circumstances is no measure any more.
            self.best = rate;
        }
        self.best = self.best.max(rate);
    }
}

impl Window {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            blobs: 0,
            bytes: 0,
        }
    }

    fn rate(&self) -> Rate {
        let seconds = self.start.elapsed().as_secs_f64().max(1e-4);
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        Rate {
            blobs: self.blobs as f64 / seconds,
            bytes: self.bytes as f64 / seconds,
        }
    }
}

impl Rate {
    /// Returns how many times as high this is, by the measure that has grown more.
    fn over(self, other: Self) -> f64 {
        (self.blobs / other.blobs.max(f64::MIN_POSITIVE))
            .max(self.bytes / other.bytes.max(f64::MIN_POSITIVE))
    }

    fn max(self, other: Self) -> Self {
        Self {
            blobs: self.blobs.max(other.blobs),
            bytes: self.bytes.max(other.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Lets blobs of a size through, which take `time` each for a number that is in flight, and
    /// returns the limit at the end.
    async fn limit_after(
        flow: &Flow,
        blobs: usize,
        size: u64,
        time: impl Fn(usize) -> Duration,
    ) -> usize {
        let mut left = blobs;
        while left > 0 {
            let limit = flow.lock().limit.min(left);
            let mut slots = Vec::new();
            for _ in 0..limit {
                slots.push(flow.enter().await.unwrap());
            }
            tokio::time::sleep(time(limit)).await;
            for slot in slots {
                flow.leave(slot, size);
            }
            left -= limit;
        }
        flow.lock().limit
    }

    #[tokio::test(start_paused = true)]
    async fn blobs_that_wait_for_round_trips_are_many_at_once() {
        let flow = Flow::new(None, 64, None);
        let round_trips = |_| Duration::from_millis(40);
        assert_eq!(limit_after(&flow, 200, 1000, round_trips).await, MOST);
    }

    #[test]
    fn more_small_blobs_than_large_ones_move_in_the_beginning() {
        for (given, caps, average, expected) in [
            (None, 64, SMALL, FIRST),
            (None, 64, SMALL - 1, 2 * FIRST),
            (None, 8, 1, 8),
            (None, 4, 1, 4),
            (Some(3), 64, 1, 3),
            (Some(40), 64, 1, 40),
        ] {
            let flow = Flow::new(given, caps, Some(average));
            assert_eq!(flow.slots.available_permits(), expected);
            assert_eq!(flow.lock().limit, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn blobs_that_wait_for_the_link_are_not() {
        let flow = Flow::new(None, 64, None);
        let link = |count: usize| Duration::from_millis(100) * u32::try_from(count).unwrap();
        let limit = limit_after(&flow, 200, 1 << 24, link).await;
        assert_eq!(limit, FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn when_throughput_breaks_down_fewer_move() {
        let flow = Flow::new(None, 64, None);
        limit_after(&flow, 200, 1000, |_| Duration::from_millis(40)).await;
        let crowded = |count: usize| Duration::from_millis(10 * (count * count) as u64);
        let limit = limit_after(&flow, 200, 1000, crowded).await;
        assert!(limit < MOST, "{limit}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_that_the_user_gives_and_the_caps_hold() {
        let fast = |_| Duration::from_millis(1);
        for (given, caps, expected) in [(Some(3), 64, 3), (Some(50), 6, 6), (None, 4, 4)] {
            let flow = Flow::new(given, caps, None);
            assert_eq!(limit_after(&flow, 100, 1, fast).await, expected);
        }
    }
}
