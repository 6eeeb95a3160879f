//! A stage of a pipeline that may block: it runs on a thread of its own, between two bounded
//! channels, and ends when its stream is dropped.

use std::io::{self, BufRead, Read, Write};

use bytes::{Buf as _, Bytes};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes on their way, or why there are no more.
pub(crate) type Stream = BoxStream<'static, io::Result<Bytes>>;

/// Runs `work` on a blocking thread: it reads the body from its input, and what it writes is the
/// stream that is returned. An error of the body ends the stream unchanged.
pub(crate) fn run(
    body: Stream,
    work: impl FnOnce(&mut Input, &mut Output) -> io::Result<()> + Send + 'static,
) -> Stream {
    let (to_thread, from_reactor) = mpsc::channel(DEPTH);
    let (to_reactor, from_thread) = mpsc::channel(DEPTH);
    let thread = tokio::task::spawn_blocking(move || {
        let mut input = Input::new(from_reactor);
        let mut output = Output::new(to_reactor);
        let done = work(&mut input, &mut output).and_then(|()| output.flush());
        if let Err(error) = done {
            output.fail(error);
        }
    });
    let state = Pump {
        body,
        to_thread: Some(to_thread),
        from_thread,
        thread: Some(thread),
    };
    stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|piece| (piece, state)))
    })
    .boxed()
}

/// Passes the body on unchanged, and shows it to `work` on a blocking thread beside. The stream
/// ends well only when `work` has.
pub(crate) fn beside(
    body: Stream,
    work: impl FnOnce(&mut Input) -> io::Result<()> + Send + 'static,
) -> Stream {
    let (to_thread, from_reactor) = mpsc::channel(DEPTH);
    let thread = tokio::task::spawn_blocking(move || work(&mut Input::new(from_reactor)));
    let state = Some((body, to_thread, thread));
    stream::try_unfold(state, |state| async move {
        let Some((mut body, to_thread, thread)) = state else {
            return Ok(None);
        };
        // A thread that has ended early says why at the end.
        match body.next().await.transpose()? {
            Some(piece) if to_thread.send(Message::Piece(piece.clone())).await.is_ok() => {
                Ok(Some((piece, Some((body, to_thread, thread)))))
            }
            Some(_) => Err(ended(thread).await),
            None => {
                drop(to_thread.send(Message::End).await);
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

enum Message {
    Piece(Bytes),
    End,
}

struct Pump {
    body: Stream,
    to_thread: Option<mpsc::Sender<Message>>,
    from_thread: mpsc::Receiver<io::Result<Bytes>>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    /// Feeds the thread while waiting for its output.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some(to_thread) = self.to_thread.clone() else {
                return self.last().await;
            };
            tokio::select! {
                biased;
                piece = self.from_thread.recv() => match piece {
                    Some(piece) => return piece.map(Some),
                    // It has seen enough.
                    None => self.to_thread = None,
                },
                permit = to_thread.reserve() => {
                    let Ok(permit) = permit else {
                        self.to_thread = None;
                        continue;
                    };
                    if let Some(piece) = self.body.next().await.transpose()? {
                        permit.send(Message::Piece(piece));
                    } else {
                        permit.send(Message::End);
                        self.to_thread = None;
                    }
                }
            }
        }
    }

    /// Returns what still comes when the body has ended.
    async fn last(&mut self) -> io::Result<Option<Bytes>> {
        let piece = self.from_thread.recv().await.transpose()?;
        if piece.is_none()
            && let Some(thread) = self.thread.take()
        {
            thread.await.map_err(io::Error::other)?;
        }
        Ok(piece)
    }
}

/// The body, as a thread reads it.
pub(crate) struct Input {
    receiver: mpsc::Receiver<Message>,
    current: Bytes,
    ended: bool,
}

impl Input {
    fn new(receiver: mpsc::Receiver<Message>) -> Self {
        Self {
            receiver,
            current: Bytes::new(),
            ended: false,
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
            match self.receiver.blocking_recv() {
                Some(Message::Piece(piece)) => self.current = piece,
                Some(Message::End) => self.ended = true,
                // The body broke, or nobody wants the rest: who listens knows why.
                None => return Err(io::ErrorKind::BrokenPipe.into()),
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
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Output {
    fn new(sender: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self {
            sender,
            buffer: Vec::new(),
        }
    }

    /// Sends a piece as it is.
    pub(crate) fn send(&mut self, piece: Bytes) -> io::Result<()> {
        self.flush()?;
        self.give(piece)
    }

    /// Takes bytes from a reader, without a copy in between; returns how many there were.
    pub(crate) fn take_from(&mut self, from: &mut impl Read) -> io::Result<usize> {
        let known = self.buffer.len();
        self.buffer.resize(PIECE, 0);
        let length = match from.read(&mut self.buffer[known..]) {
            Ok(length) => length,
            Err(error) => {
                self.buffer.truncate(known);
                return Err(error);
            }
        };
        self.buffer.truncate(known + length);
        if self.buffer.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn give(&self, piece: Bytes) -> io::Result<()> {
        self.sender
            .blocking_send(Ok(piece))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn fail(&self, error: io::Error) {
        // When nobody listens any more there is nobody to tell.
        drop(self.sender.blocking_send(Err(error)));
    }
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(PIECE);
        }
        let length = data.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&data[..length]);
        if self.buffer.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.buffer);
        self.give(piece.into())
    }
}

/// How many pieces wait between reactor and thread.
const DEPTH: usize = 3;

/// The size of the pieces that come out, in bytes.
pub(crate) const PIECE: usize = 64 * 1024;
