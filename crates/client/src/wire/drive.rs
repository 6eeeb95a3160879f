//! Who moves a connection on: the runtime, or whoever reads an answer from it.
//!
//! ```text
//! runtime's task ─▶ Drive ─▶ hyper's connection ─▶ socket
//! reader of a body ──┘  (as long as it reads)
//! ```
//!
//! Left alone, a task of the runtime takes the bytes from the socket and hands them to the reader,
//! who is mostly on another thread: two threads wake each other for each piece. A reader that moves
//! the connection on by itself takes the bytes where it needs them. All wakers of a connection are
//! those of whoever polled it last, so when the reader is done the runtime's task is woken once and
//! is the one again. HTTP/1.1 only: there a connection has one reader at a time.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, TryLockError, Weak};
use std::task::{Context, Poll};

use futures_util::future::poll_fn;
use futures_util::task::AtomicWaker;
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;

/// What hyper wants to have done for a connection.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Gives each connection a task of the runtime.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drivers;

impl Executor<Work> for Drivers {
    fn execute(&self, work: Work) {
        let drive = Arc::new(Drive {
            work: Mutex::new(Some(work)),
            resident: AtomicWaker::new(),
        });
        TokioExecutor::new().execute(poll_fn(move |cx| {
            // Before it is looked at: a reader that ends from here on wakes this task.
            drive.resident.register(cx.waker());
            drive.poll(cx)
        }));
    }
}

/// The work of one connection.
struct Drive {
    /// `None`: it is done.
    work: Mutex<Option<Work>>,
    /// The runtime's task.
    resident: AtomicWaker,
}

impl Drive {
    /// Moves the connection on. Who comes while another does returns at once, and is not woken for
    /// it: that other's wakers are in place.
    fn poll(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut work = match self.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::WouldBlock) => return Poll::Pending,
            // It panicked, and nothing will come of it.
            Err(TryLockError::Poisoned(_)) => return Poll::Ready(()),
        };
        let Some(doing) = work.as_mut() else {
            return Poll::Ready(());
        };
        let outer = POLLED.replace(Some(Arc::downgrade(self)));
        let polled = doing.as_mut().poll(cx);
        POLLED.replace(outer);
        if polled.is_ready() {
            *work = None;
        }
        polled
    }
}

thread_local! {
    /// The connection that is polled on this thread right now. hyper takes a connection and its
    /// work apart; the bytes find the work by this when they are read for the first time.
    static POLLED: RefCell<Option<Weak<Drive>>> = const { RefCell::new(None) };
}

/// Finds the work of a connection: kept with its bytes, and sent along with each answer from it.
#[derive(Clone, Default)]
pub(super) struct Wheel(Arc<OnceLock<Weak<Drive>>>);

impl Wheel {
    /// Learns whose bytes are being read.
    pub(super) fn learn(&self) {
        if self.0.get().is_none()
            && let Some(polled) = POLLED.with_borrow(Clone::clone)
        {
            self.0.get_or_init(|| polled);
        }
    }

    /// Takes the connection over for as long as the result lives.
    pub(super) fn take(&self) -> Option<Taken> {
        self.0.get()?.upgrade().map(Taken)
    }
}

/// A connection that is moved on by a reader.
pub(super) struct Taken(Arc<Drive>);

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken").finish_non_exhaustive()
    }
}

impl Taken {
    /// Moves the connection on. The reader is woken when it can go on again.
    pub(super) fn poll(&self, cx: &mut Context<'_>) {
        // That it is done is seen from what it leaves to read.
        let _ = self.0.poll(cx);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.resident.wake();
    }
}
