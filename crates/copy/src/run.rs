//! Run: blobs of all images move at once; each manifest is written when its blobs and its children
//! are there; the root comes last.
//!
//! ```text
//! queue of blobs ─▶ workers ─▶ placed ─▶ manifest ready? ─▶ assemble ─▶ publish ─▶ parent ready? …
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dhow_model::{Descriptor, Digest, ManifestKind, RawManifest};
use dhow_transport::{Kind, Placed};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::admit::{Content, Tree};
use crate::plan::{BlobPlan, Plan};
use crate::queue::Queue;
use crate::transfer::{Context, Reuse};
use crate::{Error, Event, PlanError};
use crate::{assemble, survey};

/// What a finished run gives: where everything is now.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) root: Descriptor,
    pub(crate) placed: BTreeMap<Digest, Placed>,
}

/// A run's shared, unchanging part.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) context: Context,
    pub(crate) tree: Tree,
    pub(crate) plan: Plan,
    pub(crate) configs: BTreeMap<Digest, Bytes>,
}

/// Carries the plan out. Dropping the future cancels everything that is under way.
pub(crate) async fn tree(work: Arc<Work>) -> Result<Outcome, Error> {
    let mut tasks = JoinSet::new();
    let (sender, mut arrivals) = mpsc::channel::<(Digest, Placed)>(64);
    start_workers(&work, &mut tasks, sender);
    let mut state = State {
        placed: BTreeMap::new(),
        published: vec![None; work.tree.nodes.len()],
        started: vec![false; work.tree.nodes.len()],
    };
    let (announce, mut announced) = mpsc::channel::<(usize, Descriptor)>(64);
    state.start_ready(&work, &mut tasks, &announce);
    loop {
        tokio::select! {
            biased;
            Some((digest, placed)) = arrivals.recv() => {
                state.placed.insert(digest, placed);
            }
            Some((node, descriptor)) = announced.recv() => {
                if node == work.tree.root() {
                    return Ok(Outcome { root: descriptor, placed: state.placed });
                }
                state.published[node] = Some(descriptor);
            }
            // The first error ends the run; dropping the set cancels the other tasks. No task and
            // no message left means that the root can never be written.
            ended = tasks.join_next() => {
                ended.ok_or(Error::Lost)?.map_err(|_| Error::Lost)??;
                continue;
            }
        }
        state.start_ready(&work, &mut tasks, &announce);
    }
}

fn start_workers(
    work: &Arc<Work>,
    tasks: &mut JoinSet<Result<(), Error>>,
    sender: mpsc::Sender<(Digest, Placed)>,
) {
    let queue = Arc::new(Queue::new(work.plan.blobs.clone()));
    let context = &work.context;
    let most = usize::from(
        context
            .source
            .caps()
            .concurrency
            .min(context.sink.caps().concurrency)
            .get(),
    );
    let workers = context
        .options
        .parallel
        .get()
        .min(most)
        .min(work.plan.blobs.len());
    for worker in 0..workers {
        let (work, queue, sender) = (Arc::clone(work), Arc::clone(&queue), sender.clone());
        let takes_smallest = worker > 0 && worker == workers - 1;
        tasks.spawn(async move {
            while let Some(blob) = queue.next(takes_smallest) {
                let placed = work.context.place(&blob, Reuse::Allowed).await?;
                // Nobody listens any more when the run has ended with an error.
                let _ended = sender.send((blob.blob.digest, placed)).await;
            }
            Ok(())
        });
    }
}

#[derive(Debug)]
struct State {
    placed: BTreeMap<Digest, Placed>,
    published: Vec<Option<Descriptor>>,
    started: Vec<bool>,
}

impl State {
    /// Starts to write every manifest whose parts are all there.
    fn start_ready(
        &mut self,
        work: &Arc<Work>,
        tasks: &mut JoinSet<Result<(), Error>>,
        announce: &mpsc::Sender<(usize, Descriptor)>,
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
                published: self.published.clone(),
            };
            let announce = announce.clone();
            tasks.spawn(async move {
                let descriptor = publication.publish().await?;
                let _ended = announce.send((publication.node, descriptor)).await;
                Ok(())
            });
        }
    }

    fn is_ready(&self, work: &Work, node: usize) -> bool {
        let blobs = &work.plan.nodes[node].blobs;
        let children = match &work.tree.nodes[node].content {
            Content::Index(_, members) => members.as_slice(),
            _ => &[],
        };
        blobs.iter().all(|digest| self.placed.contains_key(digest))
            && children
                .iter()
                .flatten()
                .all(|child| self.published[*child].is_some())
    }

    fn parts(&self, work: &Work, node: usize) -> BTreeMap<Digest, Placed> {
        let blobs = &work.plan.nodes[node].blobs;
        blobs
            .iter()
            .filter_map(|digest| Some((*digest, self.placed.get(digest)?.clone())))
            .collect()
    }
}

/// A manifest that is to be written.
struct Publication {
    work: Arc<Work>,
    node: usize,
    placed: BTreeMap<Digest, Placed>,
    published: Vec<Option<Descriptor>>,
}

impl Publication {
    /// Writes the manifest in the planned kind, or in another when the destination refuses that.
    async fn publish(&self) -> Result<Descriptor, Error> {
        let plan = &self.work.plan.nodes[self.node];
        let mut refused = None;
        for kind in std::iter::once(&plan.kind).chain(&plan.fallbacks) {
            let manifest = self.assemble(*kind).await?;
            match self.write(&manifest).await {
                Ok(()) => return Ok(manifest.descriptor()),
                Err(error) if error.kind() == Kind::ManifestRejected => {
                    refused.get_or_insert(error);
                }
                // The destination said that it had a blob, and now that it has not.
                Err(error) if error.kind() == Kind::NotFound && !plan.blobs.is_empty() => {
                    self.send_again().await?;
                    self.write(&manifest).await?;
                    return Ok(manifest.descriptor());
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or(Error::Lost))
    }

    async fn assemble(&self, kind: ManifestKind) -> Result<RawManifest, Error> {
        let node = &self.work.tree.nodes[self.node];
        let convert = |source| PlanError::Convert { to: kind, source };
        match &node.content {
            Content::Docker1(_) => Ok(node.raw.clone()),
            Content::Index(index, members) => {
                let plan = &self.work.plan.nodes[self.node];
                let made = assemble::index(&node.raw, index, members, plan, &self.published);
                Ok(made.map_err(convert)?)
            }
            Content::Image(image) => {
                let config = match self.work.configs.get(&image.config.digest) {
                    Some(config) => Some(config.clone()),
                    None if kind == image.kind => None,
                    None => Some(survey::read(&*self.work.context.source, &image.config).await?),
                };
                let config = config.as_ref();
                let made = assemble::image(&node.raw, image, config, &self.placed, kind);
                let made = made.map_err(convert)?;
                if kind != image.kind {
                    // The config of a converted image is not among the blobs that moved.
                    let bytes = made.config.or_else(|| config.cloned()).unwrap_or_default();
                    let digest = Digest::sha256(&bytes);
                    self.work.context.place_bytes(digest, bytes).await?;
                }
                Ok(made.manifest)
            }
        }
    }

    async fn write(&self, manifest: &RawManifest) -> Result<(), Error> {
        let context = &self.work.context;
        context.progress.event(&Event::ManifestWriting {
            digest: manifest.digest(),
            index: manifest.kind().is_index(),
        });
        let result = if self.node == self.work.tree.root() {
            context.sink.commit(manifest).await
        } else {
            context.sink.put_manifest(manifest).await
        };
        result.map_err(|error| {
            let step = format!("write the manifest `{}`", manifest.digest());
            Error::destination(&context.sink.location(), &step, error)
        })
    }

    async fn send_again(&self) -> Result<(), Error> {
        let needed = &self.work.plan.nodes[self.node].blobs;
        let missing = |planned: &&BlobPlan| needed.contains(&planned.blob.digest);
        for planned in self.work.plan.blobs.iter().filter(missing) {
            self.work.context.place(planned, Reuse::Forbidden).await?;
        }
        Ok(())
    }
}
