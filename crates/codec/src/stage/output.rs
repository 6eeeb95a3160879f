//! What a thread writes, and how much of it may wait.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::buffers::Buffers;
use crate::pipe::{Room, Sender};
use crate::pull::DEPTH;

/// How many pieces may wait around a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QueueLength {
    /// Two on either side.
    Short,
    /// Eight for whoever reads the stream and six for the thread, for one stage at a time, as long as its
    /// pieces are taken.
    MayBeLong,
}

impl QueueLength {
    /// Returns who says that it is long now.
    const fn permits(self) -> Option<&'static Semaphore> {
        match self {
            Self::Short => None,
            Self::MayBeLong => Some(&LONG_QUEUES),
        }
    }

    /// Returns how many pieces are taken at once, if so many wait.
    pub(super) const fn taken(self) -> usize {
        match self {
            Self::Short => DEPTH,
            Self::MayBeLong => LONG / 2,
        }
    }

    /// Returns how many pieces there may be: that wait, were taken, are held back, and one on either side.
    const fn pieces(self) -> usize {
        match self {
            Self::Short => DEPTH + DEPTH + 2,
            Self::MayBeLong => LONG + LONG / 2 + TOGETHER + 2,
        }
    }
}

/// What a thread writes, as the pieces of a stream.
pub(crate) struct Output {
    queue: Queue,
    buffers: Buffers,
    /// The buffer that is being filled; empty before its first byte.
    buffer: BytesMut,
    filled: usize,
}

impl Output {
    /// Returns an output whose queue may become longer, and the one of the input with it.
    pub(super) fn new(sender: Sender<io::Result<Bytes>>, input: Room, length: QueueLength) -> Self {
        Self {
            queue: Queue::new(sender, input, length.permits()),
            buffers: Buffers::new(PIECE, length.pieces()),
            buffer: BytesMut::new(),
            filled: 0,
        }
    }

    /// Sends a piece as it is.
    pub(crate) fn send(&mut self, piece: Bytes) -> io::Result<()> {
        self.flush()?;
        self.queue.give(piece)
    }

    /// Takes bytes from a reader, without a copy in between; returns how many there were.
    pub(crate) fn take_from(&mut self, from: &mut impl Read) -> io::Result<usize> {
        let length = from.read(self.room())?;
        self.fill(length)?;
        Ok(length)
    }

    /// Returns where the next bytes go.
    fn room(&mut self) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer = self.buffers.free();
        }
        &mut self.buffer[self.filled..]
    }

    /// Takes note of bytes that were put there.
    fn fill(&mut self, length: usize) -> io::Result<()> {
        self.filled += length;
        if self.filled == PIECE {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what is left.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.queue.send_held()
    }

    pub(super) fn fail(&mut self, error: io::Error) {
        // When nobody listens any more there is nobody to tell.
        let sent = self.queue.send_held();
        drop(sent.and_then(|()| self.queue.sender.blocking_send(Err(error))));
    }
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = self.room();
        let length = data.len().min(room.len());
        room[..length].copy_from_slice(&data[..length]);
        self.fill(length)?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let piece = self.buffers.lend(buffer, std::mem::take(&mut self.filled));
        self.queue.give(piece)
    }
}

/// The pieces that wait.
struct Queue {
    sender: Sender<io::Result<Bytes>>,
    input: Room,
    given: usize,
    /// Those of a long queue that are sent together with the next, so that its reader is woken once.
    held: Vec<Bytes>,
    /// None for one that is never long.
    permits: Option<&'static Semaphore>,
    /// What makes it long.
    permit: Option<SemaphorePermit<'static>>,
}

impl Queue {
    const fn new(
        sender: Sender<io::Result<Bytes>>,
        input: Room,
        permits: Option<&'static Semaphore>,
    ) -> Self {
        Self {
            sender,
            input,
            given: 0,
            held: Vec::new(),
            permits,
            permit: None,
        }
    }

    fn give(&mut self, piece: Bytes) -> io::Result<()> {
        if self.permit.is_none() && self.was_taken_from() {
            self.permit = self.permits.and_then(|all| all.try_acquire().ok());
            if self.permit.is_some() {
                self.sender.room().grow(LONG - DEPTH);
                self.input.grow(LONG_INPUT - DEPTH);
            }
        }
        self.given += 1;
        self.held.push(piece);
        if self.permit.is_some() && self.held.len() < TOGETHER {
            return Ok(());
        }
        self.send_held()
    }

    fn send_held(&mut self) -> io::Result<()> {
        self.held
            .drain(..)
            .try_for_each(|piece| self.sender.blocking_send(Ok(piece)))
    }

    /// Says of a short queue whether somebody takes what comes out: else a long one would only hold more.
    fn was_taken_from(&self) -> bool {
        self.given + self.sender.room().left() > DEPTH
    }
}

/// How many queues may be long.
static LONG_QUEUES: Semaphore = Semaphore::const_new(1);

/// How many pieces wait in a long queue.
const LONG: usize = 8;

/// How many pieces wait for the thread whose queue is long.
const LONG_INPUT: usize = 6;

/// How many pieces are sent at once into a long queue.
const TOGETHER: usize = 4;

/// The size of the pieces that come out, in bytes.
const PIECE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::pipe::{Receiver, pipe};

    const PIECE: Bytes = Bytes::from_static(b"piece");

    fn queue(permits: Option<&'static Semaphore>) -> (Queue, Receiver<io::Result<Bytes>>) {
        let (sender, receiver) = pipe(DEPTH, LONG / 2);
        let (input, _) = pipe::<()>(DEPTH, DEPTH);
        (Queue::new(sender, input.room().clone(), permits), receiver)
    }

    /// Gives as many pieces as there is room for, and returns how many there were.
    fn fill(queue: &mut Queue) -> usize {
        let left = |queue: &Queue| queue.sender.room().left() > queue.held.len();
        std::iter::from_fn(|| left(queue).then(|| queue.give(PIECE).unwrap())).count()
    }

    /// Takes what waits, up to a number.
    fn take(receiver: &mut Receiver<io::Result<Bytes>>, most: usize) -> usize {
        std::iter::from_fn(|| receiver.next().now_or_never().flatten())
            .take(most)
            .count()
    }

    #[test]
    fn one_queue_at_a_time_is_long_and_only_if_somebody_takes_from_it() {
        static PERMITS: Semaphore = Semaphore::const_new(1);
        let ((mut first, mut taken), (mut second, mut also_taken)) =
            (queue(Some(&PERMITS)), queue(Some(&PERMITS)));
        assert_eq!(fill(&mut first), DEPTH);
        assert_eq!(first.input.left(), DEPTH);
        assert_eq!(take(&mut taken, DEPTH), DEPTH);
        assert_eq!(fill(&mut first), LONG);
        assert_eq!(first.input.left(), LONG_INPUT);
        // Its pieces are taken, too, and it stays short.
        for _ in 0..2 {
            assert_eq!(fill(&mut second), DEPTH);
            assert_eq!(take(&mut also_taken, DEPTH), DEPTH);
        }
        drop(first);
        assert_eq!(fill(&mut second), LONG);
    }

    #[test]
    fn the_pieces_of_a_long_queue_are_sent_together_and_the_last_ones_too() {
        static PERMITS: Semaphore = Semaphore::const_new(1);
        let (mut queue, mut taken) = queue(Some(&PERMITS));
        assert_eq!(fill(&mut queue), DEPTH);
        assert_eq!(take(&mut taken, DEPTH), DEPTH);
        for _ in 1..TOGETHER {
            queue.give(PIECE).unwrap();
            assert_eq!(take(&mut taken, LONG), 0);
        }
        queue.give(PIECE).unwrap();
        assert_eq!(take(&mut taken, LONG), TOGETHER);
        queue.give(PIECE).unwrap();
        queue.send_held().unwrap();
        assert_eq!(take(&mut taken, LONG), 1);
    }

    #[test]
    fn a_stage_that_holds_enough_by_itself_never_has_a_long_queue() {
        let (mut queue, mut taken) = queue(QueueLength::Short.permits());
        for _ in 0..2 {
            assert_eq!(fill(&mut queue), DEPTH);
            assert_eq!(take(&mut taken, DEPTH), DEPTH);
        }
    }
}
