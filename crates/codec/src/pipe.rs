//! Queues between tasks and threads. They are bounded, and can be made longer while they are in use.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

/// The end of a queue that takes pieces in.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    pieces: mpsc::UnboundedSender<T>,
    room: Room,
}

/// The end of a queue that gives them out. It takes all that wait there, up to a number, so that the sender
/// is woken once for several pieces.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    pieces: mpsc::UnboundedReceiver<T>,
    room: Room,
    taken: VecDeque<T>,
    /// How many are taken at once.
    most: usize,
}

/// How many more pieces a queue takes in.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Semaphore>);

/// Returns the ends of a queue in which some pieces may wait, and some more after they were taken.
pub(crate) fn pipe<T>(waiting: usize, taken: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let room = Room(Arc::new(Semaphore::new(waiting)));
    let sender = Sender {
        pieces: sender,
        room: room.clone(),
    };
    let receiver = Receiver {
        pieces: receiver,
        room,
        taken: VecDeque::new(),
        most: taken,
    };
    (sender, receiver)
}

impl<T> Sender<T> {
    /// Adds a piece once there is room.
    ///
    /// # Errors
    /// `BrokenPipe` when the other end is gone.
    pub(crate) async fn send(&self, piece: T) -> io::Result<()> {
        let place = self.room.0.acquire().await.map_err(|_| gone())?;
        self.put(place, piece)
    }

    /// Adds a piece once there is room. Blocks.
    ///
    /// # Errors
    /// `BrokenPipe` when the other end is gone.
    ///
    /// # Panics
    /// When it has to wait outside of a runtime.
    pub(crate) fn blocking_send(&self, piece: T) -> io::Result<()> {
        match self.room.0.try_acquire() {
            Ok(place) => self.put(place, piece),
            Err(_) => Handle::current().block_on(self.send(piece)),
        }
    }

    /// Adds a piece in a place that the other end makes free again.
    fn put(&self, place: SemaphorePermit<'_>, piece: T) -> io::Result<()> {
        place.forget();
        self.pieces.send(piece).map_err(|_| gone())
    }

    pub(crate) const fn room(&self) -> &Room {
        &self.room
    }
}

impl<T> Receiver<T> {
    /// Returns the next piece; `None` when the other end is gone.
    pub(crate) async fn next(&mut self) -> Option<T> {
        if self.taken.is_empty() {
            let mut taken = Vec::from(std::mem::take(&mut self.taken));
            let count = self.pieces.recv_many(&mut taken, self.most).await;
            self.room.grow(count);
            self.taken = taken.into();
        }
        self.taken.pop_front()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.room.0.close();
    }
}

impl Room {
    /// Makes the queue longer.
    pub(crate) fn grow(&self, pieces: usize) {
        self.0.add_permits(pieces);
    }

    /// Returns how many pieces there is room for.
    pub(crate) fn left(&self) -> usize {
        self.0.available_permits()
    }
}

fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_queue_takes_in_as_many_as_there_is_room_for() {
        let (sender, mut receiver) = pipe(2, 8);
        let send = |piece| sender.send(piece).now_or_never();
        assert!(matches!((send(1), send(2)), (Some(Ok(())), Some(Ok(())))));
        assert!(send(3).is_none());
        assert_eq!(receiver.next().now_or_never(), Some(Some(1)));
        // Both were taken.
        assert_eq!(sender.room().left(), 2);
        sender.room().grow(1);
        assert!((3..6).all(|piece| sender.blocking_send(piece).is_ok()));
        assert!(send(6).is_none());
        for piece in 2..6 {
            assert_eq!(receiver.next().now_or_never(), Some(Some(piece)));
        }
        assert!(receiver.next().now_or_never().is_none());
        drop(sender);
        assert_eq!(receiver.next().now_or_never(), Some(None));
    }

    #[tokio::test]
    async fn a_sender_that_waits_in_vain_hears_of_it() {
        let (sender, receiver) = pipe(1, 1);
        sender.send(1).await.unwrap();
        let thread =
            tokio::task::spawn_blocking(move || (sender.blocking_send(2), sender.blocking_send(3)));
        tokio::task::yield_now().await;
        drop(receiver);
        let (waited, after) = thread.await.unwrap();
        for sent in [waited, after] {
            assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
