//! Work for all cores, whose results come in the order in which it was started.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};

use super::threads;

/// The work that was started and whose results were not taken yet.
pub(crate) struct Queue<T> {
    waiting: VecDeque<Receiver<io::Result<T>>>,
    most: usize,
}

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
        self.waiting.len() >= self.most
    }

    /// Gives work to the next core that is free.
    pub(crate) fn start(&mut self, work: impl FnOnce() -> io::Result<T> + Send + 'static) {
        let (done, receiver) = sync_channel(1);
        rayon::spawn(move || {
            // Nobody waits for a stream that was dropped.
            drop(done.send(work()));
        });
        self.waiting.push_back(receiver);
    }

    /// Waits for the first result; `None` when nothing was started any more.
    pub(crate) fn next(&mut self) -> io::Result<Option<T>> {
        let Some(first) = self.waiting.pop_front() else {
            return Ok(None);
        };
        let result = first.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        result.map(Some)
    }
}
