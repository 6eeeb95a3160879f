//! Trying again what may pass, on top of what a transport does for each of its requests.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use dhow_transport::Retry;
use tokio::time::sleep;

use crate::{Error, Event, Options, Progress};

/// How often and how soon to try again.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    times: u32,
    delay: Option<Duration>,
    progress: Arc<dyn Progress>,
}

impl Patience {
    pub(crate) fn new(options: &Options, progress: &Arc<dyn Progress>) -> Self {
        Self {
            times: options.retries,
            delay: options.retry_delay,
            progress: Arc::clone(progress),
        }
    }

    /// Runs `work` until it succeeds, fails for good, or has been tried often enough.
    pub(crate) async fn run<T, W>(&self, what: &str, work: impl Fn() -> W) -> Result<T, Error>
    where
        W: Future<Output = Result<T, Error>>,
    {
        let mut attempt = 1;
        loop {
            match work().await {
                Ok(value) => return Ok(value),
                Err(error) => {
                    self.pause(&mut attempt, 0, error, || what.to_owned())
                        .await?;
                }
            }
        }
    }

    /// Waits until the next attempt, or gives the error back when there is to be none. At `least`
    /// so many attempts follow the first.
    pub(crate) async fn pause(
        &self,
        attempt: &mut u32,
        least: u32,
        error: Error,
        what: impl Fn() -> String,
    ) -> Result<(), Error> {
        let times = self.times.max(least);
        let named = match error.retry() {
            Retry::After(named) if *attempt <= times => named,
            _ => return Err(error),
        };
        let backoff = Duration::from_secs(1 << (*attempt - 1).min(6));
        let wait = named.or(self.delay).unwrap_or(backoff);
        // Up to a tenth more, so that many copies that broke together do not return together.
        let jitter = f64::from(chance()) / f64::from(u16::MAX) / 10.0;
        let wait = wait.mul_f64(1.0 + jitter);
        *attempt += 1;
        self.progress.event(&Event::Retrying {
            what: what(),
            why: one_line(&error),
            wait,
            attempt: *attempt,
            of: times.saturating_add(1),
        });
        sleep(wait).await;
        Ok(())
    }
}

/// Returns a number that differs from process to process and from call to call.
fn chance() -> u16 {
    let hash = RandomState::new().build_hasher().finish();
    u16::try_from(hash & u64::from(u16::MAX)).unwrap_or_default()
}

/// Returns an error and its causes on one line.
pub(crate) fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
