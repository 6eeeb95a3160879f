//! Trying again.

use std::time::Duration;

use clap::Args;
use dhow_ops::RetryOptions;

use super::parse_duration;

/// Flags for trying again, on top of the retries of single requests.
#[derive(Args, Clone, Debug)]
pub(crate) struct RetryArgs {
    /// Try again this often after a failure that may pass
    #[arg(long, value_name = "N", default_value_t = 0)]
    retry_times: u32,
    /// Wait this long before trying again [default: 1s, then twice as long each time]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    retry_delay: Option<Duration>,
}

impl RetryArgs {
    pub(crate) fn options(&self) -> RetryOptions {
        RetryOptions {
            times: self.retry_times,
            delay: self.retry_delay.filter(|delay| !delay.is_zero()),
        }
    }
}
