//! A run: what its images share, and how it begins and ends.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dhow_copy::{Batch, Engine};
use dhow_transports::Transports;

use super::destination::Names;
use super::driver::Driver;
use super::journal::Journal;
use super::mapping::Mapping;
use super::outcome::{SyncProgress, SyncReport};
use super::records::{Files, Records};
use super::request::{SyncOptions, SyncRequest, SyncSource, SyncTarget};
use crate::{Error, Session};

/// What the images of a run share.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) session: Session,
    pub(super) engine: Engine,
    pub(super) options: SyncOptions,
    pub(super) mapping: Mapping,
    pub(super) target: SyncTarget,
    pub(super) destination: Transports,
    pub(super) batch: Arc<Batch>,
    pub(super) journal: Option<Journal>,
    pub(super) progress: Arc<dyn SyncProgress>,
    /// Hashes of the blobs that a dry run has counted.
    pub(super) counted: Mutex<HashSet<u64>>,
}

/// Syncs. Without [`SyncOptions::keep_going`] the first image that cannot be copied ends the run with
/// its error; with it the report has what went wrong. Dropping the future ends everything that is
/// under way; what is settled is settled.
pub async fn sync(
    session: &Session,
    request: &SyncRequest,
    progress: Arc<dyn SyncProgress>,
) -> Result<SyncReport, Error> {
    let start = Instant::now();
    check(request)?;
    let engine = session.engine()?;
    let (journal, files) = files(session, request).await?;
    let destination = &request.destination;
    let run = Arc::new(Run {
        session: session.clone(),
        engine,
        mapping: Mapping::new(destination, &request.options),
        target: destination.target,
        destination: dhow_transports::standard(&destination.endpoint.parts(session)),
        // Where an image shares nothing with others before it is complete, there is nothing to wait
        // for.
        batch: Batch::new(!matches!(
            destination.target,
            SyncTarget::Dir | SyncTarget::OciArchive | SyncTarget::ContainersStorage
        )),
        journal,
        progress,
        counted: Mutex::default(),
        options: request.options.clone(),
    });
    let mut driver = Driver::new(Arc::clone(&run), Records::start(files));
    let outcome = driver.drive(&request.sources).await;
    // The run is ours alone again.
    let mut report = driver.end().await;
    if let (Ok(()), Some(run)) = (&outcome, Arc::into_inner(run))
        && let Some(journal) = run.journal
    {
        journal.end();
    }
    report.elapsed = start.elapsed();
    outcome.map(|()| report)
}

/// Refuses what cannot be done before anything is.
fn check(request: &SyncRequest) -> Result<(), Error> {
    let options = &request.options;
    let flag = if request.destination.target == SyncTarget::Docker {
        None
    } else if options.delete.is_some() {
        Some("--delete")
    } else {
        options.referrers.then_some("--referrers")
    };
    if let Some(flag) = flag {
        return Err(Error::Unsupported {
            message: format!("`{flag}` is not possible for this kind of destination"),
            hint: format!("leave out `{flag}`, or sync to a registry"),
        });
    }
    let is_local = |source: &&SyncSource| {
        matches!(
            source,
            SyncSource::Dir(_)
                | SyncSource::Oci(_)
                | SyncSource::OciArchive(_)
                | SyncSource::ContainersStorage(_)
        )
    };
    let Some(local) = request.sources.iter().find(is_local) else {
        return Ok(());
    };
    let name = source_name(local).replacen(' ', ":", 1);
    let (flag, message) = if options.delete.is_some() {
        // What was carried here may be a part of what there is.
        let why = "needs a source that has all tags of its repositories";
        let message = format!("`--delete` {why}, and `{name}` may have only some of them");
        ("--delete", message)
    } else if options.referrers {
        let message = format!("`--referrers` is not possible for `{name}`, which is no registry");
        ("--referrers", message)
    } else {
        return Ok(());
    };
    Err(Error::Unsupported {
        message,
        hint: format!("leave out `{flag}`, or sync from a registry"),
    })
}

/// Opens the files that a run writes to.
async fn files(
    session: &Session,
    request: &SyncRequest,
) -> Result<(Option<Journal>, Files), Error> {
    let (session, request) = (session.clone(), request.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let journal = journal(&session, &request);
        let files = Files::create(&request.options, journal.as_ref())?;
        Ok((journal, files))
    });
    opened.await.map_err(|_| Error::Interrupted)?
}

fn journal(session: &Session, request: &SyncRequest) -> Option<Journal> {
    let options = &request.options;
    if options.dry_run || !options.resume {
        return None;
    }
    let folder = session
        .config
        .environment()
        .cache_home()?
        .join("dhow")
        .join("sync");
    let destination = &request.destination;
    // Whatever decides which image stands under which name; not how it is reached.
    let what = format!(
        "{:?} {} {:?} {} {} {:?} {:?} {:?} {:?} {} {}",
        destination.target,
        destination.name,
        request.sources.iter().map(source_name).collect::<Vec<_>>(),
        options.scoped,
        options.append_suffix,
        options.rename,
        options.select,
        options.format,
        options.shard,
        options.referrers,
        options.digest_tags,
    );
    let journal = Journal::open(&folder, &what)?;
    if journal.count() > 0 {
        tracing::info!(
            images = journal.count(),
            "going on where the last run was cut off"
        );
    }
    Some(journal)
}

/// Returns what a source is called.
pub(super) fn source_name(source: &SyncSource) -> String {
    match source {
        SyncSource::Docker { name, .. } => format!("docker {name}"),
        SyncSource::Registry { name, .. } => format!("registry {name}"),
        SyncSource::Dir(path) => format!("dir {}", path.display()),
        SyncSource::Oci(path) => format!("oci {}", path.display()),
        SyncSource::OciArchive(path) => format!("oci-archive {}", path.display()),
        SyncSource::ContainersStorage(name) => format!("containers-storage {name}"),
        SyncSource::Yaml { yaml, .. } => format!("yaml {:?}", yaml.registries),
    }
}

impl Run {
    /// Lists the names in the layout that is the destination.
    pub(super) async fn layout_names(&self) -> Names {
        let place = self.mapping.image("x");
        let place = place.rsplit_once(':').map_or("", |(place, _)| place);
        Names::list(
            &self.destination,
            place,
            &format!("{place}:"),
            self.options.retry,
        )
        .await
    }
}
