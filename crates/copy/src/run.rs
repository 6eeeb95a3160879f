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
use dhow_transport::{How, Kind, Placed};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::admit::{Content, Tree};
use crate::plan::{BlobKey, BlobPlan, Plan};
use crate::queue::Queue;
use crate::transfer::{Context, Reuse};
use crate::{Error, Event, PlanError};
use crate::{assemble, survey};

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
    manifests: Semaphore,
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
    let (sender, mut arrivals) = mpsc::channel::<(BlobKey, Placed)>(64);
    start_workers(work, tasks, &sender);
    drop(sender);
    let mut state = State {
        placed: BTreeMap::new(),
        configs: BTreeMap::new(),
        published: vec![None; work.tree.nodes.len()],
        started: vec![false; work.tree.nodes.len()],
    };
    let (announce, mut announced) = mpsc::channel::<(usize, Published)>(64);
    state.start_ready(work, tasks, &announce);
    loop {
        tokio::select! {
            biased;
            Some((key, placed)) = arrivals.recv() => {
                state.placed.insert(key, placed);
            }
            Some((node, published)) = announced.recv() => {
                if let Some(config) = published.config {
                    state.configs.insert(config.digest, config);
                }
                if node == work.tree.root() {
                    let placed = state.placed.into_values().chain(state.configs.into_values());
                    return Ok(Outcome {
                        root: published.manifest,
                        placed: placed.collect(),
                    });
                }
                state.published[node] = Some(published.manifest);
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

fn start_workers(
    work: &Arc<Work>,
    tasks: &mut JoinSet<Result<(), Error>>,
    sender: &mpsc::Sender<(BlobKey, Placed)>,
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
    if context.parallel.get() > most && work.plan.blobs.len() > most {
        let notice = format!("no more than {most} blobs can move at once between these places");
        context.progress.event(&Event::Notice(notice));
    }
    let workers = context.parallel.get().min(most).min(work.plan.blobs.len());
    for worker in 0..workers {
        let (work, queue, sender) = (Arc::clone(work), Arc::clone(&queue), sender.clone());
        let takes_smallest = worker > 0 && worker == workers - 1;
        tasks.spawn(async move {
            while let Some(blob) = queue.next(takes_smallest) {
                let placed = work.context.place(&blob, Reuse::Allowed).await?;
                // Nobody listens any more when the run has ended with an error.
                let _ended = sender.send((blob.key(), placed)).await;
            }
            Ok(())
        });
    }
}

#[derive(Debug)]
struct State {
    placed: BTreeMap<BlobKey, Placed>,
    /// The configs of converted images, each digest once.
    configs: BTreeMap<Digest, Placed>,
    published: Vec<Option<Descriptor>>,
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

    fn parts(&self, work: &Work, node: usize) -> BTreeMap<BlobKey, Placed> {
        let blobs = work.plan.nodes[node].blobs();
        blobs
            .filter_map(|key| Some((*key, self.placed.get(key)?.clone())))
            .collect()
    }
}

/// A manifest that is to be written.
struct Publication {
    work: Arc<Work>,
    node: usize,
    placed: BTreeMap<BlobKey, Placed>,
    published: Vec<Option<Descriptor>>,
}

/// A manifest that has been written.
#[derive(Debug)]
struct Published {
    manifest: Descriptor,
    /// The config that was made for it and placed with it.
    config: Option<Placed>,
}

impl Publication {
    /// Writes the manifest in the planned kind, or in another when the destination refuses that.
    async fn publish(&self) -> Result<Published, Error> {
        let _turn = self.work.manifests.acquire().await;
        let plan = &self.work.plan.nodes[self.node];
        let mut refused = None;
        for kind in std::iter::once(&plan.kind).chain(&plan.fallbacks) {
            if refused.is_some() {
                let retry = format!(
                    "the destination refuses `{}`, trying `{}`",
                    plan.kind.media_type(),
                    kind.media_type()
                );
                self.work.context.progress.event(&Event::Notice(retry));
            }
            match self.offer(*kind).await {
                Err(error) if error.kind() == Kind::ManifestRejected => {
                    refused.get_or_insert(error);
                }
                outcome => return outcome,
            }
        }
        Err(refused.unwrap_or(Error::Lost))
    }

    /// Writes the manifest in one kind.
    async fn offer(&self, kind: ManifestKind) -> Result<Published, Error> {
        let made = self.assemble(kind).await?;
        let mut config = self.place_config(&made, Reuse::Allowed).await?;
        let mut outcome = self.write(&made.manifest).await;
        if let Err(error) = &outcome
            && self.may_lack_content(error, config.as_ref())
        {
            // The destination said that it had a blob, and now that it has not.
            self.send_again().await?;
            config = self.place_config(&made, Reuse::Forbidden).await?;
            outcome = self.write(&made.manifest).await;
        }
        outcome?;
        Ok(Published {
            manifest: made.manifest.descriptor(),
            config,
        })
    }

    /// Returns whether the error may be about content that was taken to be there.
    fn may_lack_content(&self, error: &Error, config: Option<&Placed>) -> bool {
        // COMPAT(registries): distribution says 400 where others say 404.
        matches!(error.kind(), Kind::NotFound | Kind::Invalid)
            && self
                .placed
                .values()
                .chain(config)
                .any(|placed| placed.how != How::Sent)
    }

    async fn assemble(&self, kind: ManifestKind) -> Result<Made, Error> {
        let node = &self.work.tree.nodes[self.node];
        let plan = &self.work.plan.nodes[self.node];
        let convert = |source| PlanError::Convert { to: kind, source };
        let manifest = match &node.content {
            Content::Docker1(_) => node.raw.clone(),
            Content::Index(index, members) => {
                assemble::index(&node.raw, index, members, plan, &self.published, kind)
                    .map_err(convert)?
            }
            Content::Image(image) if kind == image.kind => {
                assemble::image(&node.raw, image, plan, None, &self.placed, kind)
                    .map_err(convert)?
                    .manifest
            }
            Content::Image(image) => {
                let old = self.config(&image.config).await?;
                let made = assemble::image(&node.raw, image, plan, Some(&old), &self.placed, kind)
                    .map_err(convert)?;
                // The config of a converted image is not among the blobs that moved.
                let config = match made.config {
                    Some(new) => (Descriptor::of(image.config.media_type.clone(), &new), new),
                    None => (image.config.clone(), old),
                };
                return Ok(Made {
                    manifest: made.manifest,
                    config: Some(config),
                });
            }
        };
        Ok(Made {
            manifest,
            config: None,
        })
    }

    /// Returns the config of an image that is converted; a kind that was not planned for needs it
    /// only now.
    async fn config(&self, config: &Descriptor) -> Result<Bytes, Error> {
        if let Some(known) = self.work.configs.get(&config.digest) {
            return Ok(known.clone());
        }
        let context = &self.work.context;
        survey::read(&*context.source, config, &context.patience).await
    }

    async fn place_config(&self, made: &Made, reuse: Reuse) -> Result<Option<Placed>, Error> {
        let Some((config, bytes)) = &made.config else {
            return Ok(None);
        };
        let context = &self.work.context;
        context.place_config(config, bytes, reuse).await.map(Some)
    }

    async fn write(&self, manifest: &RawManifest) -> Result<(), Error> {
        let context = &self.work.context;
        context.progress.event(&Event::ManifestWriting {
            digest: manifest.digest(),
            index: manifest.kind().is_index(),
        });
        let put = || async {
            let result = if self.node == self.work.tree.root() {
                context.sink.commit(manifest).await
            } else {
                context.sink.put_manifest(manifest).await
            };
            result.map_err(|error| {
                let step = format!("write the manifest `{}`", manifest.digest());
                Error::destination(&context.sink.location(), &step, error)
            })
        };
        let what = format!("manifest `{}`", manifest.digest());
        context.patience.run(&what, put).await
    }

    /// Sends every blob that was not sent before.
    async fn send_again(&self) -> Result<(), Error> {
        let reused = |planned: &&BlobPlan| {
            let placed = self.placed.get(&planned.key());
            placed.is_some_and(|placed| placed.how != How::Sent)
        };
        for planned in self.work.plan.blobs.iter().filter(reused) {
            self.work.context.place(planned, Reuse::Forbidden).await?;
        }
        Ok(())
    }
}

/// A manifest that was made, with the config that belongs to it if that was made too.
struct Made {
    manifest: RawManifest,
    config: Option<(Descriptor, Bytes)>,
}

/// How many manifests are written at once.
const MANIFESTS_AT_ONCE: usize = 8;
