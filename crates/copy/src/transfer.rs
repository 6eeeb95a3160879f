//! Transfer: one blob from the source to the destination.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dhow_codec::{Expectation, gzip, verify};
use dhow_model::{Descriptor, Repository};
use dhow_transport::{Blob, BlobWant, ByteRange, Kind, Placed, Retry, Sink, Slot, Source};
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
            match self.attempt(planned, reuse, attempt, &counter).await {
                Ok(placed) => break placed,
                Err(error) => {
                    let what = || format!("blob `{}`", planned.blob.digest);
                    self.pause(&mut attempt, error, what).await?;
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

    /// Waits until the next attempt, or gives the error back when there is to be none.
    async fn pause(
        &self,
        attempt: &mut u32,
        error: Error,
        what: impl Fn() -> String,
    ) -> Result<(), Error> {
        let Some(wait) = self.wait_before(*attempt, &error) else {
            return Err(error);
        };
        *attempt += 1;
        self.progress.event(&Event::Retrying {
            what: what(),
            why: one_line(&error),
            wait,
            attempt: *attempt,
            of: self.retries().saturating_add(1),
        });
        sleep(wait).await;
        Ok(())
    }

    /// Returns how often a blob is tried again: a registry may want it in another way than the first
    /// that was tried, so some attempts more are made even when nobody asked for them.
    fn retries(&self) -> u32 {
        self.options.retries.max(BLOB_RETRIES)
    }

    /// Returns how long to wait before the next attempt, if there is to be one.
    fn wait_before(&self, attempt: u32, error: &Error) -> Option<Duration> {
        let Error::Transport { source, .. } = error else {
            return None;
        };
        let Retry::After(named) = source.retry() else {
            return None;
        };
        if attempt > self.retries() {
            return None;
        }
        let backoff = Duration::from_secs(1 << (attempt - 1).min(6));
        let wait = named.or(self.options.retry_delay).unwrap_or(backoff);
        // Up to a tenth more, so that many copies that broke together do not return together.
        let jitter = f64::from(chance()) / f64::from(u16::MAX) / 10.0;
        Some(wait.mul_f64(1.0 + jitter))
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
                    self.pause(&mut attempt, fail(error), what).await?;
                }
            }
        }
    }
}

/// Returns a number that differs from process to process and from call to call.
fn chance() -> u16 {
    let hash = RandomState::new().build_hasher().finish();
    u16::try_from(hash & u64::from(u16::MAX)).unwrap_or_default()
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
