//! Small blobs that were made here: configs of converted images, the empty layer of schema 1.

use bytes::Bytes;
use dhow_model::{Annotations, Descriptor};
use dhow_transport::{Blob, BlobWant, Placed, Slot};

use super::{BLOB_RETRIES, Context, Reuse};
use crate::Error;

impl Context {
    /// Places a blob that is in memory, trying again what may pass.
    pub(crate) async fn place_made(
        &self,
        blob: &Descriptor,
        bytes: &Bytes,
        slot: Slot,
        reuse: Reuse,
    ) -> Result<Placed, Error> {
        let want = BlobWant {
            digest: Some(blob.digest),
            size: Some(blob.size),
            made_from: None,
            media_type: blob.media_type.clone(),
            slot,
            mount_from: Vec::new(),
            comes: true,
            annotations: Annotations::new(),
        };
        let fail = |error| {
            let step = format!("store the blob `{}`", blob.digest);
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
                    let body = Blob::from_bytes(bytes.clone());
                    self.sink.put_blob(&want, body).await
                }
                Err(error) => Err(error),
            };
            match placed {
                Ok(placed) => return Ok(placed),
                Err(error) => {
                    let what = || format!("blob `{}`", blob.digest);
                    self.patience
                        .pause(&mut attempt, BLOB_RETRIES, fail(error), what)
                        .await?;
                }
            }
        }
    }
}
