//! In which order blobs move: the largest first, so that the longest transfer starts at once; one
//! worker takes the smallest, so that they never wait for the large ones.

use std::collections::VecDeque;
use std::sync::Mutex;

/// Work sorted by size, taken from both ends.
#[derive(Debug)]
pub(crate) struct Queue<T>(Mutex<VecDeque<T>>);

impl<T> Queue<T> {
    /// Takes work that is sorted, the largest first.
    pub(crate) fn new(sorted: impl IntoIterator<Item = T>) -> Self {
        Self(Mutex::new(sorted.into_iter().collect()))
    }

    /// Returns the next piece of work for a worker.
    pub(crate) fn next(&self, takes_smallest: bool) -> Option<T> {
        let mut work = self.0.lock().ok()?;
        if takes_smallest {
            work.pop_back()
        } else {
            work.pop_front()
        }
    }
}
