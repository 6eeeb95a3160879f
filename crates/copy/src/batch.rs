//! What the copies of one batch share: which blobs are at the destination, which are on their way
//! there, and how many move at once.
//!
//! A blob that many images have is sent once for each registry. Who comes second waits for the first,
//! and then finds the blob in the same repository, where nothing is asked any more, or in another one,
//! from where it is mounted:
//!
//! ```text
//! claim ─▶ Here: nothing to do
//!       └▶ Mine { elsewhere }: mount it from there, or send it ─▶ arrived ─▶ those who wait go on
//! ```
//!
//! A claim that is dropped, because its copy broke off, passes to the next who waits. Nobody holds a
//! claim while waiting for another: a claim is made when the destination is asked, and what was asked
//! goes on without asking for more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dhow_model::{Digest, Repository};
use dhow_transport::ReuseScope;
use tokio::sync::Notify;

use crate::flow::{Flow, Prospect};

/// How many blobs are remembered. A mirror of a hundred thousand images has as many that no other
/// image shares; what is forgotten is only asked for again.
const REMEMBERED: usize = 50_000;
/// How many repositories are remembered for one blob; one is enough to mount from.
const PLACES: usize = 4;
/// How many blobs a batch moves at once between places that take any number.
const CAPS: usize = 64;

/// The shared part of copies to one registry, or into one layout.
#[derive(Debug)]
pub struct Batch {
    flow: Arc<Flow>,
    shares_blobs: bool,
    table: Mutex<Table>,
    /// Somebody has let go of a claim.
    news: Notify,
}

#[derive(Debug, Default)]
struct Table {
    blobs: HashMap<Digest, State>,
    /// The settled blobs, the oldest first.
    settled: VecDeque<Digest>,
    /// The repositories or layouts, which the blobs know by their place here.
    scopes: Vec<Scope>,
}

/// A repository, or a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) name: ReuseScope,
    /// Its name in a registry, from which others can mount.
    pub(crate) repository: Option<Repository>,
}

#[derive(Debug, Default)]
struct State {
    places: Vec<u32>,
    moving: bool,
}

/// The right to bring a blob to the destination, while others wait.
#[derive(Debug)]
pub(crate) struct Claim {
    batch: Arc<Batch>,
    digest: Digest,
    here: Scope,
    arrived: bool,
}

/// What a batch knows of a blob.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// It is in the repository already.
    Here,
    /// It is to be brought there. Some other repositories of the registry have it.
    Mine {
        claim: Claim,
        elsewhere: Vec<Repository>,
    },
}

impl Batch {
    /// Returns a batch that knows nothing yet. `shares_blobs` says whether the places of the batch
    /// have blobs in common at all: directories have not.
    pub fn new(shares_blobs: bool) -> Arc<Self> {
        Arc::new(Self {
            flow: Arc::new(Flow::new(None, CAPS, Prospect::default())),
            shares_blobs,
            table: Mutex::default(),
            news: Notify::new(),
        })
    }

    /// Returns how the blobs of all copies flow.
    pub(crate) fn flow(&self) -> Arc<Flow> {
        Arc::clone(&self.flow)
    }

    pub(crate) const fn shares_blobs(&self) -> bool {
        self.shares_blobs
    }

    /// Waits until nobody else is bringing the blob, and says what is to be done.
    pub(crate) async fn claim(self: &Arc<Self>, digest: Digest, here: &Scope) -> Claimed {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // From here on no news is missed.
            news.as_mut().enable();
            if let Some(claimed) = self.try_claim(digest, here) {
                return claimed;
            }
            news.await;
        }
    }

    fn try_claim(self: &Arc<Self>, digest: Digest, here: &Scope) -> Option<Claimed> {
        let mut table = self.lock();
        let Table { blobs, scopes, .. } = &mut *table;
        let state = blobs.entry(digest).or_default();
        let known = state.places.iter().map(|place| &scopes[*place as usize]);
        if known.clone().any(|scope| scope == here) {
            return Some(Claimed::Here);
        }
        if state.moving {
            return None;
        }
        let elsewhere = known.filter_map(|scope| scope.repository.clone()).collect();
        state.moving = true;
        Some(Claimed::Mine {
            claim: Claim {
                batch: Arc::clone(self),
                digest,
                here: here.clone(),
                arrived: false,
            },
            elsewhere,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn settle(&mut self, digest: Digest, here: &Scope) {
        let known = self.scopes.iter().rposition(|known| known == here);
        let place = known.unwrap_or_else(|| {
            self.scopes.push(here.clone());
            self.scopes.len() - 1
        });
        let Ok(place) = u32::try_from(place) else {
            return;
        };
        let state = self.blobs.entry(digest).or_default();
        state.moving = false;
        if state.places.is_empty() {
            self.settled.push_back(digest);
        }
        if state.places.len() == PLACES {
            state.places.remove(0);
        }
        state.places.push(place);
        if self.settled.len() > REMEMBERED
            && let Some(oldest) = self.settled.pop_front()
            && self.blobs.get(&oldest).is_some_and(|state| !state.moving)
        {
            self.blobs.remove(&oldest);
        }
    }
}

impl Claim {
    /// Says that the blob is in the repository now.
    pub(crate) fn arrived(mut self) {
        self.arrived = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.batch.lock();
        if self.arrived {
            table.settle(self.digest, &self.here);
        } else if let Some(state) = table.blobs.get_mut(&self.digest) {
            state.moving = false;
            if state.places.is_empty() {
                table.blobs.remove(&self.digest);
            }
        }
        drop(table);
        self.batch.news.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(name: &str) -> Scope {
        Scope {
            name: ReuseScope(name.to_owned()),
            repository: Some(Repository::parse(name).unwrap()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_waits_for_the_first_and_finds_the_blob() {
        let batch = Batch::new(true);
        let digest = Digest::sha256(b"blob");
        let (a, b) = (scope("r.io/a"), scope("r.io/b"));
        let Claimed::Mine { claim, elsewhere } = batch.claim(digest, &a).await else {
            panic!("nobody has it");
        };
        assert!(elsewhere.is_empty());
        let second =
            tokio::time::timeout(std::time::Duration::from_secs(1), batch.claim(digest, &b));
        assert!(second.await.is_err(), "it is on its way");
        let (third, ()) = tokio::join!(batch.claim(digest, &b), async {
            tokio::task::yield_now().await;
            claim.arrived();
        });
        let Claimed::Mine { claim, elsewhere } = third else {
            panic!("it is not in b");
        };
        assert_eq!(elsewhere, [a.repository.clone().unwrap()]);
        claim.arrived();
        for here in [&a, &b] {
            assert!(matches!(batch.claim(digest, here).await, Claimed::Here));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_is_let_go_passes_on() {
        let batch = Batch::new(true);
        let digest = Digest::sha256(b"blob");
        let here = scope("r.io/a");
        let Claimed::Mine { claim, .. } = batch.claim(digest, &here).await else {
            panic!("nobody has it");
        };
        let (next, ()) = tokio::join!(batch.claim(digest, &here), async {
            tokio::task::yield_now().await;
            drop(claim);
        });
        assert!(matches!(next, Claimed::Mine { .. }));
    }

    #[tokio::test]
    async fn what_is_remembered_has_an_end() {
        let batch = Batch::new(true);
        let here = scope("r.io/a");
        for number in 0..REMEMBERED + 100 {
            let digest = Digest::sha256(number.to_string().as_bytes());
            let Claimed::Mine { claim, .. } = batch.claim(digest, &here).await else {
                panic!("it is new");
            };
            claim.arrived();
        }
        assert_eq!(batch.lock().blobs.len(), REMEMBERED);
    }
}
