//! Blobs of which only some parts are fetched: the destination makes them from what it has, and asks
//! for the rest. Whatever comes in between, the blob can still come whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use dhow_model::Descriptor;
use dhow_transport::{Blob, BlobPart, BlobParts, BlobWant, How, Placed, Result, Source};

use super::Context;
use crate::patience::one_line;
use crate::plan::{BlobPlan, Step};
use crate::tap;

impl Context {
    /// Lets the destination put a blob together; `None`: it has to come whole.
    pub(super) async fn by_parts(
        &self,
        planned: &BlobPlan,
        want: &BlobWant,
        (counter, attempt): (&Arc<AtomicU64>, u32),
    ) -> Option<Placed> {
        let blob = &planned.blob;
        // Schema 1 says no sizes; and a blob of which nothing is said is not made of parts.
        let can_be = planned.step == Step::Keep && blob.size > 0 && self.source.caps().parts;
        if attempt > 1 || !can_be || blob.annotations.is_empty() {
            return None;
        }
        let parts = SourceParts {
            source: Arc::clone(&self.source),
            blob: blob.clone(),
            counter: Arc::clone(counter),
        };
        let placed = match self.sink.put_parts(want, Arc::new(parts)).await {
            Ok(placed) => placed?,
            Err(error) => {
                let cause = one_line(&error);
                tracing::info!(digest = %blob.digest, cause, "a blob is fetched whole after all");
                return None;
            }
        };
        let fetched = counter.swap(blob.size, Ordering::Relaxed);
        tracing::info!(digest = %blob.digest, size = blob.size, fetched, "a blob was put together");
        let how = How::Parts { fetched };
        Some(Placed { how, ..placed })
    }
}

/// The parts of one blob, whose bytes are counted.
#[derive(Debug)]
struct SourceParts {
    source: Arc<dyn Source>,
    blob: Descriptor,
    counter: Arc<AtomicU64>,
}

#[async_trait]
impl BlobParts for SourceParts {
    fn blob(&self) -> &Descriptor {
        &self.blob
    }

    async fn part(&self, part: BlobPart) -> Result<Blob> {
        let opened = self.source.part(&self.blob, part).await?;
        let body = tap::count(opened.body.into_stream(), Arc::clone(&self.counter));
        Ok(Blob::from_stream(opened.size, body).starting_at(part.offset))
    }
}
