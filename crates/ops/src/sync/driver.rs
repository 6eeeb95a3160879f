//! The driver of a run: origins one after the other, images of all of them at once, and what becomes
//! of each noted as it comes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dhow_copy::Standing;
use dhow_model::Digest;
use dhow_transport::Kind;
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::delete::Expected;
use super::destination::{Names, hash};
use super::image::Done;
use super::listing::Listing;
use super::origins::{Image, Images};
use super::outcome::{SyncEvent, SyncFailure, SyncOutcome, SyncReport, SyncVerdict};
use super::prepare::{Origins, Prepared};
use super::records::Records;
use super::request::{SyncSource, SyncTarget};
use super::run::Run;
use crate::Error;
use crate::created::later;
use crate::select::{TagFilter, by_version, digest_tag_subject, first};

/// Drives a run.
pub(super) struct Driver {
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
    waiting: Vec<(Digest, Image, String, Option<Standing>)>,
    /// Hashes of the names at the destination that were started, with those of their sources.
    started: HashMap<u64, u64>,
    records: Records,
}

impl Driver {
    pub(super) fn new(run: Arc<Run>, records: Records) -> Self {
        let options = &run.options;
        let usual = match run.target {
            SyncTarget::Docker => REGISTRY_IMAGES,
            SyncTarget::Dir | SyncTarget::Oci | SyncTarget::ContainersStorage => LOCAL_IMAGES,
            SyncTarget::OciArchive => 1,
        };
        // An archive is written by one image after another, whatever is wished.
        let wished = options.parallel.filter(|_| usual > 1);
        Self {
            at_once: wished.map_or(usual, usize::from),
            images: JoinSet::new(),
            report: SyncReport {
                dry_run: options.dry_run,
                ..SyncReport::default()
            },
            expected: options.delete.map(|_| Expected::default()),
            layout: None,
            subjects: HashSet::new(),
            waiting: Vec::new(),
            started: HashMap::new(),
            records,
            run,
        }
    }

    /// Syncs all sources.
    pub(super) async fn drive(&mut self, sources: &[SyncSource]) -> Result<(), Error> {
        if matches!(self.run.target, SyncTarget::Oci | SyncTarget::OciArchive) {
            self.layout = Some(Arc::new(self.run.layout_names().await));
        }
        let (run, layout) = (Arc::clone(&self.run), self.layout.clone());
        let mut origins = Origins::start(run, layout, sources.to_vec());
        while let Some(origin) = origins.next().await {
            match origin {
                Ok(prepared) => self.origin(prepared).await?,
                Err(broken) if broken.is_fatal => return Err(broken.error),
                Err(broken) => self.broken(&broken.name, broken.error).await?,
            }
        }
        while !self.images.is_empty() {
            self.reap().await?;
        }
        self.attached().await?;
        if let (Some(expected), Some(most)) = (&self.expected, self.run.options.delete) {
            for outcome in self.run.remove(expected, most).await {
                self.note(&Done::plain(outcome)).await?;
            }
        }
        self.records.end().await
    }

    /// Ends what is still under way, and returns what came of it all.
    pub(super) async fn end(mut self) -> SyncReport {
        self.images.shutdown().await;
        // Why the run broke off is told already.
        drop(self.records.end().await);
        self.report
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
                self.failed(&origin.name, failure).await?;
            }
            Images::Tags {
                ref repository,
                ref filters,
            } => {
                let tagged = |tag: &str| Image::tagged(&origin.side, repository, tag);
                images = self
                    .listed(repository, listing, filters, &names, &tagged)
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
            Some(Err(error)) => return self.unlisted(origin, &repository, error).await,
            None => return Ok(0),
        };
        let (mut images, mut is_empty, mut held) = (0, true, Vec::new());
        let versions = filters.iter().any(TagFilter::is_for_versions);
        let all = filters.iter().all(TagFilter::is_everything);
        while let Some(tag) = listing.next().await {
            let tag = match tag {
                Ok(tag) => tag,
                Err(error) => return self.unlisted(origin, &repository, error).await,
            };
            is_empty = false;
            let one = image(&tag);
            if let Some(expected) = &mut self.expected {
                expected.name(&repository, &self.run.mapping.image(&one.name));
            }
            let subject =
                digest_tag_subject(&one.tag).filter(|_| !all && self.run.options.digest_tags);
            if let Some(subject) = subject {
                self.wait_for_subject(subject, one, names);
            } else if !filters.iter().all(|filter| filter.admits(&one.tag)) {
                // It is not meant.
            } else if versions {
                held.push(tag);
            } else {
                images += u64::from(self.start(one, names).await?);
            }
        }
        images += self.start_newest(held, filters, names, image).await?;
        if images == 0 && self.expected.is_none() {
            tracing::warn!(repository = origin, "no refs to sync found");
        }
        if let Some(expected) = self.expected.as_mut().filter(|_| is_empty) {
            // An empty list is more often a mistake than a wish.
            expected.doubt(&repository);
        }
        Ok(images)
    }

    /// Starts the images of these tags that number and date let through.
    async fn start_newest(
        &mut self,
        mut held: Vec<String>,
        filters: &[TagFilter],
        names: &Names,
        image: &(dyn Fn(&str) -> Image + Sync),
    ) -> Result<u64, Error> {
        let newest = filters.iter().filter_map(|filter| filter.newest).min();
        let newest = newest.unwrap_or(usize::MAX);
        let now = Timestamp::now();
        let moments = filters.iter().filter_map(|filter| filter.newer_than);
        let mut chosen = match moments.map(|since| since.moment(now)).max() {
            None => stream::iter(first(held, newest)).boxed(),
            Some(since) => {
                let run = Arc::clone(&self.run);
                if let Some(shard) = run.options.shard.filter(|_| newest == usize::MAX) {
                    held.retain(|tag| shard.takes(&image(tag).repository, tag));
                }
                let is_new = move |tag: &str| Arc::clone(&run).is_new(image(tag), since).boxed();
                later(by_version(held), is_new).take(newest).boxed()
            }
        };
        let mut images = 0;
        while let Some(tag) = chosen.next().await {
            images += u64::from(self.start(image(&tag), names).await?);
        }
        Ok(images)
    }

    async fn unlisted(
        &mut self,
        origin: &str,
        repository: &str,
        error: Error,
    ) -> Result<u64, Error> {
        if let Some(expected) = &mut self.expected {
            expected.doubt(repository);
        }
        self.broken(origin, error).await.map(|()| 0)
    }

    /// Keeps an image that is not meant by itself, until it is known whether what it belongs to is
    /// synced.
    fn wait_for_subject(&mut self, subject: Digest, image: Image, names: &Names) {
        let destination = self.run.mapping.image(&image.name);
        let standing = names.standing(&destination);
        self.waiting.push((subject, image, destination, standing));
    }

    /// Syncs signatures and the like that lie under tags made of digests, and those of them.
    async fn attached(&mut self) -> Result<(), Error> {
        loop {
            let subjects = &self.subjects;
            let (wanted, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
                .into_iter()
                .partition(|(subject, ..)| subjects.contains(subject));
            self.waiting = waiting;
            if wanted.is_empty() {
                return Ok(());
            }
            for (_, image, destination, standing) in wanted {
                self.spawn(image, destination, standing).await?;
            }
            while !self.images.is_empty() {
                self.reap().await?;
            }
        }
    }

    /// Starts an image if it belongs to this shard, and waits for room first.
    async fn start(&mut self, image: Image, names: &Names) -> Result<bool, Error> {
        let shard = self.run.options.shard;
        if shard.is_some_and(|shard| !shard.takes(&image.repository, &image.tag)) {
            return Ok(false);
        }
        let destination = self.run.mapping.image(&image.name);
        let source = hash(&image.source);
        match self.started.insert(hash(&destination), source) {
            None => {}
            // It was chosen twice.
            Some(same) if same == source => return Ok(false),
            Some(_) => {
                self.failed(&image.source, clash(&destination)).await?;
                return Ok(false);
            }
        }
        let standing = names.standing(&destination);
        self.spawn(image, destination, standing).await?;
        Ok(true)
    }

    async fn spawn(
        &mut self,
        image: Image,
        destination: String,
        standing: Option<Standing>,
    ) -> Result<(), Error> {
        while self.images.len() >= self.at_once {
            self.reap().await?;
        }
        self.images
            .spawn(Arc::clone(&self.run).settle(image, destination, standing));
        Ok(())
    }

    async fn reap(&mut self) -> Result<(), Error> {
        let Some(done) = self.images.join_next().await else {
            return Ok(());
        };
        let done = done.map_err(|_| Error::Interrupted)?;
        self.note(&done).await?;
        if self.run.options.digest_tags {
            self.subjects.extend(&done.subjects);
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
    async fn note(&mut self, done: &Done) -> Result<(), Error> {
        let outcome = &done.outcome;
        self.report.add(outcome);
        self.run.progress.event(&SyncEvent::Settled(outcome));
        self.records.note(outcome).await
    }

    /// Notes that a source cannot be read. That ends the run unless it is to go on.
    async fn broken(&mut self, name: &str, error: Error) -> Result<(), Error> {
        if !self.run.options.keep_going {
            return Err(error);
        }
        self.failed(name, SyncFailure::of(&error)).await
    }

    async fn failed(&mut self, name: &str, failure: SyncFailure) -> Result<(), Error> {
        self.note(&Done::plain(SyncOutcome {
            source: name.to_owned(),
            destination: String::new(),
            verdict: SyncVerdict::Failed,
            digest: None,
            bytes: 0,
            failure: Some(failure),
            media_type: None,
        }))
        .await
    }
}

/// Says that two images would come under one name, of which one would be lost.
fn clash(destination: &str) -> SyncFailure {
    let message = format!("another image of this run is to be `{destination}`");
    let mut failure = SyncFailure::words(Kind::Exists, message);
    failure
        .hints
        .push("tell their names apart with `--scoped` or `--rename`".to_owned());
    failure
}

/// How many images are in work at once between registries. Most of them wait for answers.
const REGISTRY_IMAGES: usize = 12;
/// How many images are written to this machine at once.
const LOCAL_IMAGES: usize = 6;
