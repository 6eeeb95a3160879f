//! One image of a sync, from the question whether it is there to its outcome.

use std::sync::Arc;
use std::time::Duration;

use dhow_copy::{Job, Options, PlanSummary, Report, Standing};
use dhow_transport::{Kind, Location, Retry};
use dhow_transports::Transports;
use jiff::Timestamp;

use super::destination::{hash, on_disk};
use super::origins::Image;
use super::outcome::{SyncFailure, SyncOutcome, SyncVerdict};
use super::run::Run;
use crate::Error;
use crate::created::{Chosen, is_new};

/// An outcome, with the error as it was.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) outcome: SyncOutcome,
    pub(super) error: Option<Error>,
    /// The manifests that are at the destination now, to which others may refer.
    pub(super) subjects: Vec<dhow_model::Digest>,
}

impl Run {
    /// Settles one image, which is to be at `destination`. Without `standing` the file system is asked
    /// for it.
    pub(super) async fn settle(
        self: Arc<Self>,
        image: Image,
        destination: String,
        standing: Option<Standing>,
    ) -> Done {
        let standing = match standing {
            Some(standing) => standing,
            None => on_disk(&destination).await,
        };
        if let Some(verdict) = self.known(&image, &destination, standing) {
            return Done::plain(outcome_of(&image, destination, verdict));
        }
        let mut attempt = 0;
        loop {
            let error = match self.attempt(&image, &destination, standing).await {
                Ok(done) => return done,
                Err(error) => error,
            };
            let Some(wait) = self.pause(&error, attempt) else {
                let mut outcome = outcome_of(&image, destination, SyncVerdict::Failed);
                outcome.failure = Some(SyncFailure::of(&error));
                return Done {
                    outcome,
                    error: Some(error),
                    subjects: Vec::new(),
                };
            };
            attempt += 1;
            self.session.client.note_retry();
            tracing::warn!(image = image.source, %error, ?wait, "the image is tried again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Returns whether an image was made at this moment or later.
    pub(super) async fn is_new(self: Arc<Self>, image: Image, since: Timestamp) -> bool {
        let chosen = Chosen {
            select: &self.options.select,
            platform: &self.session.platform,
        };
        match parse(&image.side, &image.source, "source") {
            Ok(location) => is_new(&*location, chosen, since).await,
            // Whoever copies it says why that is not possible.
            Err(_) => true,
        }
    }

    /// Returns what is known of an image without asking anybody.
    fn known(&self, image: &Image, destination: &str, standing: Standing) -> Option<SyncVerdict> {
        let never_changes = self.options.immutable.as_ref();
        if standing == Standing::Present
            && never_changes.is_some_and(|tags| tags.is_match(&image.tag))
        {
            return Some(SyncVerdict::Immutable);
        }
        // Which digests are there must be known where others are synced because of them.
        let journal = self
            .journal
            .as_ref()
            .filter(|_| !self.options.digest_tags)?;
        (standing != Standing::Absent && journal.has(destination)).then_some(SyncVerdict::Settled)
    }

    async fn attempt(
        &self,
        image: &Image,
        destination: &str,
        standing: Standing,
    ) -> Result<Done, Error> {
        let source = parse(&image.side, &image.source, "source")?;
        let target = parse(&self.destination, destination, "destination")?;
        let report = self.copy(source, target, standing).await?;
        let verdict = match standing {
            _ if report.unchanged => SyncVerdict::Unchanged,
            Standing::Present => SyncVerdict::Changed,
            Standing::Absent | Standing::Unknown => SyncVerdict::Added,
        };
        let mut outcome = outcome_of(image, destination.to_owned(), verdict);
        outcome.bytes = report
            .plan
            .as_ref()
            .map_or(report.sent.bytes, |plan| self.missing(plan));
        outcome.digest = Some(report.digest);
        outcome.media_type = Some(report.media_type);
        let subjects = self.attach(image, &mut outcome).await?;
        Ok(Done {
            outcome,
            error: None,
            subjects,
        })
    }

    pub(super) async fn copy(
        &self,
        source: Arc<dyn Location>,
        destination: Arc<dyn Location>,
        standing: Standing,
    ) -> Result<Report, Error> {
        let options = &self.options;
        let job = Job {
            source,
            destination,
            options: Options {
                select: options.select.clone(),
                platform: self.session.platform.clone(),
                preserve_digests: options.preserve_digests,
                format: options.format,
                tmp: self.session.tmp.clone(),
                cache: self.session.blob_cache.clone(),
                dry_run: options.dry_run,
                retries: options.retry.times,
                retry_delay: options.retry.delay,
                standing,
                batch: Some(Arc::clone(&self.batch)),
                ..Options::default()
            },
        };
        Ok(self.engine.copy(&job, self.progress.blobs()).await?)
    }

    /// Returns how many bytes of a plan the destination lacks. What several images lack is counted
    /// once.
    fn missing(&self, plan: &PlanSummary) -> u64 {
        let Ok(mut counted) = self.counted.lock() else {
            return 0;
        };
        let lacking = plan.blobs.iter().filter(|blob| blob.present != Some(true));
        lacking
            .filter(|blob| counted.insert(hash(&blob.digest.to_string())))
            .map(|blob| blob.size)
            .sum()
    }

    /// Returns how long to wait until an image is tried again; `None`: that is no use.
    fn pause(&self, error: &Error, attempt: u32) -> Option<Duration> {
        let retry = self.options.retry;
        if attempt >= retry.times.max(RETRIES) {
            return None;
        }
        let named = match error.retry() {
            Retry::After(named) => named,
            // What came was not what should have come: another try may get it.
            _ if matches!(error.kind(), Kind::DigestMismatch | Kind::SizeMismatch) => None,
            Retry::Never => return None,
        };
        let backoff = Duration::from_secs(1 << attempt.min(6));
        Some(named.or(retry.delay).unwrap_or(backoff))
    }
}

/// Parses a transport-qualified name.
pub(super) fn parse(
    side: &Transports,
    name: &str,
    role: &'static str,
) -> Result<Arc<dyn Location>, Error> {
    side.parse(name)
        .map_err(|source| Error::Name { role, source })
}

fn outcome_of(image: &Image, destination: String, verdict: SyncVerdict) -> SyncOutcome {
    SyncOutcome {
        source: image.source.clone(),
        destination,
        verdict,
        digest: None,
        bytes: 0,
        failure: None,
        media_type: None,
    }
}

impl Done {
    pub(super) const fn plain(outcome: SyncOutcome) -> Self {
        Self {
            outcome,
            error: None,
            subjects: Vec::new(),
        }
    }
}

/// How often an image is tried again even when nobody asked for it: one that is left out is noticed
/// when it is needed.
const RETRIES: u32 = 3;
