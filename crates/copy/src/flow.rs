//! How many blobs move at once: more as long as more brings something.
//!
//! It begins with a few, with more if they are small, and with most if they have a long way. Whenever
//! as many blobs have arrived as are in flight, the throughput since the last time is looked at, in
//! bytes and in blobs: small blobs wait for round trips and large ones for the link. While it grows,
//! and blobs are small, twice as many are let through; when it falls, half as many, and from then on
//! one more at a time.
//!
//! Where no round trip takes time, more small blobs at once only share the processor of the one that
//! takes them, and each brings a connection: their number grows if they wait for something else there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Duration, Instant};

/// How many blobs move at once in the beginning.
const FIRST: usize = 6;
/// The most that move at once, unless the user asks for more.
const MOST: usize = 32;
/// Blobs up to this size in bytes, on average, wait for round trips more than for the link.
const SMALL: u64 = 1024 * 1024;
/// How many small blobs keep the processors of a place busy that is near.
const ENOUGH_NEAR: usize = 2 * FIRST;
/// How long a small blob takes that is near and waits for more than a processor.
const LONG: Duration = Duration::from_millis(100);
/// How much more throughput is worth more blobs at once.
const GAIN: f64 = 1.2;
/// How much less is a sign that they are in each other's way.
const LOSS: f64 = 0.6;

/// What is known of blobs and of their way before the first one moves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prospect {
    /// How many bytes they have on average.
    pub(crate) average: Option<u64>,
    /// Whether requests take work rather than time, at both ends.
    pub(crate) near: bool,
}

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
    near: bool,
    /// Near by, making the connections takes longer than all that can be compared with it: the first
    /// window says nothing.
    cold: bool,
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

impl Prospect {
    /// Returns how many blobs move in the beginning. Small ones that have a long way wait for round
    /// trips, and so does every connection that is added later.
    fn first(self) -> usize {
        let are_small = self.average.is_some_and(|average| average < SMALL);
        match (are_small, self.near) {
            (false, _) => FIRST,
            (true, true) => ENOUGH_NEAR,
            (true, false) => 4 * FIRST,
        }
    }
}

impl Flow {
    /// Returns a flow between places that take `caps` blobs at once. A number that is `given` by the
    /// user stays as it is.
    pub(crate) fn new(given: Option<usize>, caps: usize, prospect: Prospect) -> Self {
        let most = given.unwrap_or(MOST).min(caps).max(1);
        let limit = if given.is_some() {
            most
        } else {
            most.min(prospect.first())
        };
        Self {
            slots: Semaphore::new(limit),
            most,
            state: Mutex::new(State {
                limit,
                owed: 0,
                window: Window::new(),
                near: prospect.near,
                cold: prospect.near,
                best: Rate::default(),
                lost: false,
            }),
        }
    }

    /// Returns the most blobs that will ever move at once.
    pub(crate) const fn most(&self) -> usize {
        self.most
    }

    /// Returns how many blobs move at once at present.
    pub(crate) fn limit(&self) -> usize {
        self.lock().limit
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
        let window = std::mem::replace(&mut self.window, Window::new());
        if std::mem::take(&mut self.cold) {
            return;
        }
        let rate = window.rate();
        // As many arrive in a window as are in flight: it is as long as one of them takes.
        let waits = !self.near || window.start.elapsed() >= LONG;
        let may_grow = waits || self.limit < ENOUGH_NEAR;
        let gain = rate.over(self.best);
        if gain >= GAIN && may_grow && window.is_of_small() {
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

    const fn is_of_small(&self) -> bool {
        self.bytes / (self.blobs as u64) < SMALL
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
            let limit = flow.limit().min(left);
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
        flow.limit()
    }

    #[tokio::test(start_paused = true)]
    async fn blobs_that_wait_for_round_trips_are_many_at_once() {
        let flow = Flow::new(None, 64, Prospect::default());
        let round_trips = |_| Duration::from_millis(40);
        assert_eq!(limit_after(&flow, 200, 1000, round_trips).await, MOST);
    }

    #[test]
    fn more_small_blobs_than_large_ones_move_in_the_beginning_and_most_on_a_long_way() {
        for (given, caps, average, near, expected) in [
            (None, 64, SMALL, false, FIRST),
            (None, 64, SMALL, true, FIRST),
            (None, 64, SMALL - 1, false, 4 * FIRST),
            (None, 64, SMALL - 1, true, ENOUGH_NEAR),
            (None, 8, 1, true, 8),
            (None, 4, 1, false, 4),
            (Some(3), 64, 1, false, 3),
            (Some(40), 64, 1, true, 40),
        ] {
            let average = Some(average);
            let flow = Flow::new(given, caps, Prospect { average, near });
            assert_eq!(flow.slots.available_permits(), expected);
            assert_eq!(flow.limit(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn small_blobs_near_by_grow_in_number_only_if_they_wait_there() {
        let busy = |count: usize| Duration::from_millis(3) * u32::try_from(count).unwrap();
        let waiting = |_| Duration::from_millis(150);
        for average in [1000, 4 * SMALL] {
            let near = Prospect {
                average: Some(average),
                near: true,
            };
            let flow = || Flow::new(None, 64, near);
            assert_eq!(limit_after(&flow(), 300, 1000, busy).await, ENOUGH_NEAR);
            assert_eq!(limit_after(&flow(), 300, 1000, waiting).await, MOST);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn blobs_that_wait_for_the_link_are_not() {
        let flow = Flow::new(None, 64, Prospect::default());
        let link = |count: usize| Duration::from_millis(100) * u32::try_from(count).unwrap();
        let limit = limit_after(&flow, 200, 1 << 24, link).await;
        assert_eq!(limit, FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn when_throughput_breaks_down_fewer_move() {
        let flow = Flow::new(None, 64, Prospect::default());
        limit_after(&flow, 200, 1000, |_| Duration::from_millis(40)).await;
        let crowded = |count: usize| Duration::from_millis(10 * (count * count) as u64);
        let limit = limit_after(&flow, 200, 1000, crowded).await;
        assert!(limit < MOST, "{limit}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_that_the_user_gives_and_the_caps_hold() {
        let fast = |_| Duration::from_millis(1);
        for (given, caps, expected) in [(Some(3), 64, 3), (Some(50), 6, 6), (None, 4, 4)] {
            let flow = Flow::new(given, caps, Prospect::default());
            assert_eq!(limit_after(&flow, 100, 1, fast).await, expected);
        }
    }
}
