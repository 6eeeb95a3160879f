//! What a sync that keeps running shows to those who watch it: `/healthz`, and `/metrics` in the text
//! form of Prometheus.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dhow_ops::{Page, SyncReport, Traffic};
use jiff::Timestamp;

/// The numbers of all rounds so far.
#[derive(Debug)]
pub(crate) struct Metrics {
    start: Instant,
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    complete: u64,
    partial: u64,
    failed: u64,
    added: u64,
    changed: u64,
    unchanged: u64,
    removed: u64,
    unsynced: u64,
    bytes: u64,
    last_success: Option<(Instant, Timestamp)>,
    last_round: Duration,
}

impl Metrics {
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            start: Instant::now(),
            every,
            state: Mutex::default(),
        }
    }

    /// Notes that a round begins.
    pub(crate) fn begin(&self) {
        self.lock().running = true;
    }

    /// Notes how a round ended; `None`: it broke off.
    pub(crate) fn end(&self, report: Option<&SyncReport>) {
        let mut state = self.lock();
        state.running = false;
        let Some(report) = report else {
            state.failed += 1;
            return;
        };
        state.added += report.added;
        state.changed += report.changed;
        state.unchanged += report.unchanged;
        state.removed += report.removed;
        state.unsynced += report.failed;
        state.bytes += report.bytes;
        state.last_round = report.elapsed;
        if report.failed > 0 {
            state.partial += 1;
        } else {
            state.complete += 1;
            state.last_success = Some((Instant::now(), Timestamp::now()));
        }
    }

    /// Returns a page.
    pub(crate) fn page(&self, path: &str, traffic: &Traffic) -> Option<Page> {
        match path {
            "/healthz" | "/readyz" => Some(self.health()),
            "/metrics" => Some(Page {
                well: true,
                text: self.text() + &traffic_text(traffic),
            }),
            _ => None,
        }
    }

    /// All is well as long as the last full success is not older than three rounds.
    fn health(&self) -> Page {
        let state = self.lock();
        let since = state.last_success.map_or(self.start, |(then, _)| then);
        let age = since.elapsed();
        let well = age <= self.every * 3 + state.last_round * 2 || state.running && age < GRACE;
        let text = if well {
            "ok\n".to_owned()
        } else {
            format!("no round was complete for {} seconds\n", age.as_secs())
        };
        Page { well, text }
    }

    fn text(&self) -> String {
        let state = self.lock();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, values: &[(&str, f64)]| {
            let _infallible = writeln!(
                text,
                "# HELP dhow_sync_{name} {help}\n# TYPE dhow_sync_{name} {kind}"
            );
            for (labels, value) in values {
                let _infallible = writeln!(text, "dhow_sync_{name}{labels} {value}");
            }
        };
        let count = |count: u64| count as f64;
        family(
            "rounds_total",
            "counter",
            "Rounds by how they ended.",
            &[
                ("{result=\"complete\"}", count(state.complete)),
                ("{result=\"partial\"}", count(state.partial)),
                ("{result=\"failed\"}", count(state.failed)),
            ],
        );
        family(
            "images_total",
            "counter",
            "Images by what became of them.",
            &[
                ("{verdict=\"added\"}", count(state.added)),
                ("{verdict=\"changed\"}", count(state.changed)),
                ("{verdict=\"unchanged\"}", count(state.unchanged)),
                ("{verdict=\"removed\"}", count(state.removed)),
                ("{verdict=\"failed\"}", count(state.unsynced)),
            ],
        );
        family(
            "bytes_total",
            "counter",
            "Bytes of blobs that were sent.",
            &[("", count(state.bytes))],
        );
        family(
            "running",
            "gauge",
            "Whether a round is under way.",
            &[("", f64::from(u8::from(state.running)))],
        );
        family(
            "last_round_seconds",
            "gauge",
            "How long the last round took.",
            &[("", state.last_round.as_secs_f64())],
        );
        if let Some((then, at)) = state.last_success {
            family(
                "last_success_timestamp_seconds",
                "gauge",
                "When the last complete round ended.",
                &[("", at.as_second() as f64)],
            );
            family(
                "last_success_age_seconds",
                "gauge",
                "How long ago that was.",
                &[("", then.elapsed().as_secs_f64())],
            );
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the families about requests, which count while a round is under way, too.
fn traffic_text(traffic: &Traffic) -> String {
    let mut text = format!(
        "# HELP dhow_sync_retries_total Requests, rests of blobs and images that were tried again.\n\
         # TYPE dhow_sync_retries_total counter\n\
         dhow_sync_retries_total {}\n",
        traffic.retries
    );
    if traffic.limits.is_empty() {
        return text;
    }
    text.push_str(
        "# HELP dhow_sync_rate_limit_remaining Requests that are left, as the registry said last.\n\
         # TYPE dhow_sync_rate_limit_remaining gauge\n",
    );
    for (registry, left) in &traffic.limits {
        let _infallible = writeln!(
            text,
            "dhow_sync_rate_limit_remaining{{registry=\"{registry}\"}} {left}"
        );
    }
    text
}

/// How long a round that is under way counts as healthy, whatever came before.
const GRACE: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_counted_by_how_they_ended() {
        let metrics = Metrics::new(Duration::from_mins(15));
        let traffic = Traffic {
            retries: 5,
            limits: vec![("docker.io".to_owned(), 76)],
        };
        metrics.begin();
        assert!(
            metrics
                .page("/metrics", &traffic)
                .unwrap()
                .text
                .contains("dhow_sync_running 1\n")
        );
        metrics.end(Some(&SyncReport {
            added: 3,
            bytes: 7,
            ..SyncReport::default()
        }));
        metrics.end(Some(&SyncReport {
            failed: 1,
            ..SyncReport::default()
        }));
        metrics.end(None);
        let text = metrics.page("/metrics", &traffic).unwrap().text;
        for line in [
            "dhow_sync_rounds_total{result=\"complete\"} 1\n",
            "dhow_sync_rounds_total{result=\"partial\"} 1\n",
            "dhow_sync_rounds_total{result=\"failed\"} 1\n",
            "dhow_sync_images_total{verdict=\"added\"} 3\n",
            "dhow_sync_bytes_total 7\n",
            "dhow_sync_running 0\n",
            "dhow_sync_retries_total 5\n",
            "dhow_sync_rate_limit_remaining{registry=\"docker.io\"} 76\n",
            "# TYPE dhow_sync_last_success_age_seconds gauge\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(metrics.page("/healthz", &traffic).unwrap().well);
        assert!(metrics.page("/other", &traffic).is_none());
        let stale = Metrics::new(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(5));
        assert!(!stale.page("/healthz", &traffic).unwrap().well);
    }
}
