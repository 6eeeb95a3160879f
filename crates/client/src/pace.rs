//! How fast a registry lets this process be: what it says about its limits (`RateLimit-Limit`,
//! `RateLimit-Remaining`, `RateLimit-Reset` of the IETF drafts, as Docker Hub sends them), and until
//! when nobody in this process sends it anything.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::retry;

/// The longest wait for a limit that is about to be lifted. Beyond it the registry's own refusal
/// says more than a silent hour.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// What a registry says of its limit on requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many requests are allowed in one window, where it is said.
    pub limit: Option<u64>,
    /// How many of them are left.
    pub remaining: u64,
    /// The length of the window, where it is said.
    pub window: Option<Duration>,
}

/// The pace of all requests of this process to one host.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    not_before: Option<Instant>,
    limit: Option<RateLimit>,
    /// The end of the limit was told to the user.
    told: bool,
}

impl Pace {
    /// Waits as long as the registry asked this process to.
    pub(crate) async fn wait(&self) {
        // Meanwhile another request may have been told to wait longer.
        while let Some(until) = self.waits_until() {
            tokio::time::sleep_until(until).await;
        }
    }

    fn waits_until(&self) -> Option<Instant> {
        let until = self.lock().not_before?;
        (until > Instant::now()).then_some(until)
    }

    /// Returns what the registry said last.
    pub(crate) fn limit(&self) -> Option<RateLimit> {
        self.lock().limit
    }

    /// Takes notice of what an answer says.
    pub(crate) fn learn(&self, registry: &str, status: StatusCode, headers: &HeaderMap) {
        let limit = parse(headers);
        let spent = limit.is_some_and(|limit| limit.remaining == 0);
        let asked = match status {
            StatusCode::TOO_MANY_REQUESTS => retry::retry_after(headers),
            _ if spent => reset(headers),
            _ => None,
        };
        let mut state = self.lock();
        if limit.is_some() {
            state.limit = limit;
        }
        if let Some(asked) = asked.filter(|asked| !asked.is_zero()) {
            let until = Instant::now() + asked;
            let longer = state.not_before.is_none_or(|before| {
                // Many requests are refused at the same moment: one line tells of all.
                until > before + Duration::from_secs(1)
            });
            state.not_before = state.not_before.max(Some(until));
            drop(state);
            if longer {
                tracing::warn!(
                    registry,
                    seconds = asked.as_secs_f32().ceil(),
                    "the registry limits requests, waiting"
                );
            }
        } else if spent && !state.told {
            state.told = true;
            drop(state);
            tracing::warn!(registry, "the registry's limit on requests is used up");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(headers: &HeaderMap) -> Option<RateLimit> {
    let (remaining, window) = number(headers, "ratelimit-remaining")
        .or_else(|| number(headers, "x-ratelimit-remaining"))?;
    let limit = number(headers, "ratelimit-limit").or_else(|| number(headers, "x-ratelimit-limit"));
    Some(RateLimit {
        limit: limit.map(|(limit, _)| limit),
        remaining,
        window: window
            .or_else(|| limit.and_then(|(_, window)| window))
            .map(Duration::from_secs),
    })
}

/// Returns when the limit is lifted, where the registry says that it is soon.
fn reset(headers: &HeaderMap) -> Option<Duration> {
    let (seconds, _) = number(headers, "ratelimit-reset")?;
    let wait = Duration::from_secs(seconds);
    (wait <= LONGEST_WAIT).then_some(wait)
}

/// Reads `100;w=21600`: a number, and the window in seconds.
fn number(headers: &HeaderMap, name: &'static str) -> Option<(u64, Option<u64>)> {
    let text = headers.get(name)?.to_str().ok()?;
    let mut parts = text.split(',').next()?.split(';').map(str::trim);
    let value = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
    Some((value, window))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn limits_are_read_in_all_their_forms() {
        let limit = |limit, remaining, window: Option<u64>| {
            Some(RateLimit {
                limit,
                remaining,
                window: window.map(Duration::from_secs),
            })
        };
        for (pairs, expected) in [
            (
                &[
                    ("ratelimit-limit", "100;w=21600"),
                    ("ratelimit-remaining", "76;w=21600"),
                ][..],
                limit(Some(100), 76, Some(21600)),
            ),
            (&[("ratelimit-remaining", "3")], limit(None, 3, None)),
            (&[("x-ratelimit-remaining", "0")], limit(None, 0, None)),
            (&[("ratelimit-remaining", "5, 7;w=1")], limit(None, 5, None)),
            (&[("ratelimit-remaining", "many")], None),
            (&[("ratelimit-limit", "100")], None),
            (&[], None),
        ] {
            assert_eq!(parse(&headers(pairs)), expected, "{pairs:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_waits_as_long_as_the_registry_asked() {
        let pace = Pace::default();
        let start = Instant::now();
        pace.wait().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        pace.learn(
            "a.io",
            StatusCode::TOO_MANY_REQUESTS,
            &headers(&[("retry-after", "7")]),
        );
        pace.wait().await;
        assert_eq!(start.elapsed().as_secs(), 7);
        let soon = headers(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "5")]);
        pace.learn("a.io", StatusCode::OK, &soon);
        pace.wait().await;
        assert_eq!(start.elapsed().as_secs(), 12);
        let late = headers(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "3600")]);
        pace.learn("a.io", StatusCode::OK, &late);
        pace.wait().await;
        assert_eq!(start.elapsed().as_secs(), 12);
    }
}
