//! What a run writes down as it goes: digests, failures, and the journal. A thread of its own writes,
//! so that a slow disk keeps nobody from moving images.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::journal::Journal;
use super::outcome::{SyncOutcome, SyncVerdict};
use super::request::SyncOptions;
use crate::Error;

/// The files of a run.
#[derive(Debug)]
pub(super) struct Files {
    digests: Option<File>,
    failures: Option<File>,
    journal: Option<File>,
}

impl Files {
    /// Creates the files that were asked for. Blocks.
    pub(super) fn create(options: &SyncOptions, journal: Option<&Journal>) -> Result<Self, Error> {
        let digestfile = options.digestfile.as_deref();
        Ok(Self {
            digests: digestfile
                .filter(|_| !options.dry_run)
                .map(create)
                .transpose()?,
            failures: options.failures.as_deref().map(create).transpose()?,
            journal: journal.and_then(Journal::lines),
        })
    }

    fn write(&mut self, line: Line) -> Result<(), Error> {
        match (line, &mut self.digests, &mut self.failures) {
            (Line::Digest(line), Some(file), _) | (Line::Failure(line), _, Some(file)) => {
                writeln!(file, "{line}").map_err(Error::Report)
            }
            (Line::Settled(destination), ..) => {
                if let Some(file) = &mut self.journal {
                    Journal::settle(file, &destination);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn create(path: &Path) -> Result<File, Error> {
    File::create(path).map_err(|source| Error::Folder {
        path: path.to_owned(),
        source,
    })
}

/// Takes what is to be written down.
#[derive(Debug)]
pub(super) struct Records {
    lines: Option<mpsc::Sender<Line>>,
    writer: JoinSet<Result<(), Error>>,
}

#[derive(Debug)]
enum Line {
    Digest(String),
    Failure(String),
    /// The name at the destination.
    Settled(String),
}

impl Records {
    /// Starts the writer.
    pub(super) fn start(mut files: Files) -> Self {
        let (lines, mut waiting) = mpsc::channel::<Line>(AHEAD);
        let mut writer = JoinSet::new();
        writer.spawn_blocking(move || {
            while let Some(line) = waiting.blocking_recv() {
                files.write(line)?;
            }
            Ok(())
        });
        Self {
            lines: Some(lines),
            writer,
        }
    }

    /// Writes down what became of an image.
    pub(super) async fn note(&mut self, outcome: &SyncOutcome) -> Result<(), Error> {
        if outcome.verdict == SyncVerdict::Failed {
            let line = serde_json::to_string(outcome).unwrap_or_default();
            return self.send(Line::Failure(line)).await;
        }
        if !matches!(outcome.verdict, SyncVerdict::Settled | SyncVerdict::Removed) {
            let line = Line::Settled(outcome.destination.clone());
            self.send(line).await?;
        }
        if let Some(digest) = outcome.digest {
            let line = format!("{digest} {}", outcome.destination);
            self.send(Line::Digest(line)).await?;
        }
        Ok(())
    }

    /// Waits until all is written.
    pub(super) async fn end(&mut self) -> Result<(), Error> {
        self.lines = None;
        match self.writer.join_next().await {
            Some(written) => written.map_err(|_| Error::Interrupted)?,
            None => Ok(()),
        }
    }

    async fn send(&mut self, line: Line) -> Result<(), Error> {
        match &self.lines {
            Some(lines) if lines.send(line).await.is_ok() => Ok(()),
            // The writer ends before its time only where it cannot write: it says why.
            _ => self.end().await,
        }
    }
}

/// How many lines may wait for the disk.
const AHEAD: usize = 1000;
