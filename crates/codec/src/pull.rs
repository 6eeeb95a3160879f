//! Streams that are read by threads which may block, and streams that are read ahead.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::poll_fn;
use futures_util::task::AtomicWaker;
use futures_util::{StreamExt as _, stream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::BoxStream;
use crate::pipe::{Receiver, Room, pipe};

/// A stream, as a thread reads it that may block. The thread polls it by itself: no task passes the
/// pieces on.
pub struct Pull {
    stream: BoxStream<'static, io::Result<Bytes>>,
    runtime: Handle,
    asker: Arc<Asker>,
}

/// Says that somebody waits for what a thread makes of a stream. Once it is dropped, the thread gets an
/// error in place of the next piece.
///
/// Whoever drops it may take the runtime along, and what a runtime has given panics when it is polled
/// after that. So the stream is not being polled when this has been dropped, and never is again.
#[derive(Debug)]
pub struct Wanted(Arc<Asker>);

/// Whoever waits for what a thread makes.
#[derive(Debug, Default)]
struct Asker {
    /// Locked while the stream is being polled.
    is_gone: Mutex<bool>,
    /// The thread, while it waits for a piece.
    thread: AtomicWaker,
}

/// Returns a stream for a thread that may block.
///
/// # Panics
/// Outside of a runtime.
pub fn pull(stream: BoxStream<'static, io::Result<Bytes>>) -> (Pull, Wanted) {
    let asker = Arc::<Asker>::default();
    let pull = Pull {
        stream,
        runtime: Handle::current(),
        asker: Arc::clone(&asker),
    };
    (pull, Wanted(asker))
}

impl Pull {
    /// Waits for the next piece; `None` at the end. Blocks.
    ///
    /// # Errors
    /// What the stream says; `BrokenPipe` when nobody wants the rest.
    pub fn piece(&mut self) -> io::Result<Option<Bytes>> {
        let runtime = self.runtime.clone();
        runtime.block_on(poll_fn(|cx| self.poll(cx)))
    }

    /// Returns the next piece if it is there, so that a thread can do something else meanwhile.
    ///
    /// # Errors
    /// As [`Pull::piece`].
    pub fn piece_now(&mut self) -> io::Result<Poll<Option<Bytes>>> {
        let runtime = self.runtime.clone();
        runtime.block_on(poll_fn(|cx| match self.poll(cx) {
            Poll::Ready(piece) => Poll::Ready(piece.map(Poll::Ready)),
            Poll::Pending => Poll::Ready(Ok(Poll::Pending)),
        }))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.asker.thread.register(cx.waker());
        let is_gone = self.asker.is_gone();
        if *is_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.stream.poll_next_unpin(cx).map(Option::transpose)
    }
}

impl Asker {
    fn is_gone(&self) -> MutexGuard<'_, bool> {
        self.is_gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        *self.0.is_gone() = true;
        self.0.thread.wake();
    }
}

impl fmt::Debug for Pull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pull")
    }
}

/// Reads a stream some pieces ahead, on a task of its own that ends with it.
///
/// # Panics
/// Outside of a runtime.
pub fn ahead(body: BoxStream<'static, io::Result<Bytes>>) -> BoxStream<'static, io::Result<Bytes>> {
    ahead_with_room(body).0
}

/// Reads a stream as [`ahead`] does, and returns what can make it read further ahead.
pub(crate) fn ahead_with_room(
    mut body: BoxStream<'static, io::Result<Bytes>>,
) -> (BoxStream<'static, io::Result<Bytes>>, Room) {
    let (sender, receiver) = pipe(DEPTH, DEPTH);
    let room = sender.room().clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let piece = body.next().await;
            let goes_on = piece.as_ref().is_some_and(Result::is_ok);
            if sender.send(piece).await.is_err() || !goes_on {
                break;
            }
        }
    });
    let state = (received(receiver), task);
    let read = stream::unfold(state, |(mut pieces, task)| async move {
        pieces.next().await.map(|piece| (piece, (pieces, task)))
    });
    (read.boxed(), room)
}

/// Returns what comes through a queue. `None` is the end; a sender that is gone without it has broken.
pub(crate) fn received(
    receiver: Receiver<Option<io::Result<Bytes>>>,
) -> BoxStream<'static, io::Result<Bytes>> {
    stream::unfold(Some(receiver), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.next().await {
            Some(piece) => piece.map(|piece| (piece, Some(pieces))),
            None => Some((Err(io::ErrorKind::BrokenPipe.into()), None)),
        }
    })
    .boxed()
}

/// How many pieces wait in a queue, unless it was made longer. As many may have been taken from it: each blob
/// on its way holds them.
pub(crate) const DEPTH: usize = 2;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    const PIECE: &[u8] = &[7; 40 * 1024];

    fn endless(given: &Arc<AtomicUsize>) -> BoxStream<'static, io::Result<Bytes>> {
        let given = Arc::clone(given);
        stream::repeat_with(move || {
            given.fetch_add(1, Ordering::SeqCst);
            Ok(Bytes::from_static(PIECE))
        })
        .boxed()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thread_gets_what_the_stream_gives_and_its_error() {
        let pieces = [Ok("one"), Ok("two"), Err("broken"), Ok("never")];
        let pieces = pieces.map(|piece| piece.map(Bytes::from).map_err(io::Error::other));
        let (mut pull, _wanted) = pull(ahead(stream::iter(pieces).boxed()));
        let thread = tokio::task::spawn_blocking(move || {
            let mut seen = Vec::new();
            loop {
                match pull.piece() {
                    Ok(Some(piece)) => seen.push(piece),
                    Ok(None) => return (seen, None),
                    Err(error) => return (seen, Some(error.to_string())),
                }
            }
        });
        let (seen, error) = thread.await.unwrap();
        assert_eq!(seen, ["one", "two"]);
        assert_eq!(error.as_deref(), Some("broken"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thread_that_waits_in_vain_ends_when_nobody_wants_the_rest() {
        let first = stream::iter([Ok(Bytes::from_static(PIECE))]);
        let (mut pull, wanted) = pull(first.chain(stream::pending()).boxed());
        let (tell, told) = oneshot::channel();
        let thread = tokio::task::spawn_blocking(move || {
            let first = pull.piece().map(|piece| piece.is_some());
            tell.send(first.is_ok_and(|first| first)).unwrap();
            let kind = |error: io::Error| error.kind();
            let waited = pull.piece().map_err(kind);
            (waited, pull.piece().map_err(kind))
        });
        assert!(told.await.unwrap());
        drop(wanted);
        let broken = io::ErrorKind::BrokenPipe;
        assert_eq!(thread.await.unwrap(), (Err(broken), Err(broken)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_leaves_while_the_stream_is_being_polled() {
        let has_looked = Arc::new(AtomicBool::new(false));
        let (looks, is_looking) = oneshot::channel();
        let (looked, mut looks) = (Arc::clone(&has_looked), Some(looks));
        let slow = stream::poll_fn(move |_| {
            looks.take().map(|looks| looks.send(()));
            std::thread::sleep(Duration::from_millis(50));
            looked.store(true, Ordering::SeqCst);
            Poll::Pending
        });
        let (mut pull, wanted) = pull(slow.boxed());
        let thread =
            tokio::task::spawn_blocking(move || pull.piece().map_err(|error| error.kind()));
        is_looking.await.unwrap();
        drop(wanted);
        assert!(has_looked.load(Ordering::SeqCst));
        assert_eq!(thread.await.unwrap(), Err(io::ErrorKind::BrokenPipe));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thread_need_not_wait_for_a_piece() {
        let (sender, receiver) = pipe(2, 2);
        let (mut pull, _wanted) = pull(received(receiver));
        let first = pull_on_a_thread(&mut pull);
        assert!(matches!(first, Ok(Poll::Pending)));
        sender
            .blocking_send(Some(Ok(Bytes::from("piece"))))
            .unwrap();
        sender.blocking_send(None).unwrap();
        let second = pull_on_a_thread(&mut pull);
        assert!(matches!(second, Ok(Poll::Ready(Some(piece))) if piece == "piece"));
        let end = pull_on_a_thread(&mut pull);
        assert!(matches!(end, Ok(Poll::Ready(None))));
    }

    fn pull_on_a_thread(pull: &mut Pull) -> io::Result<Poll<Option<Bytes>>> {
        tokio::task::block_in_place(|| pull.piece_now())
    }

    #[tokio::test]
    async fn a_sender_that_is_gone_is_no_end() {
        let (sender, receiver) = pipe(2, 2);
        sender
            .blocking_send(Some(Ok(Bytes::from("piece"))))
            .unwrap();
        drop(sender);
        let pieces: Vec<_> = received(receiver).collect().await;
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[0].as_ref().unwrap(), "piece");
        assert!(pieces[1].is_err());
        let (sender, receiver) = pipe(2, 2);
        sender.blocking_send(None).unwrap();
        drop(sender);
        assert!(received(receiver).next().await.is_none());
    }

    #[tokio::test]
    async fn no_more_than_some_pieces_are_read_ahead_and_none_for_nobody() {
        let given = Arc::new(AtomicUsize::new(0));
        let mut read = ahead(endless(&given));
        assert!(read.next().await.is_some());
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let ahead = given.load(Ordering::SeqCst);
        assert!((1..=2 * DEPTH + 1).contains(&ahead), "{ahead}");
        drop(read);
        tokio::task::yield_now().await;
        let before = given.load(Ordering::SeqCst);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(given.load(Ordering::SeqCst), before);
    }
}
