//! How many requests one host gets at once from this process, for each kind of action: as many as
//! come, until it says that they are too many.
//!
//! An answer of 429 or 503, or none in time, halves the number of those that were under way; as many
//! good answers as are let through at once add one. It is shared by everything that this process does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::{Error, ErrorKind};

/// Requests that are refused at the same moment count as one refusal.
const ONE_REFUSAL: Duration = Duration::from_secs(1);

/// The gates of one host.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    reads: Gate,
    writes: Gate,
}

/// Lets requests of one kind through.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// `None`: no refusal yet.
    limit: Option<usize>,
    good: usize,
    refused: Option<Instant>,
}

/// One request that is under way. Dropping it lets the next one through.
#[derive(Debug)]
pub(crate) struct Pass<'a>(&'a Gate);

impl Gates {
    /// Returns the gate for a request.
    pub(crate) const fn of(&self, method: &Method) -> &Gate {
        if matches!(*method, Method::GET | Method::HEAD) {
            &self.reads
        } else {
            &self.writes
        }
    }
}

impl Gate {
    /// Waits until one more request may be sent.
    pub(crate) async fn enter(&self) -> Pass<'_> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // From here on no news is missed.
            room.as_mut().enable();
            {
                let mut state = self.lock();
                if state.limit.is_none_or(|limit| state.running < limit) {
                    state.running += 1;
                    return Pass(self);
                }
            }
            room.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Takes notice of what came of the request.
    pub(crate) fn learn(&self, registry: &str, outcome: &Result<Answer, Error>) {
        let too_many = match outcome {
            Ok(answer) => matches!(
                answer.status(),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            ),
            Err(error) => error.kind() == ErrorKind::Timeout,
        };
        let changed = if too_many {
            self.0.lock().refuse()
        } else if outcome.is_ok() {
            self.0.lock().accept()
        } else {
            None
        };
        if let Some(limit) = changed {
            tracing::debug!(registry, limit, "requests at once");
            self.0.room.notify_waiters();
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.room.notify_one();
    }
}

impl State {
    /// Returns the new limit, if there is one.
    fn refuse(&mut self) -> Option<usize> {
        let now = Instant::now();
        let known = self
            .refused
            .is_some_and(|before| now.duration_since(before) < ONE_REFUSAL);
        if known {
            return None;
        }
        self.refused = Some(now);
        self.good = 0;
        let most = self
            .limit
            .map_or(self.running, |limit| limit.min(self.running));
        self.limit = Some((most / 2).max(1));
        self.limit
    }

    fn accept(&mut self) -> Option<usize> {
        let limit = self.limit?;
        self.good += 1;
        if self.good < limit {
            return None;
        }
        self.good = 0;
        self.limit = Some(limit + 1);
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_halves_what_is_under_way_and_success_adds_to_it() {
        let gate = Gate::default();
        let mut passes = Vec::new();
        for _ in 0..8 {
            passes.push(gate.enter().await);
        }
        assert_eq!(gate.lock().refuse(), Some(4));
        // All eight were refused at once.
        assert_eq!(gate.lock().refuse(), None);
        passes.truncate(4);
        let wait = Duration::from_secs(1);
        assert!(tokio::time::timeout(wait, gate.enter()).await.is_err());
        for expected in [None, None, None, Some(5)] {
            assert_eq!(gate.lock().accept(), expected);
        }
        drop(gate.enter().await);
        passes.truncate(1);
        assert_eq!(gate.lock().refuse(), Some(1));
        assert!(tokio::time::timeout(wait, gate.enter()).await.is_err());
        passes.clear();
        drop(gate.enter().await);
    }

    #[tokio::test]
    async fn whoever_waits_is_let_in_when_another_leaves() {
        let gate = Gate::default();
        let first = gate.enter().await;
        gate.lock().refuse();
        let (_second, ()) = tokio::join!(gate.enter(), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        assert_eq!(gate.lock().running, 1);
    }
}
