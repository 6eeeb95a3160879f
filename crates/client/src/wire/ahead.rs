//! Connections that are made before there is anything to send on them: while the registry still thinks
//! about the question whether it wants a blob.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use tokio::sync::oneshot;

use super::BoxError;
use super::connection::Connection;

/// How long a connection is good for on which nothing was sent: servers give up on those.
const FRESH_FOR: Duration = Duration::from_secs(5);

type Outcome = Result<Connection, BoxError>;

/// Connections that nobody has asked for yet, the oldest first.
#[derive(Default)]
pub(super) struct Ahead(Mutex<VecDeque<Begun>>);

struct Begun {
    target: Uri,
    since: Instant,
    made: oneshot::Receiver<Outcome>,
}

impl Ahead {
    /// Adds one that is being made, and returns where it is to be handed in.
    pub(super) fn begin(&self, target: Uri) -> oneshot::Sender<Outcome> {
        let (hand_in, made) = oneshot::channel();
        let begun = Begun {
            target,
            since: Instant::now(),
            made,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back(begun);
        hand_in
    }

    /// Takes one to the same place.
    pub(super) fn take(&self, target: &Uri) -> Option<oneshot::Receiver<Outcome>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|begun| begun.since.elapsed() < FRESH_FOR);
        let leads_there = |begun: &Begun| {
            begun.target.scheme() == target.scheme()
                && begun.target.authority() == target.authority()
        };
        let first = all.iter().position(leads_there)?;
        all.remove(first).map(|begun| begun.made)
    }
}

/// Counts connections, those that are being made among them.
#[derive(Clone, Default)]
pub(super) struct Open(Arc<()>);

impl Open {
    /// Returns how many there are besides this counter itself.
    pub(super) fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}
