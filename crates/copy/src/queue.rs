//! In which order blobs move: the largest first, so that the longest transfer starts at once; one
//! worker takes the smallest, so that they never wait for the large ones.
//!
//! What the destination may have is asked for ahead, in the same way, and only what it lacks comes
//! to the workers:
//!
//! ```text
//! Asking ─▶ does the destination have it? ─▶ Ready ─▶ a worker sends it
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Work that the destination is still to be asked about, in its order.
#[derive(Debug)]
pub(crate) struct Asking<T>(Mutex<VecDeque<(usize, T)>>);

impl<T> Asking<T> {
    /// Takes work that is sorted, what is to be done first at the front.
    pub(crate) fn new(sorted: impl IntoIterator<Item = T>) -> Self {
        Self(Mutex::new(sorted.into_iter().enumerate().collect()))
    }

    /// Returns the next piece of work, with its place in the order.
    pub(crate) fn next(&self, takes_smallest: bool) -> Option<(usize, T)> {
        let mut work = self.0.lock().ok()?;
        if takes_smallest {
            work.pop_back()
        } else {
            work.pop_front()
        }
    }
}

/// Work that has to be done, taken from both ends of the order.
#[derive(Debug)]
pub(crate) struct Ready<T> {
    state: Mutex<State<T>>,
    /// Something came, or nothing will come any more.
    news: Notify,
    /// How far asking may be ahead of doing.
    ahead: Semaphore,
}

#[derive(Debug)]
struct State<T> {
    work: BTreeMap<usize, T>,
    /// How many pieces of work are not asked about yet.
    unasked: usize,
}

impl<T> Ready<T> {
    /// Returns an empty queue that `count` pieces of work may come to, `ahead` of them before the
    /// first is taken.
    pub(crate) fn new(count: usize, ahead: usize) -> Self {
        Self {
            state: Mutex::new(State {
                work: BTreeMap::new(),
                unasked: count,
            }),
            news: Notify::new(),
            ahead: Semaphore::new(ahead),
        }
    }

    /// Waits until one more may be asked about. The permit goes to [`Ready::push`] when the work
    /// has to be done.
    pub(crate) async fn room(&self) -> Option<SemaphorePermit<'_>> {
        self.ahead.acquire().await.ok()
    }

    /// Adds work that has to be done.
    pub(crate) fn push(&self, place: usize, work: T, room: SemaphorePermit<'_>) {
        room.forget();
        let mut state = self.lock();
        state.work.insert(place, work);
        state.unasked -= 1;
        drop(state);
        self.news.notify_waiters();
    }

    /// Notes that a piece of work need not be done.
    pub(crate) fn settle(&self) {
        self.lock().unasked -= 1;
        self.news.notify_waiters();
    }

    /// Returns the next piece of work; `None` when there will be none.
    pub(crate) async fn next(&self, takes_smallest: bool) -> Option<T> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // From here on no news is missed.
            news.as_mut().enable();
            {
                let mut state = self.lock();
                let taken = if takes_smallest {
                    state.work.pop_last()
                } else {
                    state.work.pop_first()
                };
                if let Some((_, work)) = taken {
                    self.ahead.add_permits(1);
                    return Some(work);
                }
                if state.unasked == 0 {
                    return None;
                }
            }
            news.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_taken_from_both_ends_and_ends() {
        let ready = Ready::new(4, 4);
        for (place, work) in [(2, "c"), (0, "a"), (3, "d")] {
            let room = ready.room().await.unwrap();
            ready.push(place, work, room);
        }
        assert_eq!(ready.next(false).await, Some("a"));
        assert_eq!(ready.next(true).await, Some("d"));
        let (taken, ()) = tokio::join!(
            async { (ready.next(false).await, ready.next(false).await) },
            async {
                tokio::task::yield_now().await;
                ready.settle();
            }
        );
        assert_eq!(taken, (Some("c"), None));
    }

    #[tokio::test(start_paused = true)]
    async fn asking_is_not_further_ahead_than_allowed() {
        let ready = Ready::new(3, 2);
        for place in 0..2 {
            let room = ready.room().await.unwrap();
            ready.push(place, place, room);
        }
        let wait = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(wait, ready.room()).await.is_err());
        assert_eq!(ready.next(false).await, Some(0));
        assert!(tokio::time::timeout(wait, ready.room()).await.is_ok());
    }
}
