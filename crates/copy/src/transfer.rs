//! Transfer: one blob from the source to the destination.
//!
//! ```text
//! reuse? ─▶ source.blob ─▶ count ─▶ verify ─▶ unpack | pack | learn ─▶ sink.put_blob ─▶ Arrival
//!      └─▶ source.part … ─▶ count ─▶ sink.put_parts ───────────────────────────────────┘
//! ```

mod ask;
mod blame;
mod config;
mod likely;
mod parts;
mod resume;
mod reuse;
mod spool;
mod uncompressed;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dhow_codec::{
    Expectation, Facts, PackFacts, Packing, UnpackFacts, learn, pack, unpack, unpack_unhashed,
    verify_from,
};
use dhow_model::{Algorithm, Annotations, Compression, Digest, Reference, Repository};
use dhow_transport::{Blob, Body, ByteRange, Kind, Location, Placed, Sink, Source};
use futures_core::stream::BoxStream;

use crate::admit::Tree;
use crate::batch::Claim;
use crate::patience::Patience;
use crate::plan::{BlobPlan, Plan, Step};
use crate::tap::{self, Fault};
use crate::{Batch, BlobCache, Error, Event, Job, Progress, survey};

/// What all transfers of a copy share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) parallel: Option<NonZeroUsize>,
    /// How many blobs move at once in the beginning.
    at_once: AtomicUsize,
    pub(crate) patience: Patience,
    pub(crate) mount_from: Vec<Repository>,
    pub(crate) progress: Arc<dyn Progress>,
    /// The names of both sides in registries, where they have some.
    pub(crate) source_name: Option<Reference>,
    pub(crate) destination_name: Option<Reference>,
    pub(crate) cache: BlobCache,
    /// Where blobs were seen in the destination's registry, in earlier copies.
    places: HashMap<Digest, Vec<String>>,
    uncompressed: Uncompressed,
    /// Where blobs were seen in this one.
    seen: Mutex<Vec<(Digest, Repository)>>,
    pub(crate) precompute_digests: bool,
    pub(crate) tmp: PathBuf,
    pub(crate) batch: Option<Arc<Batch>>,
}

/// What the destination said of a blob.
#[derive(Debug)]
pub(crate) enum Asked {
    /// It is there.
    There(Arrival),
    /// It has to be sent. The claim of a batch is kept until it has arrived.
    Lacks(Option<Claim>),
}

/// Whether a blob may be taken from what the destination has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// It may.
    Allowed,
    /// It is sent in any case: the destination said that it has it, and then that it has not.
    Forbidden,
}

/// A blob that is at the destination, and what it is there.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) placed: Placed,
    /// How it is compressed now, where that is not as the source has it.
    pub(crate) form: Option<Form>,
    /// The digest of its content, where that was found out.
    pub(crate) diff_id: Option<Digest>,
}

/// How a layer is compressed that was not left as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) compression: Option<Compression>,
    /// What its descriptor has to say.
    pub(crate) annotations: Annotations,
}

impl Arrival {
    fn kept(placed: Placed) -> Self {
        Self {
            placed,
            form: None,
            diff_id: None,
        }
    }
}

/// What a stream tells about itself when it has ended.
enum Story {
    Kept,
    Learned(Facts<UnpackFacts>),
    /// Compressed, after it was decompressed if there are facts of that.
    Packed(
        Packing,
        Facts<PackFacts>,
        Option<Facts<Option<Compression>>>,
    ),
    Unpacked(Facts<UnpackFacts>),
    /// Decompressed for a sink that takes the digest of what it stores.
    Unhashed(Facts<Option<Compression>>),
}

impl Context {
    pub(crate) fn new(
        job: &Job,
        source: Arc<dyn Source>,
        sink: Arc<dyn Sink>,
        patience: Patience,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let options = &job.options;
        Self {
            source,
            sink,
            parallel: options.parallel,
            at_once: AtomicUsize::new(0),
            patience,
            mount_from: mount_from(job),
            progress,
            source_name: in_registry(&*job.source).cloned(),
            destination_name: in_registry(&*job.destination).cloned(),
            cache: options.cache.clone(),
            places: HashMap::new(),
            uncompressed: Uncompressed::default(),
            seen: Mutex::default(),
            precompute_digests: options.layers.precompute_digests,
            tmp: options.tmp.clone(),
            batch: options.batch.clone(),
        }
    }

    /// Tells the destination what will come.
    pub(crate) async fn announce(&self, tree: &Tree, plan: &Plan) -> Result<(), Error> {
        let config_first = self.sink.caps().config_first;
        let source = &*self.source;
        let coming = survey::coming(source, tree, plan, config_first, &self.patience).await?;
        let Some(coming) = coming else {
            return Ok(());
        };
        self.sink.prepare(&coming).await.map_err(|error| {
            Error::destination(&self.sink.location(), "make ready for the image", error)
        })
    }

    /// Sends a blob, trying again what may pass, from where it broke if that can be. It was asked
    /// for before; when sending breaks it may be there all the same.
    pub(crate) async fn send(&self, planned: &BlobPlan, reuse: Reuse) -> Result<Arrival, Error> {
        let counter = self.started(planned);
        let resume = Resume::default();
        let mut attempt = 1;
        let mut broken = 1;
        let arrival = loop {
            let error = match self
                .attempt(planned, reuse, attempt, &counter, &resume)
                .await
            {
                Ok(arrival) => break arrival,
                Err(error) => error,
            };
            if resume.progress(counter.load(Ordering::Relaxed)) >= PROGRESS {
                // As long as it goes on, it is not the same break.
                broken = 1;
            }
            attempt += 1;
            if !resume.is_worth_a_new_start() {
                self.pause(&mut broken, error, planned).await?;
            }
        };
        self.done(planned, &arrival);
        Ok(arrival)
    }

    async fn pause(
        &self,
        attempt: &mut u32,
        error: Error,
        planned: &BlobPlan,
    ) -> Result<(), Error> {
        let what = || format!("blob `{}`", planned.blob.digest);
        let patience = &self.patience;
        patience.pause(attempt, BLOB_RETRIES, error, what).await
    }

    fn started(&self, planned: &BlobPlan) -> Arc<AtomicU64> {
        let counter = Arc::new(AtomicU64::new(0));
        self.progress.event(&Event::BlobStarted {
            digest: planned.blob.digest,
            slot: planned.slot,
            size: Some(planned.blob.size).filter(|size| *size > 0),
            counter: Arc::clone(&counter),
        });
        counter
    }

    fn done(&self, planned: &BlobPlan, arrival: &Arrival) {
        self.progress.event(&Event::BlobDone {
            digest: planned.blob.digest,
            how: arrival.placed.how,
            size: arrival.placed.size,
        });
    }

    async fn attempt(
        &self,
        planned: &BlobPlan,
        reuse: Reuse,
        attempt: u32,
        counter: &Arc<AtomicU64>,
        resume: &Resume,
    ) -> Result<Arrival, Error> {
        if reuse == Reuse::Allowed
            && attempt > 1
            && let Some(arrival) = self.reused(planned, attempt, &[]).await?
        {
            return Ok(arrival);
        }
        let fault = Fault::default();
        let mut want = self.want(planned);
        if let Some(placed) = self.by_parts(planned, &want, (counter, attempt)).await {
            return self.arrived(planned, placed, Story::Kept).await;
        }
        let from = self.resume_point(planned, &want, (resume, attempt)).await;
        counter.store(from.start, Ordering::Relaxed);
        let opened = self.open_hinted(planned, &want, (from.read_from, attempt));
        let blob = opened.await?;
        let blame = |error| self.blame(error, planned, attempt, &fault);
        if planned.step == Step::Keep
            && self.sink.caps().verifies
            && let Body::File(_) = &blob.body
        {
            let whole = blob.starting_at(from.start);
            let placed = self.sink.put_blob(&want, whole).await.map_err(blame)?;
            counter.store(placed.size, Ordering::Relaxed);
            return self.arrived(planned, placed, Story::Kept).await;
        }
        let (size, likely) = (want.size.or(blob.size), blob.likely);
        let body = self.checked(
            blob.body.into_stream(),
            planned,
            counter,
            &fault,
            (from, resume),
        );
        let (body, story) = self.begin(body, planned).await;
        // What is wrong with content that cannot be decompressed is the source's fault, too.
        let body = tap::watch(body, &fault);
        let mut blob = Blob::from_stream(size.filter(|_| story.keeps_bytes()), body)
            .starting_at(from.start)
            .likely(likely);
        if self.precompute_digests
            && let Story::Packed(..) = &story
        {
            let (spooled, digest) = spool::whole(blob, &self.tmp).await.map_err(blame)?;
            (want.digest, want.size) = (Some(digest), spooled.size);
            blob = spooled;
            if reuse == Reuse::Allowed
                && let Some(placed) = self.sink.reuse(&want).await.map_err(blame)?
            {
                return self.arrived(planned, placed, story).await;
            }
        }
        let placed = self.sink.put_blob(&want, blob).await.map_err(blame)?;
        self.arrived(planned, placed, story).await
    }

    /// Opens a blob at the source, from an offset on, and checks its size where that is told.
    async fn open(&self, planned: &BlobPlan, offset: u64, attempt: u32) -> Result<Blob, Error> {
        let read = |error| self.unread(error, planned, attempt);
        let range = match offset {
            0 => ByteRange::All,
            _ => ByteRange::From(offset),
        };
        let opened = self.source.blob(&planned.blob, range).await;
        let blob = opened.map_err(read)?;
        let expected = Some(planned.blob.size).filter(|size| *size > 0);
        if let (Some(expected), Some(actual)) = (expected, blob.size)
            && expected != actual + offset
        {
            let actual = actual + offset;
            let why = format!("size mismatch: expected {expected} bytes, and {actual} are offered");
            return Err(read(dhow_transport::Error::new(Kind::SizeMismatch, why)));
        }
        Ok(blob)
    }

    /// Counts, verifies where nobody else does, and remembers what the source did wrong.
    fn checked(
        &self,
        body: Stream,
        planned: &BlobPlan,
        counter: &Arc<AtomicU64>,
        fault: &Fault,
        (from, resume): (ResumePoint, &Resume),
    ) -> Stream {
        let sink_verifies = self.sink.caps().verifies && planned.step.keeps_bytes();
        let body = if sink_verifies || from.unseen {
            tap::count(body, Arc::clone(counter))
        } else {
            let size = Some(planned.blob.size).filter(|size| *size > 0);
            let expected = Expectation {
                digest: planned.blob.digest,
                size,
            };
            let body = verify_from(body, expected, &resume.checkpoints, from.read_from);
            tap::count(
                tap::skip(body, from.start - from.read_from),
                Arc::clone(counter),
            )
        };
        tap::watch(body, fault)
    }
}

impl Context {
    /// Starts the step on a stream.
    async fn begin(&self, body: Stream, planned: &BlobPlan) -> (Stream, Story) {
        match planned.step {
            Step::Keep => (body, Story::Kept),
            Step::Learn => {
                let (body, facts) = learn(body);
                (body, Story::Learned(facts))
            }
            Step::Pack(packing) => match tap::compression(body).await {
                // It is called uncompressed, and is not.
                (Some(_), body) => (body, Story::Kept),
                (None, body) => {
                    // It has been verified to be this.
                    let known = Some(planned.blob.digest);
                    let known = known.filter(|of| of.algorithm() == Algorithm::Sha256);
                    let (body, facts) = pack(body, packing, known);
                    (body, Story::Packed(packing, facts, None))
                }
            },
            Step::Repack(packing) => {
                let (body, before) = unpack_unhashed(body);
                let (body, facts) = pack(body, packing, None);
                (body, Story::Packed(packing, facts, Some(before)))
            }
            Step::Unpack if self.sink.caps().verifies => {
                let (body, facts) = unpack_unhashed(body);
                (body, Story::Unhashed(facts))
            }
            Step::Unpack => {
                let (body, facts) = unpack(body);
                (body, Story::Unpacked(facts))
            }
        }
    }
}

impl Story {
    const fn keeps_bytes(&self) -> bool {
        matches!(self, Self::Kept | Self::Learned(_))
    }
}

/// Returns the name of a place in a registry.
pub(crate) fn in_registry(location: &dyn Location) -> Option<&Reference> {
    location.reference().filter(|_| location.is_in_registry())
}

use ask::mount_from;
use resume::{Resume, ResumePoint};
use uncompressed::Uncompressed;

type Stream = BoxStream<'static, std::io::Result<Bytes>>;

/// How often a blob is tried again even when nobody asked for it: a registry may want it in another
/// way than the first that was tried.
const BLOB_RETRIES: u32 = 2;

/// How many bytes must pass between two breaks for the second to count as the first.
const PROGRESS: u64 = 1024 * 1024;
