//! The map of the crate: one function that goes from a job to a report.

use std::sync::Arc;

use dhow_model::Descriptor;
use dhow_transport::{How, Sink, Source};
use dhow_trust::Admission;
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};

use crate::patience::Patience;
use crate::plan::{Plan, Terms};
use crate::run::{Outcome, Work};
use crate::transfer::{Context, in_registry};
use crate::unchanged::Before;
use crate::{
    Error, Event, Job, PlanSummary, PlannedBlob, Progress, Report, Select, Tally, admit, assemble,
    plan, resolve, run, survey, unchanged,
};

/// Copies images under one policy.
#[derive(Clone, Debug)]
pub struct Engine {
    admission: Admission,
}

impl Engine {
    /// Returns an engine that copies what `admission` lets through.
    pub const fn new(admission: Admission) -> Self {
        Self { admission }
    }

    /// Copies. After an error, or when the future is dropped, nothing of the new image is visible
    /// under the destination's name, and what was there is there.
    pub async fn copy(&self, job: &Job, progress: Arc<dyn Progress>) -> Result<Report, Error> {
        let patience = Patience::new(&job.options, &progress);
        let source = patience.run("the source", || open_source(job)).await?;
        let (opened, other) = match unchanged::look(&*source, job, &self.admission).await {
            Before::Unchanged(report) => return Ok(*report),
            Before::Copy { sink, other } => (sink, other),
        };
        if [&job.source, &job.destination]
            .iter()
            .any(|side| side.is_in_registry())
        {
            job.options.cache.open_ahead();
        }
        let raw = async { resolve::tree(&*source, &job.options, &patience).await };
        let recall = async {
            if let Some(sink) = opened.as_ref().filter(|_| other) {
                // It only saves questions.
                drop(sink.recall().await);
            }
            Ok(())
        };
        let (raw, ()) = future::try_join(raw, recall).await?;
        let mut tree = admit::tree(raw, &*job.source, &self.admission)?;
        if let Select::Platforms(wanted) = &job.options.select {
            survey::fits(&*source, &tree, wanted, &patience).await?;
        }
        survey::held(&*source, &mut tree).await?;
        let sink = match opened {
            Some(sink) => sink,
            None => patience.run("the destination", || open_sink(job)).await?,
        };
        let terms = Terms {
            options: &job.options,
            caps: sink.caps(),
            destination: in_registry(&*job.destination),
        };
        let plan = plan::tree(&tree, &terms)?;
        let images = tree.images();
        let mut summary = plan.summary(&tree);
        let configs = survey::configs(&*source, &tree, &plan, &patience).await?;
        let mut context = Context::new(job, source, sink, patience, progress);
        if job.options.dry_run {
            summary.blobs = look(&context, &plan, summary.blobs).await?;
            let root = &tree.nodes[tree.root()].raw;
            // What cannot be made without its bytes is not refused by a dry run either.
            let made = assemble::preview(&tree, &plan, &configs).unwrap_or_default();
            let root = made.unwrap_or_else(|| root.descriptor());
            let served_by = context.source.served_by();
            return Ok(Report {
                served_by,
                ..planned_report(root, images, summary)
            });
        }
        let served_by = context.source.served_by();
        context.progress.event(&Event::Planned(Arc::new(summary)));
        announce_images(&context, &tree);
        context.announce(&tree, &plan).await?;
        context.recall_places(&plan).await;
        let work = Arc::new(Work::new(context, tree, plan, configs));
        let outcome = run::tree(Arc::clone(&work)).await;
        work.context.remember().await;
        let outcome = outcome?;
        Ok(Report {
            served_by,
            ..report(&outcome, images)
        })
    }
}

async fn open_source(job: &Job) -> Result<Arc<dyn Source>, Error> {
    let opened = job.source.source().await;
    opened.map_err(|error| Error::source(&job.source, "open the image", error))
}

async fn open_sink(job: &Job) -> Result<Arc<dyn Sink>, Error> {
    let opened = job.destination.sink().await;
    opened.map_err(|error| Error::destination(&job.destination, "open the place", error))
}

fn announce_images(context: &Context, tree: &admit::Tree) {
    let of = tree.images();
    if of == 1 && tree.nodes.len() == 1 {
        return;
    }
    let images = tree
        .nodes
        .iter()
        .filter(|node| !matches!(node.content, admit::Content::Index(..)));
    for (place, node) in images.enumerate() {
        let digest = node.raw.digest();
        context.progress.event(&Event::ImageStarted {
            digest,
            number: place + 1,
            of,
        });
    }
}

/// Asks the destination which of the blobs it has.
async fn look(
    context: &Context,
    plan: &Plan,
    blobs: Vec<PlannedBlob>,
) -> Result<Vec<PlannedBlob>, Error> {
    // A list: closures in what is held across an await keep the future from being spawned.
    let looks: Vec<_> = plan
        .blobs
        .iter()
        .zip(blobs)
        .map(|(planned, mut shown)| async move {
            let sink: &dyn Sink = &*context.sink;
            let has = sink.has(&context.known(planned)).await.map_err(|error| {
                let step = format!("look for the blob `{}`", planned.blob.digest);
                Error::destination(&sink.location(), &step, error)
            })?;
            shown.present = Some(has);
            Ok(shown)
        })
        .collect();
    stream::iter(looks).buffered(8).try_collect().await
}

fn planned_report(root: Descriptor, images: usize, plan: PlanSummary) -> Report {
    Report {
        digest: root.digest,
        media_type: root.media_type,
        images,
        sent: Tally::default(),
        reused: Tally::default(),
        mounted: Tally::default(),
        unchanged: false,
        served_by: None,
        plan: Some(plan),
    }
}

fn report(outcome: &Outcome, images: usize) -> Report {
    let tally = |wanted: fn(How) -> bool| {
        let placed = outcome.placed.iter();
        let blobs = placed.filter(|placed| wanted(placed.how));
        blobs.fold(Tally::default(), |sum, placed| Tally {
            blobs: sum.blobs + 1,
            bytes: sum.bytes
                + match placed.how {
                    How::Parts { fetched } => fetched,
                    _ => placed.size,
                },
        })
    };
    Report {
        digest: outcome.root.digest,
        media_type: outcome.root.media_type.clone(),
        images,
        sent: tally(|how| matches!(how, How::Sent | How::Parts { .. })),
        reused: tally(|how| matches!(how, How::Present | How::Linked)),
        mounted: tally(|how| how == How::Mounted),
        unchanged: false,
        served_by: None,
        plan: None,
    }
}
