//! When to try again, and after how long.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// The first pause; it doubles from try to try.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that dhow chooses.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause that a server can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Counts the tries of one request.
#[derive(Debug)]
pub(crate) struct Backoff {
    left: u32,
    pause: Duration,
}

impl Backoff {
    pub(crate) const fn new(retries: u32) -> Self {
        Self {
            left: retries,
            pause: FIRST_PAUSE,
        }
    }

    /// Returns how long to wait before the next try; `None` when there was the last one.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Some(match asked {
            Some(asked) => asked,
            None => pause.mul_f64(0.5 + jitter()),
        })
    }
}

/// Returns whether a status says that the same request may succeed later.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Returns how long a server asks to wait (RFC 9110 §10.2.3): seconds, or a date. At most 60 s.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let date = DateTimeParser::new()
            .relaxed_weekday(true)
            .parse_timestamp(text)
            .ok()?;
        Duration::try_from(date.duration_since(Timestamp::now())).ok()?
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

/// Returns a number between 0 and 1 that differs from process to process and call to call.
fn jitter() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(text: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        retry_after(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        assert_eq!(asked("0"), Some(0));
        assert_eq!(asked(" 7 "), Some(7));
        assert_eq!(asked("86400"), Some(60));
        assert_eq!(asked("-1"), None);
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), None);
        assert_eq!(asked("Fri, 01 Jan 2999 00:00:00 GMT"), Some(60));
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut backoff = Backoff::new(3);
        assert!(
            backoff
                .next(None)
                .is_some_and(|pause| pause < FIRST_PAUSE * 2)
        );
        assert_eq!(backoff.next(Some(Duration::ZERO)), Some(Duration::ZERO));
        assert!(backoff.next(None).is_some_and(|pause| pause >= FIRST_PAUSE));
        assert_eq!(backoff.next(None), None);
    }
}
