//! Progress on stderr: bars on a terminal, a line every few seconds elsewhere, JSON lines for
//! programs. The engine hands out counters; a thread samples them, so that the data path only adds.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dhow_model::Digest;
use dhow_ops::{Event, Progress};
use dhow_transport::How;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{compat, size, streams};
use crate::app::{App, Voice};
use crate::options::ProgressMode;

/// Progress that is being shown, until [`Shown::finish`].
pub(crate) struct Shown {
    /// What the engine reports to.
    pub(crate) progress: Arc<dyn Progress>,
    sampler: Option<(Sender<()>, JoinHandle<()>)>,
    state: Option<Arc<State>>,
}

/// Begins to show progress in the way that the options and the terminal call for.
pub(crate) fn start(app: &App, quiet: bool) -> Shown {
    let mode = match (app.voice, app.global.progress) {
        _ if quiet => Mode::None,
        (_, ProgressMode::None) => Mode::None,
        (Voice::Skopeo, ProgressMode::Auto) => {
            let progress: Arc<dyn Progress> = Arc::new(compat::Report::default());
            return Shown {
                progress,
                sampler: None,
                state: None,
            };
        }
        // Bars and log lines would overwrite each other.
        (_, ProgressMode::Auto) if app.global.debug => Mode::Plain,
        (_, ProgressMode::Auto) if std::io::stderr().is_terminal() => Mode::Bars,
        (_, ProgressMode::Bar) => Mode::Bars,
        (_, ProgressMode::Auto | ProgressMode::Plain) => Mode::Plain,
        (_, ProgressMode::Json) => Mode::Json,
    };
    let state = Arc::new(State::new(mode));
    let sampler = mode.interval().map(|interval| {
        let (stop, stopped) = mpsc::channel();
        let state = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                state.sample();
            }
        });
        (stop, thread)
    });
    let progress: Arc<dyn Progress> = Arc::clone(&state) as _;
    Shown {
        progress,
        sampler,
        state: Some(state),
    }
}

impl Shown {
    /// Ends the display and leaves the terminal clean.
    pub(crate) fn finish(self) {
        if let Some((stop, thread)) = self.sampler {
            drop(stop);
            drop(thread.join());
        }
        if let Some(bars) = self.state.and_then(|state| state.bars.clone()) {
            drop(bars.clear());
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    None,
    Bars,
    Plain,
    Json,
}

impl Mode {
    const fn interval(self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Bars => Some(Duration::from_millis(100)),
            Self::Plain => Some(Duration::from_secs(5)),
            Self::Json => Some(Duration::from_secs(1)),
        }
    }
}

#[derive(Debug)]
struct State {
    mode: Mode,
    start: Instant,
    bars: Option<MultiProgress>,
    tally: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total_bytes: u64,
    total_blobs: u64,
    done_bytes: u64,
    done_blobs: u64,
    active: BTreeMap<Digest, Active>,
    sum: Option<ProgressBar>,
}

#[derive(Debug)]
struct Active {
    counter: Arc<AtomicU64>,
    size: u64,
    bar: Option<ProgressBar>,
}

impl Active {
    /// Returns the bytes that have moved. A blob that is tried again counts some twice.
    fn moved(&self) -> u64 {
        let count = self.counter.load(Ordering::Relaxed);
        if self.size == 0 {
            count
        } else {
            count.min(self.size)
        }
    }
}

impl Counts {
    fn bytes(&self) -> u64 {
        let active = self.active.values().map(Active::moved);
        self.done_bytes + active.sum::<u64>()
    }

    /// Says how far the copy is, and once bytes move, how fast, and how much longer it takes.
    fn line(&self, elapsed: Duration) -> String {
        let bytes = self.bytes();
        let far = format!(
            "copying: {} of {}",
            size::bytes(bytes),
            size::bytes(self.total_bytes)
        );
        let blobs = format!("{} of {} blobs", self.done_blobs, self.total_blobs);
        if bytes == 0 {
            return format!("{far}, {blobs}");
        }
        let rate = bytes as f64 / elapsed.as_secs_f64().max(0.001);
        let left = self.total_bytes.saturating_sub(bytes) as f64 / rate;
        let left = size::time(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is positive and far from the limit"
        )]
        let rate = size::bytes(rate as u64);
        format!("{far}, {rate}/s, {blobs}, about {left} left")
    }
}

impl State {
    fn new(mode: Mode) -> Self {
        let bars = (mode == Mode::Bars)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Self {
            mode,
            start: Instant::now(),
            bars,
            tally: Mutex::default(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sample(&self) {
        let counts = self.counts();
        match self.mode {
            Mode::None => {}
            Mode::Bars => {
                for blob in counts.active.values() {
                    if let Some(bar) = &blob.bar {
                        bar.set_position(blob.moved());
                    }
                }
                if let Some(sum) = &counts.sum {
                    sum.set_position(counts.bytes());
                }
            }
            Mode::Plain => {
                streams::eprint(&format!("{}\n", counts.line(self.start.elapsed())));
            }
            Mode::Json => streams::eprint(&format!(
                "{}\n",
                json!({
                    "event": "progress",
                    "bytes": counts.bytes(),
                    "totalBytes": counts.total_bytes,
                    "blobs": counts.done_blobs,
                    "totalBlobs": counts.total_blobs,
                    "seconds": self.start.elapsed().as_secs_f64(),
                })
            )),
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(text)),
            None => streams::eprint(&format!("{text}\n")),
        }
    }

    fn bar(&self, label: &str, total: u64) -> Option<ProgressBar> {
        let bars = self.bars.as_ref()?;
        let bar = bars.add(ProgressBar::new(total));
        let template =
            "{prefix:24} {bar:24} {bytes:>11}/{total_bytes:<11} {bytes_per_sec:>13} {eta:>5}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label.to_owned());
        Some(bar)
    }

    fn started(&self, digest: Digest, size: Option<u64>, counter: &Arc<AtomicU64>) {
        let mut counts = self.counts();
        let total = size.unwrap_or_default();
        let bar = if counts.active.len() < MOST_BARS {
            self.bar(&format!("blob {}", &digest.hex()[..12]), total)
        } else {
            None
        };
        counts.active.insert(
            digest,
            Active {
                counter: Arc::clone(counter),
                size: total,
                bar,
            },
        );
    }

    fn done(&self, digest: Digest, how: How) {
        let mut counts = self.counts();
        counts.done_blobs += 1;
        let Some(blob) = counts.active.remove(&digest) else {
            return;
        };
        // A blob that need not move is done as a whole.
        counts.done_bytes += blob.size;
        if let Some(bar) = blob.bar {
            bar.finish_and_clear();
            if let Some(bars) = &self.bars {
                bars.remove(&bar);
            }
        }
        if self.mode == Mode::Json {
            drop(counts);
            let mut line = json!({"event": "blob", "digest": digest});
            match how {
                How::Parts { fetched } => {
                    line["how"] = json!("parts");
                    line["fetched"] = json!(fetched);
                }
                how => line["how"] = json!(format!("{how:?}").to_lowercase()),
            }
            self.line(&line.to_string());
        }
    }
}

impl Progress for State {
    fn event(&self, event: &Event) {
        match event {
            _ if self.mode == Mode::None => {}
            Event::Planned(plan) => {
                let mut counts = self.counts();
                counts.total_bytes = plan.blobs.iter().map(|blob| blob.size).sum();
                counts.total_blobs = plan.blobs.len() as u64;
                counts.sum = self.bar("total", counts.total_bytes);
                if self.mode == Mode::Json {
                    let (blobs, bytes) = (counts.total_blobs, counts.total_bytes);
                    drop(counts);
                    self.line(&json!({"event": "planned", "blobs": blobs, "bytes": bytes}).to_string());
                }
            }
            Event::BlobStarted { digest, size, counter, .. } => self.started(*digest, *size, counter),
            Event::BlobDone { digest, how, .. } => self.done(*digest, *how),
            Event::Retrying { what, why, wait, attempt, of } => match self.mode {
                Mode::Json => self.line(
                    &json!({"event": "retry", "what": what, "why": why, "attempt": attempt, "of": of, "seconds": wait.as_secs_f64()})
                        .to_string(),
                ),
                _ => self.line(&format!(
                    "{what}: trying again in {} (attempt {attempt} of {of}): {why}",
                    size::time(*wait)
                )),
            },
            Event::ManifestWriting { digest, .. } if self.mode == Mode::Json => {
                self.line(&json!({"event": "manifest", "digest": digest}).to_string());
            }
            Event::Notice(text) => match self.mode {
                Mode::Json => self.line(&json!({"event": "notice", "text": text}).to_string()),
                _ => self.line(text),
            },
            _ => {}
        }
    }
}

/// More bars than this do not fit a small terminal.
const MOST_BARS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_it_takes_is_told_once_bytes_move() {
        let mut counts = Counts {
            total_bytes: 60 << 20,
            total_blobs: 9,
            ..Counts::default()
        };
        let elapsed = Duration::from_secs(10);
        assert_eq!(
            counts.line(elapsed),
            "copying: 0 B of 60.0 MiB, 0 of 9 blobs"
        );
        counts.done_bytes = 20 << 20;
        counts.done_blobs = 3;
        assert_eq!(
            counts.line(elapsed),
            "copying: 20.0 MiB of 60.0 MiB, 2.0 MiB/s, 3 of 9 blobs, about 20.0 s left"
        );
        counts.done_bytes = 1;
        assert_eq!(
            counts.line(elapsed),
            "copying: 1 B of 60.0 MiB, 0 B/s, 3 of 9 blobs, about 174762 h 39 min left"
        );
    }
}
