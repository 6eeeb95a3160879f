//! Trying a whole verb again, on top of the client's own retries per request.

use std::time::Duration;

use dhow_transport::Retry;

use crate::Error;

/// How often and how soon to try again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOptions {
    /// How often, after the first attempt.
    pub times: u32,
    /// The wait before each further attempt; `None` starts at one second and doubles.
    pub delay: Option<Duration>,
}

impl RetryOptions {
    /// Runs `verb` until it succeeds, fails for good, or has been tried often enough.
    pub(crate) async fn run<T>(self, verb: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
        let mut attempt = 0;
        loop {
            let error = match verb().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Retry::After(named) = error.retry() else {
                return Err(error);
            };
            if attempt >= self.times {
                return Err(error);
            }
            let backoff = Duration::from_secs(1 << attempt.min(6));
            let wait = named.or(self.delay).unwrap_or(backoff);
            attempt += 1;
            tracing::warn!(%error, ?wait, attempt, of = self.times, "trying again");
            tokio::time::sleep(wait).await;
        }
    }
}
