//! A run: origins one after the other, their lists read ahead, and images of all of them at once.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dhow_copy::{Batch, Engine, Standing};
use dhow_model::Digest;
use dhow_transport::Kind;
use dhow_transports::Transports;
use futures_util::StreamExt as _;
use tokio::task::JoinSet;

use super::delete::Expected;
use super::destination::Names;
use super::image::{Done, parse};
use super::journal::Journal;
use super::listing::Listing;
use super::mapping::Mapping;
use super::origins::{self, Image, Images, Origin};
use super::outcome::{SyncEvent, SyncFailure, SyncOutcome, SyncProgress, SyncReport, SyncVerdict};
use super::request::{SyncOptions, SyncRequest, SyncSource, SyncTarget};
use crate::select::{TagFilter, digest_tag_subject};
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
    let destination = &request.destination;
    let run = Arc::new(Run {
        session: session.clone(),
        engine,
        mapping: Mapping::new(destination, &request.options),
        target: destination.target,
        destination: dhow_transports::standard(&destination.endpoint.parts(session)),
        batch: Batch::new(destination.target != SyncTarget::Dir),
        journal: journal(session, request),
        progress,
        counted: Mutex::default(),
        options: request.options.clone(),
    });
    let mut driver = Driver::new(Arc::clone(&run), request)?;
    let outcome = driver.drive(&request.sources).await;
    driver.images.shutdown().await;
    let mut report = std::mem::take(&mut driver.report);
    // The run is ours alone again.
    drop(driver);
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
    let registry = request.destination.target == SyncTarget::Docker;
    let flag = match () {
        () if options.delete.is_some() && !registry => "--delete",
        () if options.referrers && !registry => "--referrers",
        () => return Ok(()),
    };
    Err(Error::Unsupported {
        message: format!("`{flag}` is not possible for this kind of destination"),
        hint: format!("leave out `{flag}`, or sync to a registry"),
    })
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
        "{:?} {} {:?} {} {} {:?} {:?} {:?} {:?}",
        destination.target,
        destination.name,
        request.sources.iter().map(source_name).collect::<Vec<_>>(),
        options.scoped,
        options.append_suffix,
        options.rename,
        options.select,
        options.format,
        options.shard,
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

fn source_name(source: &SyncSource) -> String {
    match source {
        SyncSource::Docker { name, .. } => format!("docker {name}"),
        SyncSource::Registry { name, .. } => format!("registry {name}"),
        SyncSource::Dir(path) => format!("dir {}", path.display()),
        SyncSource::Oci(path) => format!("oci {}", path.display()),
        SyncSource::OciArchive(path) => format!("oci-archive {}", path.display()),
        SyncSource::Yaml { yaml, .. } => format!("yaml {:?}", yaml.registries),
    }
}

/// An origin whose lists are being read.
struct Prepared {
    origin: Origin,
    names: Arc<Names>,
    listing: Option<Result<Listing, Error>>,
}

struct Driver {
    run: Arc<Run>,
    images: JoinSet<Done>,
    at_once: usize,
    report: SyncReport,
    expected: Option<Expected>,
    /// The names in the layout that is the destination.
    layout: Option<Arc<Names>>,
    /// Digests that are at the destination now, where tags made of them are synced.
    subjects: HashSet<Digest>,
    /// Images under such tags, which wait for what they belong to.
    waiting: Vec<(Digest, Image, Standing)>,
    digestfile: Option<File>,
    failures: Option<File>,
}

impl Driver {
    fn new(run: Arc<Run>, request: &SyncRequest) -> Result<Self, Error> {
        let options = &request.options;
        let create = |path: &Option<std::path::PathBuf>| path.as_deref().map(create).transpose();
        let usual = match request.destination.target {
            SyncTarget::Docker => REGISTRY_IMAGES,
            SyncTarget::Dir | SyncTarget::Oci => LOCAL_IMAGES,
        };
        Ok(Self {
            at_once: options.parallel.map_or(usual, usize::from),
            images: JoinSet::new(),
            report: SyncReport {
                dry_run: options.dry_run,
                ..SyncReport::default()
            },
            expected: options.delete.map(|_| Expected::default()),
            layout: None,
            subjects: HashSet::new(),
            waiting: Vec::new(),
            digestfile: if options.dry_run {
                None
            } else {
                create(&options.digestfile)?
            },
            failures: create(&options.failures)?,
            run,
        })
    }

    async fn drive(&mut self, sources: &[SyncSource]) -> Result<(), Error> {
        if self.run.target == SyncTarget::Oci {
            self.layout = Some(Arc::new(self.run.layout_names().await));
        }
        for source in sources {
            let found = origins::of(&self.run.session, source, &self.run.options.filter)?;
            let (run, layout) = (Arc::clone(&self.run), self.layout.clone());
            let mut prepared = found
                .map(move |origin| prepare(Arc::clone(&run), layout.clone(), origin))
                .buffered(PREPARED);
            while let Some(prepared) = prepared.next().await {
                match prepared {
                    Ok(prepared) => self.origin(prepared).await?,
                    Err(error) => self.broken(&source_name(source), error)?,
                }
            }
        }
        while !self.images.is_empty() {
            self.reap().await?;
        }
        self.attached().await?;
        if let (Some(expected), Some(most)) = (&self.expected, self.run.options.delete) {
            for outcome in self.run.remove(expected, most).await {
                self.note(&Done::plain(outcome))?;
            }
        }
        Ok(())
    }

    async fn origin(&mut self, prepared: Prepared) -> Result<(), Error> {
        self.report.sources += 1;
        let Prepared {
            origin,
            names,
            listing,
        } = prepared;
        let mut images = 0;
        match origin.images {
            Images::Given(given) => {
                for image in given {
                    if let Some(expected) = &mut self.expected {
                        // Nobody knows which others the source has.
                        expected.doubt(&self.run.mapping.repository(&image.repository));
                    }
                    images += u64::from(self.start(image, &names).await?);
                }
            }
            Images::Wrong(ref problem) => {
                let failure = SyncFailure::words(Kind::Invalid, problem.clone());
                self.failed(&origin.name, failure)?;
            }
            Images::Tags {
                ref repository,
                ref filters,
            } => {
                let tagged = |tag: &str| Image::tagged(&origin.side, repository, tag);
                images = self
                    .listed(&origin.name, listing, filters, &names, &tagged)
                    .await?;
            }
            Images::Names {
                ref place,
                ref stem,
            } => {
                let filters = [self.run.options.filter.clone()];
                let named = |name: &str| Image::named(&origin.side, place, stem, name);
                images = self
                    .listed(&origin.name, listing, &filters, &names, &named)
                    .await?;
            }
        }
        self.run.progress.event(&SyncEvent::Listed {
            origin: &origin.name,
            images,
        });
        Ok(())
    }

    /// Starts the images of a list while it is read, and returns how many there are.
    async fn listed(
        &mut self,
        origin: &str,
        listing: Option<Result<Listing, Error>>,
        filters: &[TagFilter],
        names: &Names,
        image: &(dyn Fn(&str) -> Image + Sync),
    ) -> Result<u64, Error> {
        let repository = self.run.mapping.repository(origin);
        let mut listing = match listing {
            Some(Ok(listing)) => listing,
            Some(Err(error)) => return self.unlisted(origin, &repository, error),
            None => return Ok(0),
        };
        let (mut images, mut held) = (0, Vec::new());
        let counts = filters.iter().any(|filter| filter.newest.is_some());
        while let Some(tag) = listing.next().await {
            let tag = match tag {
                Ok(tag) => tag,
                Err(error) => return self.unlisted(origin, &repository, error),
            };
            let one = image(&tag);
            if let Some(expected) = &mut self.expected {
                expected.name(&repository, &self.run.mapping.image(&one.name));
            }
            if !filters.iter().all(|filter| filter.admits(&tag)) {
                self.wait_for_subject(one, names);
            } else if counts {
                held.push(tag);
            } else {
                images += u64::from(self.start(one, names).await?);
            }
        }
        let newest = filters.iter().fold(held, |tags, filter| filter.apply(tags));
        for tag in newest {
            images += u64::from(self.start(image(&tag), names).await?);
        }
        if images == 0 && self.expected.is_none() {
            tracing::warn!(repository = origin, "no refs to sync found");
        }
        if let (Some(expected), 0) = (&mut self.expected, images)
            && self.run.options.shard.is_none()
        {
            // An empty list is more often a mistake than a wish.
            expected.doubt(&repository);
        }
        Ok(images)
    }

    fn unlisted(&mut self, origin: &str, repository: &str, error: Error) -> Result<u64, Error> {
        if let Some(expected) = &mut self.expected {
            expected.doubt(repository);
        }
        self.broken(origin, error).map(|()| 0)
    }

    /// Keeps an image that is not meant by itself, until it is known whether what it belongs to is
    /// synced.
    fn wait_for_subject(&mut self, image: Image, names: &Names) {
        if !self.run.options.digest_tags {
            return;
        }
        if let Some(subject) = digest_tag_subject(&image.tag) {
            let standing = names.standing(&self.run.mapping.image(&image.name));
            self.waiting.push((subject, image, standing));
        }
    }

    /// Syncs signatures and the like that lie under tags made of digests.
    async fn attached(&mut self) -> Result<(), Error> {
        for (subject, image, standing) in std::mem::take(&mut self.waiting) {
            if self.subjects.contains(&subject) {
                self.spawn(image, standing).await?;
            }
        }
        while !self.images.is_empty() {
            self.reap().await?;
        }
        Ok(())
    }

    /// Starts an image if it belongs to this shard, and waits for room first.
    async fn start(&mut self, image: Image, names: &Names) -> Result<bool, Error> {
        let shard = self.run.options.shard;
        if shard.is_some_and(|shard| !shard.takes(&image.repository, &image.tag)) {
            return Ok(false);
        }
        let standing = names.standing(&self.run.mapping.image(&image.name));
        self.spawn(image, standing).await?;
        Ok(true)
    }

    async fn spawn(&mut self, image: Image, standing: Standing) -> Result<(), Error> {
        while self.images.len() >= self.at_once {
            self.reap().await?;
        }
        self.images
            .spawn(Arc::clone(&self.run).settle(image, standing));
        Ok(())
    }

    async fn reap(&mut self) -> Result<(), Error> {
        let Some(done) = self.images.join_next().await else {
            return Ok(());
        };
        let done = done.map_err(|_| Error::Interrupted)?;
        self.note(&done)?;
        if self.run.options.digest_tags {
            self.subjects.extend(done.brings());
        }
        match done.error {
            Some(error) if !self.run.options.keep_going => Err(Error::Image {
                source_name: done.outcome.source,
                destination: done.outcome.destination,
                cause: Box::new(error),
            }),
            _ => Ok(()),
        }
    }

    /// Tells and writes down what became of an image.
    fn note(&mut self, done: &Done) -> Result<(), Error> {
        let outcome = &done.outcome;
        self.report.add(outcome);
        self.run.progress.event(&SyncEvent::Settled(outcome));
        if outcome.verdict == SyncVerdict::Failed {
            if let Some(file) = &mut self.failures {
                let line = serde_json::to_string(outcome).unwrap_or_default();
                writeln!(file, "{line}").map_err(Error::Report)?;
            }
            return Ok(());
        }
        if let Some(journal) = &self.run.journal
            && !matches!(outcome.verdict, SyncVerdict::Settled | SyncVerdict::Removed)
        {
            journal.settle(&outcome.destination);
        }
        if let (Some(file), Some(digest)) = (&mut self.digestfile, outcome.digest) {
            writeln!(file, "{digest} {}", outcome.destination).map_err(Error::Report)?;
        }
        Ok(())
    }

    /// Notes that a source cannot be read. That ends the run unless it is to go on.
    fn broken(&mut self, name: &str, error: Error) -> Result<(), Error> {
        if !self.run.options.keep_going {
            return Err(error);
        }
        self.failed(name, SyncFailure::of(&error))
    }

    fn failed(&mut self, name: &str, failure: SyncFailure) -> Result<(), Error> {
        self.note(&Done::plain(SyncOutcome {
            source: name.to_owned(),
            destination: String::new(),
            verdict: SyncVerdict::Failed,
            digest: None,
            bytes: 0,
            failure: Some(failure),
            media_type: None,
        }))
    }
}

impl Run {
    async fn layout_names(&self) -> Names {
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
        (SyncTarget::Oci, Some(names), _) => names,
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

fn create(path: &Path) -> Result<File, Error> {
    File::create(path).map_err(|source| Error::Folder {
        path: path.to_owned(),
        source,
    })
}

/// How many images are in work at once between registries. Most of them wait for answers.
const REGISTRY_IMAGES: usize = 12;
/// How many images are written to this machine at once.
const LOCAL_IMAGES: usize = 6;
/// Of how many repositories the lists are read ahead.
const PREPARED: usize = 4;
