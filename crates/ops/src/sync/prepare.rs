//! Origins made ready: the list of one and that of its destination are begun before it is its turn,
//! and go on while the images of others move.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::destination::Names;
use super::image::parse;
use super::listing::Listing;
use super::origins::{self, Images, Origin};
use super::request::{SyncSource, SyncTarget};
use super::run::{Run, source_name};
use crate::Error;

/// The origins of all sources in their order. Dropping it ends what is under way.
#[derive(Debug)]
pub(super) struct Origins {
    ready: mpsc::Receiver<oneshot::Receiver<Result<Prepared, Broken>>>,
    reader: JoinSet<()>,
}

/// A source, or an origin of it, that cannot be read.
#[derive(Debug)]
pub(super) struct Broken {
    /// The name of the source.
    pub(super) name: String,
    pub(super) error: Error,
    /// The source makes no sense, so that a run cannot go on without it.
    pub(super) is_fatal: bool,
}

impl Origins {
    /// Begins to make the origins of these sources ready.
    pub(super) fn start(
        run: Arc<Run>,
        layout: Option<Arc<Names>>,
        sources: Vec<SyncSource>,
    ) -> Self {
        let (sender, ready) = mpsc::channel(PREPARED);
        let mut reader = JoinSet::new();
        reader.spawn(read(run, layout, sources, sender));
        Self { ready, reader }
    }

    /// Returns the next one.
    pub(super) async fn next(&mut self) -> Option<Result<Prepared, Broken>> {
        let next = match self.ready.recv().await {
            Some(next) => next.await.map_err(|_| ()),
            // A reader that broke down has not read everything.
            None => match self.reader.join_next().await {
                Some(Err(_)) => Err(()),
                _ => return None,
            },
        };
        Some(next.unwrap_or_else(|()| {
            Err(Broken {
                name: String::new(),
                error: Error::Interrupted,
                is_fatal: true,
            })
        }))
    }
}

type Sender = mpsc::Sender<oneshot::Receiver<Result<Prepared, Broken>>>;

async fn read(run: Arc<Run>, layout: Option<Arc<Names>>, sources: Vec<SyncSource>, sender: Sender) {
    let mut tasks = JoinSet::new();
    for source in sources {
        let found = origins::of(&run.session, &source, &run.options.filter).await;
        let is_fatal = found.is_err();
        let mut found = found.unwrap_or_else(|error| stream::iter([Err(error)]).boxed());
        while let Some(origin) = found.next().await {
            let (done, ready) = oneshot::channel();
            // The channel holds so many as may be read ahead.
            if sender.send(ready).await.is_err() {
                return;
            }
            let (run, layout) = (Arc::clone(&run), layout.clone());
            let name = source_name(&source);
            tasks.spawn(async move {
                let prepared = prepare(run, layout, origin).await;
                drop(done.send(prepared.map_err(|error| Broken {
                    name,
                    error,
                    is_fatal,
                })));
            });
            while tasks.try_join_next().is_some() {}
        }
    }
    drop(sender);
    while tasks.join_next().await.is_some() {}
}

/// An origin whose lists are being read.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) origin: Origin,
    pub(super) names: Arc<Names>,
    pub(super) listing: Option<Result<Listing, Error>>,
}

/// Begins to read the lists of an origin, on both sides.
async fn prepare(
    run: Arc<Run>,
    layout: Option<Arc<Names>>,
    origin: Result<Origin, Error>,
) -> Result<Prepared, Error> {
    let origin = origin?;
    let retry = run.options.retry;
    let place = match &origin.images {
        Images::Tags { repository, .. } => Some(format!("docker://{repository}")),
        Images::Names { place, .. } => Some(place.clone()),
        Images::Given(_) | Images::Wrong(_) => None,
    };
    let listing = place.map(|place| {
        let location = parse(&origin.side, &place, "source")?;
        Ok(Listing::start(location, retry))
    });
    let names = match (run.target, layout, &origin.images) {
        (SyncTarget::Dir, ..) => Arc::new(Names::Folders),
        (SyncTarget::Oci | SyncTarget::OciArchive, Some(names), _) => names,
        (SyncTarget::Docker, _, Images::Tags { repository, .. }) => {
            let place = format!("docker://{}", run.mapping.repository(repository));
            let prefix = format!("{place}:");
            Arc::new(Names::list(&run.destination, &place, &prefix, retry).await)
        }
        _ => Arc::default(),
    };
    Ok(Prepared {
        origin,
        names,
        listing,
    })
}

/// Of how many repositories the lists are read ahead.
const PREPARED: usize = 4;
