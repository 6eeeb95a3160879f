//! How large a layer will be when it is unpacked: its last bytes hint at it. Those who write layers
//! one behind the other need not wait for the end of each, then.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use dhow_codec::{ISIZE, likely_size};
use dhow_model::{Compression, LayerType};
use dhow_transport::{Blob, BlobPart, BlobWant, Body};
use futures_util::StreamExt as _;

use super::Context;
use crate::Error;
use crate::plan::{BlobPlan, Step};

impl Context {
    /// Opens a blob at the source, from an offset on, and asks beside for how large its content will be, if
    /// the destination can make use of that.
    pub(super) async fn open_hinted(
        &self,
        planned: &BlobPlan,
        want: &BlobWant,
        (offset, attempt): (u64, u32),
    ) -> Result<Blob, Error> {
        let open = self.open(planned, offset, attempt);
        if !may_tell(planned) || !self.sink.wants_likely_size(want).await {
            return open.await;
        }
        let asked = tokio::time::timeout(PATIENCE, self.ask_for_end(planned));
        let (blob, asked) = tokio::join!(open, asked);
        let blob = blob?;
        let file = match &blob.body {
            Body::File(part) => Some((Arc::clone(&part.file), part.offset + part.length)),
            Body::Bytes(_) | Body::Stream(_) => None,
        };
        let end = match file {
            Some((file, end)) => before(file, end).await,
            None => asked.ok().flatten(),
        };
        let likely = end.and_then(|end| likely_size(planned.blob.size, end));
        tracing::debug!(digest = %planned.blob.digest, likely, "how large a layer will be");
        Ok(blob.likely(likely))
    }

    /// Reads the last bytes of a blob, where the source gives parts. It is for a hint: whatever is in
    /// the way, there is none.
    async fn ask_for_end(&self, planned: &BlobPlan) -> Option<[u8; ISIZE]> {
        if !self.source.caps().parts {
            return None;
        }
        let length = ISIZE as u64;
        let offset = planned.blob.size - length;
        let part = BlobPart { offset, length };
        let opened = self.source.part(&planned.blob, part).await.ok()?;
        let mut pieces = opened.body.into_stream();
        let mut end = Vec::new();
        while let Some(piece) = pieces.next().await {
            end.extend_from_slice(&piece.ok()?);
        }
        end.try_into().ok()
    }
}

/// Returns whether the last bytes of a blob tell how large it will be, and whether it is worth to ask
/// for them.
fn may_tell(planned: &BlobPlan) -> bool {
    let layer = LayerType::of(&planned.blob.media_type);
    let is_gzip = layer.is_some_and(|layer| layer.compression == Some(Compression::Gzip));
    planned.step == Step::Unpack && is_gzip && (LEAST..=MOST).contains(&planned.blob.size)
}

/// Reads the bytes of a file before this offset (0-based).
async fn before(file: Arc<File>, end: u64) -> Option<[u8; ISIZE]> {
    let offset = end.checked_sub(ISIZE as u64)?;
    let read = tokio::task::spawn_blocking(move || {
        let mut end = [0; ISIZE];
        file.read_exact_at(&mut end, offset).ok().map(|()| end)
    });
    read.await.ok().flatten()
}

/// The smallest blob, in bytes, that is worth a question. A smaller one is unpacked before others have
/// waited for it.
const LEAST: u64 = 1024 * 1024;

/// The largest blob, in bytes: its content may well have more bytes than a hint can say.
const MOST: u64 = 1024 * 1024 * 1024;

/// How long the answer may take. The blob itself waits for it.
const PATIENCE: Duration = Duration::from_secs(1);
