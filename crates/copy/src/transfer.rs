//! Transfer: one blob from the source to the destination.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dhow_codec::{Expectation, gzip, verify};
use dhow_model::{Descriptor, Repository};
use dhow_transport::{Blob, BlobWant, ByteRange, Kind, Placed, Sink, Slot, Source};
use futures_core::stream::BoxStream;

use crate::patience::Patience;
use crate::plan::{BlobPlan, Step};
use crate::tap::{self, Fault};
use crate::{Error, Event, Progress};

/// What all transfers of a copy share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) parallel: NonZeroUsize,
    pub(crate) patience: Patience,
    pub(crate) mount_from: Vec<Repository>,
    pub(crate) progress: Arc<dyn Progress>,
}

/// Whether a blob may be taken from what the destination has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// It may.
    Allowed,
    /// It is sent in any case: the destination said that it has it, and then that it has not.
    Forbidden,
}

impl Context {
    /// Places a blob, trying again what may pass.
    pub(crate) async fn place(&self, planned: &BlobPlan, reuse: Reuse) -> Result<Placed, Error> {
        let counter = Arc::new(AtomicU64::new(0));
        self.progress.event(&Event::BlobStarted {
            digest: planned.blob.digest,
            slot: planned.slot,
            size: Some(planned.blob.size).filter(|size| *size > 0),
            counter: Arc::clone(&counter),
        });
        let mut attempt = 1;
        let placed = loop {
            match self.attempt(planned, reuse, attempt, &counter).await {
                Ok(placed) => break placed,
                Err(error) => {
                    let what = || format!("blob `{}`", planned.blob.digest);
                    self.patience
                        .pause(&mut attempt, BLOB_RETRIES, error, what)
                        .await?;
                }
            }
            counter.store(0, Ordering::Relaxed);
        };
        self.progress.event(&Event::BlobDone {
            digest: planned.blob.digest,
            how: placed.how,
            size: placed.size,
        });
        Ok(placed)
    }

    async fn attempt(
        &self,
        planned: &BlobPlan,
        reuse: Reuse,
        attempt: u32,
        counter: &Arc<AtomicU64>,
    ) -> Result<Placed, Error> {
        let want = self.want(planned);
        let fail = |error| {
            let step = format!("store the blob `{}`", planned.blob.digest);
            Error::destination(&self.sink.location(), &step, error)
        };
        if reuse == Reuse::Allowed {
            let mut known = self.known(planned);
            if attempt > 1 {
                // An upload may be waiting for the rest of the blob; a mount would open another.
                known.mount_from.clear();
            }
            if let Some(placed) = self.sink.reuse(&known).await.map_err(fail)? {
                return Ok(placed);
            }
        }
        let fault = Fault::default();
        let read = |error| {
            let step = format!("read the blob `{}`", planned.blob.digest);
            Error::source(
                &self.source.location(),
                &step,
                self.elsewhere(error, attempt),
            )
        };
        let blob = self
            .source
            .blob(&planned.blob, ByteRange::All)
            .await
            .map_err(read)?;
        let known = want.size;
        if let (Some(expected), Some(actual)) = (known, blob.size)
            && planned.step == Step::Keep
            && expected != actual
        {
            let why = format!("size mismatch: expected {expected} bytes, and {actual} are offered");
            return Err(read(dhow_transport::Error::new(
                dhow_transport::Kind::SizeMismatch,
                why,
            )));
        }
        let body = self.checked(blob.body.into_stream(), planned, counter, &fault);
        let blob = match planned.step {
            Step::Keep => Blob::from_stream(known.or(blob.size), body),
            Step::Gzip => match tap::compression(body).await {
                // It is called uncompressed, and is not.
                (Some(_), body) => Blob::from_stream(blob.size, body),
                (None, body) => Blob::from_stream(None, gzip(body).0),
            },
        };
        self.sink.put_blob(&want, blob).await.map_err(|error| {
            let wrong = matches!(error.kind(), Kind::DigestMismatch | Kind::SizeMismatch);
            match fault.take() {
                // When the source broke, what the sink says about it is of no interest.
                Some(broken) => read(broken),
                // The sink found out what is wrong with the source's bytes.
                None if wrong && self.sink.caps().verifies => read(error),
                None => fail(error),
            }
        })
    }

    /// Says of wrong content that it is worth another try, while there are other places to ask.
    fn elsewhere(&self, error: dhow_transport::Error, attempt: u32) -> dhow_transport::Error {
        let wrong = matches!(error.kind(), Kind::DigestMismatch | Kind::SizeMismatch);
        if wrong && attempt < u32::from(self.source.caps().places.get()) {
            return error.retryable(Some(Duration::ZERO));
        }
        error
    }

    /// Counts, verifies where nobody else does, and remembers what the source did wrong.
    fn checked(
        &self,
        body: BoxStream<'static, io::Result<Bytes>>,
        planned: &BlobPlan,
        counter: &Arc<AtomicU64>,
        fault: &Fault,
    ) -> BoxStream<'static, io::Result<Bytes>> {
        let body = tap::count(body, Arc::clone(counter));
        let body = if self.sink.caps().verifies && planned.step == Step::Keep {
            body
        } else {
            let size = Some(planned.blob.size).filter(|size| *size > 0);
            verify(
                body,
                Expectation {
                    digest: planned.blob.digest,
                    size,
                },
            )
        };
        tap::watch(body, fault)
    }

    /// Returns what to ask the destination for when it may have the blob already: also one that is
    /// to be compressed counts when it is there as it is.
    pub(crate) fn known(&self, planned: &BlobPlan) -> BlobWant {
        let blob = &planned.blob;
        match planned.step {
            Step::Keep => self.want(planned),
            Step::Gzip => BlobWant {
                digest: Some(blob.digest),
                size: Some(blob.size).filter(|size| *size > 0),
                // A mount that does not work would leave an upload for this digest open.
                mount_from: Vec::new(),
                ..self.want(planned)
            },
        }
    }

    fn want(&self, planned: &BlobPlan) -> BlobWant {
        let keeps = planned.step == Step::Keep;
        BlobWant {
            digest: keeps.then_some(planned.blob.digest),
            // Schema 1 says no sizes, and no blob that is known to be empty is a layer.
            size: (keeps && planned.blob.size > 0).then_some(planned.blob.size),
            media_type: planned.blob.media_type.clone(),
            slot: planned.slot,
            mount_from: self.mount_from.clone(),
        }
    }

    /// Places the config of a converted image, trying again what may pass.
    pub(crate) async fn place_config(
        &self,
        config: &Descriptor,
        bytes: &Bytes,
        reuse: Reuse,
    ) -> Result<Placed, Error> {
        let want = BlobWant {
            digest: Some(config.digest),
            size: Some(config.size),
            media_type: config.media_type.clone(),
            slot: Slot::Config,
            mount_from: Vec::new(),
        };
        let fail = |error| {
            let step = format!("store the config `{}`", config.digest);
            Error::destination(&self.sink.location(), &step, error)
        };
        let mut attempt = 1;
        loop {
            let present = match reuse {
                Reuse::Allowed => self.sink.reuse(&want).await,
                Reuse::Forbidden => Ok(None),
            };
            let placed = match present {
                Ok(Some(placed)) => Ok(placed),
                Ok(None) => {
                    let blob = Blob::from_bytes(bytes.clone());
                    self.sink.put_blob(&want, blob).await
                }
                Err(error) => Err(error),
            };
            match placed {
                Ok(placed) => return Ok(placed),
                Err(error) => {
                    let what = || format!("config `{}`", config.digest);
                    self.patience
                        .pause(&mut attempt, BLOB_RETRIES, fail(error), what)
                        .await?;
                }
            }
        }
    }
}

/// How often a blob is tried again even when nobody asked for it: a registry may want it in another
/// way than the first that was tried.
const BLOB_RETRIES: u32 = 2;
