//! Transfer: one blob from the source to the destination.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dhow_codec::{Expectation, gzip, verify};
use dhow_model::Repository;
use dhow_transport::{Blob, BlobWant, ByteRange, Placed, Retry, Sink, Source};
use futures_core::stream::BoxStream;
use tokio::time::sleep;

use crate::plan::{BlobPlan, Step};
use crate::tap::{self, Fault};
use crate::{Error, Event, Options, Progress};

/// What all transfers of a copy share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) options: Options,
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
            let error = match self.attempt(planned, reuse, &counter).await {
                Ok(placed) => break placed,
                Err(error) => error,
            };
            let Some(wait) = self.wait_before(attempt, &error) else {
                return Err(error);
            };
            attempt += 1;
            self.progress.event(&Event::Retrying {
                what: format!("blob `{}`", planned.blob.digest),
                why: one_line(&error),
                wait,
                attempt,
                of: self.options.retries.max(BLOB_RETRIES) + 1,
            });
            sleep(wait).await;
            counter.store(0, Ordering::Relaxed);
        };
        self.progress.event(&Event::BlobDone {
            digest: planned.blob.digest,
            how: placed.how,
            size: placed.size,
        });
        Ok(placed)
    }

    /// Returns how long to wait before the next attempt, if there is to be one.
    fn wait_before(&self, attempt: u32, error: &Error) -> Option<Duration> {
        let Error::Transport { source, .. } = error else {
            return None;
        };
        let Retry::After(named) = source.retry() else {
            return None;
        };
        // A registry may want a blob in another way than the first that was tried.
        if attempt > self.options.retries.max(BLOB_RETRIES) {
            return None;
        }
        let backoff = Duration::from_secs(1 << (attempt - 1).min(6));
        let wait = named.or(self.options.retry_delay).unwrap_or(backoff);
        // Up to a tenth more, so that many copies that broke together do not return together.
        let jitter = f64::from(u8::from(attempt % 2 == 0)).mul_add(0.05, 0.05);
        Some(wait.mul_f64(1.0 + jitter))
    }

    async fn attempt(
        &self,
        planned: &BlobPlan,
        reuse: Reuse,
        counter: &Arc<AtomicU64>,
    ) -> Result<Placed, Error> {
        let want = self.want(planned);
        let fail = |error| {
            let step = format!("store the blob `{}`", planned.blob.digest);
            Error::destination(&self.sink.location(), &step, error)
        };
        if reuse == Reuse::Allowed
            && let Some(placed) = self.sink.reuse(&want).await.map_err(fail)?
        {
            return Ok(placed);
        }
        let fault = Fault::default();
        let read = |error| {
            let step = format!("read the blob `{}`", planned.blob.digest);
            Error::source(&self.source.location(), &step, error)
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
        let result = match planned.step {
            Step::Keep => {
                self.sink
                    .put_blob(&want, Blob::from_stream(known.or(blob.size), body))
                    .await
            }
            Step::Gzip => {
                let (packed, _facts) = gzip(body);
                self.sink
                    .put_blob(&want, Blob::from_stream(None, packed))
                    .await
            }
        };
        // When the source broke, what the sink says about it is of no interest.
        result.map_err(|error| match fault.take() {
            Some(broken) => read(broken),
            None => fail(error),
        })
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

    pub(crate) fn want(&self, planned: &BlobPlan) -> BlobWant {
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

    /// Places bytes that are in memory: a config that was made anew.
    pub(crate) async fn place_bytes(
        &self,
        digest: dhow_model::Digest,
        bytes: Bytes,
    ) -> Result<Placed, Error> {
        let fail = |error| {
            let step = format!("store the config `{digest}`");
            Error::destination(&self.sink.location(), &step, error)
        };
        let want = BlobWant {
            digest: Some(digest),
            size: Some(bytes.len() as u64),
            media_type: dhow_model::MediaType::OCTET_STREAM,
            slot: dhow_transport::Slot::Config,
            mount_from: Vec::new(),
        };
        if let Some(placed) = self.sink.reuse(&want).await.map_err(fail)? {
            return Ok(placed);
        }
        self.sink
            .put_blob(&want, Blob::from_bytes(bytes))
            .await
            .map_err(fail)
    }
}

/// Returns an error and its causes on one line.
fn one_line(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// How often a blob is tried again even when nobody asked for it.
const BLOB_RETRIES: u32 = 2;
