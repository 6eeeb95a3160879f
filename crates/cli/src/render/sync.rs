//! How a sync is shown: one line that moves on a terminal, lines in a log, JSON for programs; and at
//! the end what was done and what could not be.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dhow_ops::{
    Progress, SyncEvent, SyncOptions, SyncOutcome, SyncProgress, SyncReport, SyncVerdict,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::flying::{Flying, UnderWay};
use super::{compat, size, streams};
use crate::app::{App, Voice};
use crate::failure::Failure;
use crate::options::{OutputFormat, ProgressMode};

/// A sync that is being shown, until [`Shown::finish`].
pub(crate) struct Shown {
    /// What the sync reports to.
    pub(crate) progress: Arc<dyn SyncProgress>,
    state: Arc<State>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    None,
    Bar,
    Plain,
    Json,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    voice: Voice,
    output: OutputFormat,
    dry_run: bool,
    quiet: bool,
    start: Instant,
    bar: Option<ProgressBar>,
    /// Outcomes, where they are told at the end.
    kept: Option<Mutex<Vec<SyncOutcome>>>,
    counts: Counts,
    flying: Arc<Flying>,
}

/// How far it is.
#[derive(Debug, Default)]
struct Counts {
    listed: AtomicU64,
    settled: AtomicU64,
    moved: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
}

/// Begins to show a sync in the way that the options and the terminal call for.
pub(crate) fn start(app: &App, options: &SyncOptions) -> Shown {
    let terminal = std::io::stderr().is_terminal();
    let mode = match app.global.progress {
        _ if app.global.quiet => Mode::None,
        ProgressMode::None => Mode::None,
        ProgressMode::Json => Mode::Json,
        ProgressMode::Bar => Mode::Bar,
        ProgressMode::Auto if terminal && !app.global.debug && app.voice == Voice::Dhow => {
            Mode::Bar
        }
        ProgressMode::Auto | ProgressMode::Plain => Mode::Plain,
    };
    let bar = (mode == Mode::Bar).then(|| {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar
    });
    let keeps = options.dry_run || app.global.output == OutputFormat::Json;
    let state = Arc::new(State {
        mode,
        voice: app.voice,
        output: app.global.output,
        dry_run: options.dry_run,
        quiet: app.global.quiet,
        start: Instant::now(),
        bar,
        kept: keeps.then(Mutex::default),
        counts: Counts::default(),
        flying: Arc::default(),
    });
    if state.voice == Voice::Skopeo && options.dry_run {
        state.log("warning", "Running in dry-run mode");
    }
    let interval = match mode {
        Mode::None => None,
        Mode::Bar => Some(Duration::from_millis(100)),
        Mode::Plain => Some(Duration::from_secs(10)),
        Mode::Json => Some(Duration::from_secs(1)),
    };
    let ticker = interval.map(|interval| {
        let (stop, stopped) = mpsc::channel();
        let state = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                state.tick();
            }
        });
        (stop, thread)
    });
    Shown {
        progress: Arc::clone(&state) as _,
        state,
        ticker,
    }
}

impl Shown {
    /// Ends the display, and says what was done if the sync came to its end.
    pub(crate) fn finish(self, report: Option<&SyncReport>) -> Result<(), Failure> {
        if let Some((stop, thread)) = self.ticker {
            drop(stop);
            drop(thread.join());
        }
        if let Some(bar) = &self.state.bar {
            bar.finish_and_clear();
        }
        let Some(report) = report else {
            return Ok(());
        };
        let mut outcomes = self.state.outcomes();
        outcomes.sort_by(|one, other| {
            (&one.destination, &one.source).cmp(&(&other.destination, &other.source))
        });
        match self.state.output {
            OutputFormat::Json => {
                let value = json!({ "report": report, "images": outcomes });
                streams::write(format!("{value:#}\n").as_bytes())?;
            }
            _ if self.state.dry_run => {
                let lines: String = outcomes.iter().map(planned).collect();
                streams::write(lines.as_bytes())?;
            }
            _ => {}
        }
        self.state.end(report);
        Ok(())
    }
}

impl SyncProgress for State {
    fn event(&self, event: &SyncEvent<'_>) {
        match event {
            SyncEvent::Listed { images, .. } => {
                self.counts.listed.fetch_add(*images, Ordering::Relaxed);
            }
            SyncEvent::Settled(outcome) => self.settled(outcome),
            _ => {}
        }
    }

    fn blobs(&self) -> Arc<dyn Progress> {
        Arc::clone(&self.flying) as _
    }
}

impl State {
    fn settled(&self, outcome: &SyncOutcome) {
        let count = |counter: &AtomicU64, by: u64| {
            counter.fetch_add(by, Ordering::Relaxed);
        };
        count(&self.counts.settled, 1);
        count(&self.counts.bytes, outcome.bytes);
        match outcome.verdict {
            SyncVerdict::Added | SyncVerdict::Changed | SyncVerdict::Removed => {
                count(&self.counts.moved, 1);
            }
            SyncVerdict::Failed => count(&self.counts.failed, 1),
            SyncVerdict::Unchanged | SyncVerdict::Immutable | SyncVerdict::Settled => {}
        }
        if let Some(kept) = &self.kept {
            kept.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(outcome.clone());
        }
        self.tell(outcome);
    }

    /// Says what became of one image, where that is worth a line.
    fn tell(&self, outcome: &SyncOutcome) {
        if self.mode == Mode::Json {
            if let Ok(value) = serde_json::to_value(outcome) {
                streams::eprint(&format!("{}\n", json!({ "type": "image", "image": value })));
            }
            return;
        }
        let failed = outcome.verdict == SyncVerdict::Failed;
        if self.voice == Voice::Skopeo {
            return self.tell_as_skopeo(outcome, failed);
        }
        if failed {
            // A failure is worth a line however little is to be said.
            self.say(&failure_lines(outcome));
        } else if self.mode == Mode::Plain
            && !self.dry_run
            && let Some(word) = word(outcome.verdict)
        {
            self.say(&format!(
                "{word} {}{}\n",
                outcome.destination,
                sent(outcome)
            ));
        }
    }

    fn tell_as_skopeo(&self, outcome: &SyncOutcome, failed: bool) {
        if failed {
            let why = outcome
                .failure
                .as_ref()
                .map(|failure| failure.causes.join(": "));
            let fields = [("error".to_owned(), why.unwrap_or_default())];
            let message = format!("Error copying ref \"{}\"", outcome.source);
            return streams::eprint(&format!(
                "{}\n",
                compat::line("error", &message, &fields, self.start)
            ));
        }
        if self.quiet {
            return;
        }
        let number = self.counts.settled.load(Ordering::Relaxed);
        let of = self.counts.listed.load(Ordering::Relaxed).max(number);
        let verb = if self.dry_run {
            "Would have copied"
        } else {
            "Copying"
        };
        let fields = [
            ("from".to_owned(), outcome.source.clone()),
            ("to".to_owned(), outcome.destination.clone()),
        ];
        let message = format!("{verb} image ref {number}/{of}");
        streams::eprint(&format!(
            "{}\n",
            compat::line("info", &message, &fields, self.start)
        ));
    }

    fn log(&self, level: &str, message: &str) {
        streams::eprint(&format!(
            "{}\n",
            compat::line(level, message, &[], self.start)
        ));
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| streams::eprint(text)),
            None => streams::eprint(text),
        }
    }

    fn tick(&self) {
        let under_way = self.flying.under_way();
        let line = self.counts.line(self.start.elapsed(), under_way);
        match (self.mode, &self.bar) {
            (Mode::Bar, Some(bar)) => {
                bar.set_message(line);
                bar.tick();
            }
            (Mode::Json, _) => streams::eprint(&format!("{}\n", self.counts.json(under_way))),
            (Mode::Plain, _) if self.voice == Voice::Dhow => {
                streams::eprint(&format!("{line}\n"));
            }
            _ => {}
        }
    }

    fn outcomes(&self) -> Vec<SyncOutcome> {
        let Some(kept) = &self.kept else {
            return Vec::new();
        };
        std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&self, report: &SyncReport) {
        if self.quiet {
            return;
        }
        if self.voice == Voice::Skopeo {
            let verb = if self.dry_run {
                "Would have synced"
            } else {
                "Synced"
            };
            let (images, sources) = (report.settled(), report.sources);
            return self.log(
                "info",
                &format!("{verb} {images} images from {sources} sources"),
            );
        }
        let verb = if report.dry_run {
            "would sync"
        } else {
            "synced"
        };
        let removed = match report.removed {
            0 => String::new(),
            count => format!(", {count} removed"),
        };
        let failed = match report.failed {
            0 => String::new(),
            count => format!(", {count} failed"),
        };
        streams::eprint(&format!(
            "{verb} {} from {}: {} added, {} changed, {} unchanged{removed}{failed}; {} in {}\n",
            counted(report.settled(), "image"),
            counted(report.sources, "source"),
            report.added,
            report.changed,
            report.unchanged,
            size::bytes(report.bytes),
            size::time(report.elapsed),
        ));
        if report.failed > 0 && !report.failures.is_empty() {
            let shown: String = report
                .failures
                .iter()
                .take(LAST_LINES)
                .map(failure_lines)
                .collect();
            streams::eprint(&format!("what failed:\n{shown}"));
            if report.failed > LAST_LINES as u64 {
                streams::eprint("and more: see the file given with `--failures`\n");
            }
        }
    }
}

/// How many failures are told again at the end.
const LAST_LINES: usize = 20;

impl Counts {
    fn line(&self, elapsed: Duration, under_way: UnderWay) -> String {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let settled = load(&self.settled);
        let failed = match load(&self.failed) {
            0 => String::new(),
            count => format!(", {count} failed"),
        };
        // How many there are is known when their list has been read.
        let of = match load(&self.listed) {
            listed if listed > settled => format!(" of {listed}"),
            _ => String::new(),
        };
        let under_way = match under_way.bytes {
            0 => String::new(),
            bytes => format!(
                " and {} of {} under way",
                size::bytes(bytes),
                size::bytes(under_way.total)
            ),
        };
        format!(
            "{settled}{of} images settled, {} copied{failed}; {} sent{under_way} in {}",
            load(&self.moved),
            size::bytes(load(&self.bytes)),
            size::time(elapsed),
        )
    }

    fn json(&self, under_way: UnderWay) -> serde_json::Value {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "type": "sync",
            "listed": load(&self.listed),
            "settled": load(&self.settled),
            "copied": load(&self.moved),
            "failed": load(&self.failed),
            "bytes": load(&self.bytes),
            "bytesUnderWay": under_way.bytes,
            "totalUnderWay": under_way.total,
        })
    }
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Returns the line of a dry run for an image.
fn planned(outcome: &SyncOutcome) -> String {
    let word = match outcome.verdict {
        SyncVerdict::Added => "add      ",
        SyncVerdict::Changed => "change   ",
        SyncVerdict::Removed => "remove   ",
        SyncVerdict::Unchanged => "keep     ",
        SyncVerdict::Immutable => "immutable",
        SyncVerdict::Settled => "settled  ",
        SyncVerdict::Failed => "fail     ",
    };
    let source = match outcome.source.as_str() {
        "" => String::new(),
        source => format!(" from {source}"),
    };
    format!("{word} {}{source}{}\n", outcome.destination, sent(outcome))
}

fn sent(outcome: &SyncOutcome) -> String {
    match outcome.bytes {
        0 => String::new(),
        bytes => format!(" ({})", size::bytes(bytes)),
    }
}

const fn word(verdict: SyncVerdict) -> Option<&'static str> {
    match verdict {
        SyncVerdict::Added => Some("added"),
        SyncVerdict::Changed => Some("changed"),
        SyncVerdict::Removed => Some("removed"),
        _ => None,
    }
}

fn failure_lines(outcome: &SyncOutcome) -> String {
    let name = match (outcome.source.as_str(), outcome.destination.as_str()) {
        ("", destination) => destination,
        (source, _) => source,
    };
    let mut text = format!("failed {name}\n");
    if let Some(failure) = &outcome.failure {
        for cause in &failure.causes {
            text.push_str("  caused by: ");
            text.push_str(cause);
            text.push('\n');
        }
        for hint in &failure.hints {
            text.push_str("  hint: ");
            text.push_str(hint);
            text.push('\n');
        }
    }
    text
}
