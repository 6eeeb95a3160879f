//! Work for all cores, whose results come in the order in which it was started.
//!
//! Several queues may be at work at once, each with memory for what it has started. Each may start
//! one piece at any time; more only as long as all together have few.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use super::threads;

/// The work that was started and whose results were not taken yet.
pub(crate) struct Queue<T> {
    waiting: VecDeque<Receiver<io::Result<T>>>,
    /// How many pieces of work all queues may have together before each has but one.
    most: usize,
}

/// How many pieces of work all queues have.
static STARTED: AtomicUsize = AtomicUsize::new(0);

impl<T: Send + 'static> Queue<T> {
    /// Returns a queue with room for one more piece of work than there are cores.
    pub(crate) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            most: threads() + 1,
        }
    }

    /// Returns whether more work should wait until a result was taken.
    pub(crate) fn is_full(&self) -> bool {
        // Those of this queue are among them.
        !self.waiting.is_empty() && STARTED.load(Ordering::Relaxed) >= self.most
    }

    /// Gives work to the next core that is free.
    pub(crate) fn start(&mut self, work: impl FnOnce() -> io::Result<T> + Send + 'static) {
        let (done, receiver) = sync_channel(1);
        rayon::spawn(move || {
            // Nobody waits for a stream that was dropped.
            drop(done.send(work()));
        });
        self.waiting.push_back(receiver);
        STARTED.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the first result; `None` when nothing was started any more.
    pub(crate) fn next(&mut self) -> io::Result<Option<T>> {
        let Some(first) = self.waiting.pop_front() else {
            return Ok(None);
        };
        STARTED.fetch_sub(1, Ordering::Relaxed);
        let result = first.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        result.map(Some)
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        STARTED.fetch_sub(self.waiting.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_may_start_one_piece_of_work_however_much_the_others_have() {
        let (mut first, mut second) = (Queue::new(), Queue::new());
        for number in 0..first.most {
            first.start(move || Ok(number));
        }
        assert!(!second.is_full());
        second.start(|| Ok(0));
        assert!(second.is_full());
        assert_eq!(second.next().unwrap(), Some(0));
        assert!(!second.is_full());
        let results: Vec<usize> = std::iter::from_fn(|| first.next().unwrap()).collect();
        assert!(results.iter().copied().eq(0..first.most));
    }
}
