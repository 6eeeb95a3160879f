//! A stage of a pipeline that may block: it runs on a thread of its own, between two bounded
//! channels, and ends when its stream is dropped.
//!
//! ```text
//! body ─▶ a task: 2 pieces ahead ─▶ the thread ─▶ 2 pieces, or 16 ─▶ whoever reads the stream
//! ```
//!
//! While another thread has the processor, a short queue is soon full or empty, and one end stands still.
//! A long one outlasts that, and takes a MiB: one stage at a time has it, and only if its pieces are taken.
//! What holds more than that on its own needs none.

use std::io::{self, BufRead, Read, Write};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use crate::buffers::Buffers;
use crate::pull::{Batches, DEPTH, Pull, Wanted, ahead, pull, received};

/// Bytes on their way, or why there are no more.
pub(crate) type Stream = BoxStream<'static, io::Result<Bytes>>;

/// Runs `work` on a blocking thread: it reads the body from its input, and what it writes is the
/// stream that is returned. An error of the body ends the stream unchanged.
pub(crate) fn run(
    body: Stream,
    queue: QueueLength,
    work: impl FnOnce(&mut Input, &mut Output) -> io::Result<()> + Send + 'static,
) -> Stream {
    let (body, wanted) = pull(ahead(body));
    let (sender, receiver) = mpsc::channel(queue.most());
    let thread = tokio::task::spawn_blocking(move || {
        let mut input = Input::new(body);
        let mut output = Output::new(sender, queue);
        let done = work(&mut input, &mut output).and_then(|()| output.flush());
        if let Err(error) = done {
            output.fail(input.broken.unwrap_or(error));
        }
    });
    let state = Running {
        pieces: Batches::new(receiver, queue.taken()),
        thread: Some(thread),
        _wanted: wanted,
    };
    stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|piece| (piece, state)))
    })
    .boxed()
}

/// How many pieces may wait for whoever reads the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QueueLength {
    /// Two.
    Short,
    /// Sixteen, for one stage at a time, as long as its pieces are taken.
    MayBeLong,
}

impl QueueLength {
    const fn most(self) -> usize {
        match self {
            Self::Short => DEPTH,
            Self::MayBeLong => LONG,
        }
    }

    /// Returns who says that it is long now.
    const fn permits(self) -> Option<&'static Semaphore> {
        match self {
            Self::Short => None,
            Self::MayBeLong => Some(&LONG_QUEUES),
        }
    }

    /// Returns how many pieces are taken at once, if so many wait.
    const fn taken(self) -> usize {
        match self {
            Self::Short => DEPTH,
            Self::MayBeLong => LONG / 2,
        }
    }
}

/// A thread at work.
struct Running {
    pieces: Batches<io::Result<Bytes>>,
    thread: Option<JoinHandle<()>>,
    _wanted: Wanted,
}

impl Running {
    /// Returns the next piece that comes out.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let piece = self.pieces.next().await.transpose()?;
        if piece.is_none()
            && let Some(thread) = self.thread.take()
        {
            thread.await.map_err(io::Error::other)?;
        }
        Ok(piece)
    }
}

/// Passes the body on unchanged, and shows it to `work` on a blocking thread beside. The stream
/// ends well only when `work` has.
pub(crate) fn beside(
    body: Stream,
    work: impl FnOnce(&mut Input) -> io::Result<()> + Send + 'static,
) -> Stream {
    let (to_thread, receiver) = mpsc::channel(DEPTH);
    let (seen, wanted) = pull(received(receiver));
    let thread = tokio::task::spawn_blocking(move || work(&mut Input::new(seen)));
    let state = Some((body, to_thread, thread, wanted));
    stream::try_unfold(state, |state| async move {
        let Some((mut body, to_thread, thread, wanted)) = state else {
            return Ok(None);
        };
        // A thread that has ended early says why at the end.
        match body.next().await.transpose()? {
            Some(piece) if to_thread.send(Some(Ok(piece.clone()))).await.is_ok() => {
                Ok(Some((piece, Some((body, to_thread, thread, wanted)))))
            }
            Some(_) => Err(ended(thread).await),
            None => {
                drop(to_thread.send(None).await);
                thread.await.map_err(io::Error::other)??;
                Ok(None)
            }
        }
    })
    .boxed()
}

async fn ended(thread: JoinHandle<io::Result<()>>) -> io::Error {
    match thread.await {
        Ok(Err(error)) => error,
        Ok(Ok(())) => io::ErrorKind::BrokenPipe.into(),
        Err(lost) => io::Error::other(lost),
    }
}

/// The body, as a thread reads it.
pub(crate) struct Input {
    body: Pull,
    current: Bytes,
    ended: bool,
    /// Why the body broke: decoders word it in their own way.
    broken: Option<io::Error>,
}

impl Input {
    const fn new(body: Pull) -> Self {
        Self {
            body,
            current: Bytes::new(),
            ended: false,
            broken: None,
        }
    }

    /// Returns the next piece; `None` at the end.
    pub(crate) fn piece(&mut self) -> io::Result<Option<Bytes>> {
        if self.current.is_empty() {
            self.wait()?;
        }
        let piece = std::mem::take(&mut self.current);
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// Returns at least so many bytes from the start of what is left, or all that are left.
    pub(crate) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        self.wait()?;
        while self.current.len() < count && !self.ended {
            let mut all = Vec::from(std::mem::take(&mut self.current));
            self.wait()?;
            all.extend_from_slice(&self.current);
            self.current = all.into();
        }
        Ok(&self.current)
    }

    /// Waits until there is a piece, or the end.
    fn wait(&mut self) -> io::Result<()> {
        while self.current.is_empty() && !self.ended {
            match self.body.piece() {
                Ok(Some(piece)) => self.current = piece,
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.broken = Some(error);
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let from = self.fill_buf()?;
        let length = from.len().min(to.len());
        to[..length].copy_from_slice(&from[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.wait()?;
        Ok(&self.current)
    }

    fn consume(&mut self, length: usize) {
        self.current.advance(length);
    }
}

/// What a thread writes, as the pieces of a stream.
pub(crate) struct Output {
    queue: Made,
    buffers: Buffers,
    /// The buffer that is being filled; empty before its first byte.
    buffer: BytesMut,
    filled: usize,
}

impl Output {
    fn new(sender: mpsc::Sender<io::Result<Bytes>>, queue: QueueLength) -> Self {
        Self {
            queue: Made::new(sender, queue.permits()),
            // As many as wait, as were taken, and one on either side.
            buffers: Buffers::new(PIECE, queue.most() + queue.taken() + 2),
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

    fn fail(&self, error: io::Error) {
        // When nobody listens any more there is nobody to tell.
        drop(self.queue.sender.blocking_send(Err(error)));
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
struct Made {
    sender: mpsc::Sender<io::Result<Bytes>>,
    given: usize,
    /// What makes the queue short: places in it that are kept free.
    kept_free: Vec<mpsc::OwnedPermit<io::Result<Bytes>>>,
    /// None for one that is never long.
    permits: Option<&'static Semaphore>,
    /// What makes it long.
    permit: Option<SemaphorePermit<'static>>,
}

impl Made {
    fn new(sender: mpsc::Sender<io::Result<Bytes>>, permits: Option<&'static Semaphore>) -> Self {
        let place = || sender.clone().try_reserve_owned().ok();
        let kept_free = std::iter::repeat_with(place).map_while(|place| place);
        Self {
            kept_free: kept_free.take(sender.capacity() - DEPTH).collect(),
            given: 0,
            permits,
            permit: None,
            sender,
        }
    }

    fn give(&mut self, piece: Bytes) -> io::Result<()> {
        if self.permit.is_none() && self.was_taken_from() {
            self.permit = self.permits.and_then(|all| all.try_acquire().ok());
            if self.permit.is_some() {
                self.kept_free.clear();
            }
        }
        self.given += 1;
        self.sender
            .blocking_send(Ok(piece))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Says of a short queue whether somebody takes what comes out: else a long one would only hold more.
    fn was_taken_from(&self) -> bool {
        self.given + self.sender.capacity() > DEPTH
    }
}

/// How many queues may be long.
static LONG_QUEUES: Semaphore = Semaphore::const_new(1);

/// How many pieces wait in a long queue.
const LONG: usize = 16;

/// The size of the pieces that come out, in bytes.
pub(crate) const PIECE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: Bytes = Bytes::from_static(b"piece");

    fn fill(queue: &mut Made) -> usize {
        std::iter::from_fn(|| (queue.sender.capacity() > 0).then(|| queue.give(PIECE).unwrap()))
            .count()
    }

    #[test]
    fn one_queue_at_a_time_is_long_and_only_if_somebody_takes_from_it() {
        static PERMITS: Semaphore = Semaphore::const_new(1);
        let queue = || {
            let (sender, receiver) = mpsc::channel(LONG);
            (Made::new(sender, Some(&PERMITS)), receiver)
        };
        let ((mut first, mut taken), (mut second, mut also_taken)) = (queue(), queue());
        assert_eq!(fill(&mut first), DEPTH);
        assert!(taken.blocking_recv().is_some());
        assert_eq!(fill(&mut first), LONG - 1);
        // Its pieces are taken, too, and it stays short.
        assert_eq!(fill(&mut second), DEPTH);
        assert!(also_taken.blocking_recv().is_some());
        assert_eq!(fill(&mut second), 1);
        drop(first);
        assert!(also_taken.blocking_recv().is_some());
        assert_eq!(fill(&mut second), LONG - 1);
    }

    #[test]
    fn a_stage_that_holds_enough_by_itself_never_has_a_long_queue() {
        let (sender, mut receiver) = mpsc::channel(QueueLength::Short.most());
        let mut queue = Made::new(sender, QueueLength::Short.permits());
        assert_eq!(fill(&mut queue), DEPTH);
        assert!(receiver.blocking_recv().is_some());
        assert_eq!(fill(&mut queue), 1);
    }
}
