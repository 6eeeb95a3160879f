//! Run: blobs of all images move at once; each manifest is written when its blobs and its children
//! are there; the root comes last.
//!
//! ```text
//! ask for blobs ─▶ send those that lack ─▶ placed ─▶ manifest ready? ─▶ assemble ─▶ publish ─▶ parent ready? …
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dhow_model::{Descriptor, Digest};
use dhow_transport::Placed;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::admit::{Content, Tree};
use crate::assemble::Member;
use crate::flow::{Flow, Prospect};
use crate::plan::{BlobKey, BlobPlan, Plan};
use crate::publish::{Publication, Published};
use crate::queue::{Asking, Ready};
use crate::transfer::{Arrival, Asked, Context, Reuse};
use crate::{Error, Event};

/// What a finished run gives: where everything is now.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) root: Descriptor,
    pub(crate) placed: Vec<Placed>,
}

/// A run's shared, unchanging part.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) context: Context,
    pub(crate) tree: Tree,
    pub(crate) plan: Plan,
    pub(crate) configs: BTreeMap<Digest, Bytes>,
    /// How many manifests may still be written at once.
    pub(crate) manifests: Semaphore,
}

impl Work {
    pub(crate) fn new(
        context: Context,
        tree: Tree,
        plan: Plan,
        configs: BTreeMap<Digest, Bytes>,
    ) -> Self {
        Self {
            context,
            tree,
            plan,
            configs,
            manifests: Semaphore::new(MANIFESTS_AT_ONCE),
        }
    }
}

/// Carries the plan out. Dropping the future cancels everything that is under way.
pub(crate) async fn tree(work: Arc<Work>) -> Result<Outcome, Error> {
    let mut tasks = JoinSet::new();
    let outcome = drive(&work, &mut tasks).await;
    // What was cut off has let go of its files and connections before the error is told.
    tasks.shutdown().await;
    outcome
}

async fn drive(work: &Arc<Work>, tasks: &mut JoinSet<Result<(), Error>>) -> Result<Outcome, Error> {
    let (sender, mut arrivals) = mpsc::channel::<(BlobKey, Arrival)>(64);
    start_workers(work, tasks, &sender);
    drop(sender);
    let mut state = State {
        placed: BTreeMap::new(),
        made: BTreeMap::new(),
        published: vec![None; work.tree.nodes.len()],
        started: vec![false; work.tree.nodes.len()],
    };
    let (announce, mut announced) = mpsc::channel::<(usize, Published)>(64);
    state.start_ready(work, tasks, &announce);
    loop {
        tokio::select! {
            biased;
            Some((key, arrival)) = arrivals.recv() => {
                state.placed.insert(key, arrival);
            }
            Some((node, published)) = announced.recv() => {
                let made = published.made.into_iter();
                state.made.extend(made.map(|placed| (placed.digest, placed)));
                if node == work.tree.root() {
                    let moved = state.placed.into_values().map(|arrival| arrival.placed);
                    return Ok(Outcome {
                        root: published.member.manifest,
                        placed: moved.chain(state.made.into_values()).collect(),
                    });
                }
                state.published[node] = Some(published.member);
            }
            // The first error ends the run, and with it the other tasks. No task and no message
            // left means that the root can never be written.
            ended = tasks.join_next() => {
                ended.ok_or(Error::Lost)?.map_err(|_| Error::Lost)??;
                continue;
            }
        }
        state.start_ready(work, tasks, &announce);
    }
}

/// Starts the tasks that ask the destination for its blobs, and those that send what it lacks.
fn start_workers(
    work: &Arc<Work>,
    tasks: &mut JoinSet<Result<(), Error>>,
    sender: &mpsc::Sender<(BlobKey, Arrival)>,
) {
    let count = work.plan.blobs.len();
    let flow = flow(work);
    work.context.expect_blobs(flow.limit().min(count));
    let asking = Arc::new(Asking::new(work.plan.blobs.clone()));
    let ready = Arc::new(Ready::new(count, flow.most() * 2));
    // Sinks that write in order are asked in order, so that blobs come to the workers in order.
    let askers = if work.context.sink.caps().in_order {
        1
    } else {
        ASKED_AT_ONCE.min(flow.most()).min(count)
    };
    for asker in 0..askers {
        let (work, asking, ready, sender) = (
            Arc::clone(work),
            Arc::clone(&asking),
            Arc::clone(&ready),
            sender.clone(),
        );
        let takes_smallest = asker == 1;
        tasks.spawn(async move {
            while let Some(room) = ready.room().await
                && let Some((place, blob)) = asking.next(takes_smallest)
            {
                match work.context.ask(&blob).await? {
                    Asked::Lacks(claim) => ready.push(place, (blob, claim), room),
                    Asked::There(arrival) => {
                        ready.settle();
                        // Nobody listens any more when the run has ended with an error.
                        let _ended = sender.send((blob.key(), arrival)).await;
                    }
                }
            }
            Ok(())
        });
    }
    for mover in 0..flow.most().min(count) {
        let (work, ready, flow, sender) = (
            Arc::clone(work),
            Arc::clone(&ready),
            Arc::clone(&flow),
            sender.clone(),
        );
        let takes_smallest = mover == 1;
        tasks.spawn(async move {
            // Who has nothing to send leaves the slots to other copies of the batch.
            while let Some((blob, claim)) = ready.next(takes_smallest).await
                && let Some(slot) = flow.enter().await
            {
                let arrival = work.context.send(&blob, Reuse::Allowed).await?;
                flow.leave(slot, arrival.placed.size);
                if let Some(claim) = claim {
                    claim.arrived();
                }
                let _ended = sender.send((blob.key(), arrival)).await;
            }
            Ok(())
        });
    }
}

/// Returns how blobs flow between these places, and says so where that is not what was asked for.
fn flow(work: &Work) -> Arc<Flow> {
    let context = &work.context;
    let caps = context
        .source
        .caps()
        .concurrency
        .min(context.sink.caps().concurrency);
    let (given, caps) = (context.parallel.map(usize::from), usize::from(caps.get()));
    if given.is_some_and(|given| given > caps) && work.plan.blobs.len() > caps {
        let notice = format!("no more than {caps} blobs can move at once between these places");
        context.progress.event(&Event::Notice(notice));
    }
    match &context.batch {
        // Places that take only a few at once have a flow for each.
        Some(batch) if given.is_none() && caps >= batch.flow().most() => batch.flow(),
        _ => {
            let prospect = Prospect {
                average: Some(average(&work.plan.blobs)),
                near: context.source.is_near() && context.sink.is_near(),
            };
            Arc::new(Flow::new(given, caps, prospect))
        }
    }
}

/// Returns how many bytes these blobs have on average.
fn average(blobs: &[BlobPlan]) -> u64 {
    let sizes = blobs.iter().map(|planned| planned.blob.size);
    sizes.fold(0, u64::saturating_add) / (blobs.len().max(1) as u64)
}

#[derive(Debug)]
struct State {
    placed: BTreeMap<BlobKey, Arrival>,
    /// The blobs that were made for converted images, each digest once.
    made: BTreeMap<Digest, Placed>,
    published: Vec<Option<Member>>,
    started: Vec<bool>,
}

impl State {
    /// Starts to write every manifest whose parts are all there.
    fn start_ready(
        &mut self,
        work: &Arc<Work>,
        tasks: &mut JoinSet<Result<(), Error>>,
        announce: &mpsc::Sender<(usize, Published)>,
    ) {
        for node in 0..work.tree.nodes.len() {
            if self.started[node] || !self.is_ready(work, node) {
                continue;
            }
            self.started[node] = true;
            let publication = Publication {
                work: Arc::clone(work),
                node,
                placed: self.parts(work, node),
                published: match work.tree.nodes[node].content {
                    Content::Index(..) => self.published.clone(),
                    _ => Vec::new(),
                },
            };
            let announce = announce.clone();
            tasks.spawn(async move {
                let published = publication.publish().await?;
                let _ended = announce.send((publication.node, published)).await;
                Ok(())
            });
        }
    }

    fn is_ready(&self, work: &Work, node: usize) -> bool {
        let mut blobs = work.plan.nodes[node].blobs();
        let children = match &work.tree.nodes[node].content {
            Content::Index(_, members) => members.as_slice(),
            _ => &[],
        };
        blobs.all(|key| self.placed.contains_key(key))
            && children
                .iter()
                .flatten()
                .all(|child| self.published[*child].is_some())
    }

    fn parts(&self, work: &Work, node: usize) -> BTreeMap<BlobKey, Arrival> {
        let blobs = work.plan.nodes[node].blobs();
        blobs
            .filter_map(|key| Some((*key, self.placed.get(key)?.clone())))
            .collect()
    }
}

/// How many manifests are written at once.
const MANIFESTS_AT_ONCE: usize = 8;

/// How many blobs the destination is asked for at once.
const ASKED_AT_ONCE: usize = 8;
