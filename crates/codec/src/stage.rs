//! A stage of a pipeline that may block: it runs on a thread of its own, between two bounded
//! queues, and ends when its stream is dropped.
//!
//! ```text
//! body ─▶ a task: 2 pieces ahead, or 6 ─▶ the thread ─▶ 2 pieces, or 8 ─▶ whoever reads the stream
//! ```
//!
//! While another thread has the processor, a short queue is soon full or empty, and one end stands still.
//! Long ones outlast that, and whoever waits at them is woken for several pieces at once. They take up to a
//! MiB more: one stage at a time has them, and only if its pieces are taken. What holds more than that on
//! its own needs none.

mod output;

use std::io::{self, BufRead, Read};

use bytes::{Buf as _, Bytes};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use tokio::task::JoinHandle;

pub(crate) use self::output::{Output, QueueLength};
use crate::pipe::{Receiver, pipe};
use crate::pull::{DEPTH, Pull, Wanted, ahead_with_room, pull, received};

/// Bytes on their way, or why there are no more.
pub(crate) type Stream = BoxStream<'static, io::Result<Bytes>>;

/// Runs `work` on a blocking thread: it reads the body from its input, and what it writes is the
/// stream that is returned. An error of the body ends the stream unchanged.
pub(crate) fn run(
    body: Stream,
    queue: QueueLength,
    work: impl FnOnce(&mut Input, &mut Output) -> io::Result<()> + Send + 'static,
) -> Stream {
    let (body, room) = ahead_with_room(body);
    let (body, wanted) = pull(body);
    let (sender, receiver) = pipe(DEPTH, queue.taken());
    let thread = tokio::task::spawn_blocking(move || {
        let mut input = Input::new(body);
        let mut output = Output::new(sender, room, queue);
        let done = work(&mut input, &mut output).and_then(|()| output.finish());
        if let Err(error) = done {
            output.fail(input.broken.unwrap_or(error));
        }
    });
    let state = Running {
        pieces: receiver,
        thread: Some(thread),
        _wanted: wanted,
    };
    stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|piece| (piece, state)))
    })
    .boxed()
}

/// A thread at work.
struct Running {
    pieces: Receiver<io::Result<Bytes>>,
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
    let (to_thread, receiver) = pipe(DEPTH, DEPTH);
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
