//! Whose fault it is that a blob did not arrive.

use std::time::Duration;

use dhow_transport::Kind;

use super::Context;
use crate::Error;
use crate::plan::BlobPlan;
use crate::tap::Fault;

impl Context {
    /// Returns the error of a blob that could not be read.
    pub(super) fn unread(
        &self,
        error: dhow_transport::Error,
        planned: &BlobPlan,
        attempt: u32,
    ) -> Error {
        let step = format!("read the blob `{}`", planned.blob.digest);
        let error = self.elsewhere(error, attempt);
        Error::source(&self.source.location(), &step, error)
    }

    /// Returns the error of a blob that could not be stored, and says whose fault it was.
    pub(super) fn blame(
        &self,
        error: dhow_transport::Error,
        planned: &BlobPlan,
        attempt: u32,
        fault: &Fault,
    ) -> Error {
        let wrong = matches!(error.kind(), Kind::DigestMismatch | Kind::SizeMismatch);
        match fault.take() {
            // When the source broke, what the sink says about it is of no interest.
            Some(broken) => self.unread(broken, planned, attempt),
            // The sink found out what is wrong with the source's bytes.
            None if wrong && self.sink.caps().verifies && planned.step.keeps_bytes() => {
                self.unread(error, planned, attempt)
            }
            None => self.unstored(error, planned),
        }
    }

    pub(super) fn unstored(&self, error: dhow_transport::Error, planned: &BlobPlan) -> Error {
        let step = format!("store the blob `{}`", planned.blob.digest);
        Error::destination(&self.sink.location(), &step, error)
    }

    /// Says of wrong content that it is worth another try, while there are other places to ask.
    fn elsewhere(&self, error: dhow_transport::Error, attempt: u32) -> dhow_transport::Error {
        let wrong = matches!(error.kind(), Kind::DigestMismatch | Kind::SizeMismatch);
        if wrong && attempt < u32::from(self.source.caps().places.get()) {
            return error.retryable(Some(Duration::ZERO));
        }
        error
    }
}
