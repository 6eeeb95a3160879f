//! What a run had settled when it was cut off, so that the next need not ask again.
//!
//! A journal belongs to one sync: the same sources, destination and options. It has one line for each
//! settled image and lies in the cache folder while a run is under way; a run that comes to its end
//! removes it, whatever it has found. It is no proof that an image is still there: who goes on looks
//! into the list of the destination besides.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dhow_model::Digest;

/// How old the journal of a run that was cut off may be: what was settled longer ago is looked at.
const FRESH: Duration = Duration::from_hours(12);
/// The largest journal that is read, in bytes: four million images.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// The journal of one run.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    settled: HashSet<u64>,
    file: File,
}

impl Journal {
    /// Opens the journal for a sync that `what` describes. `None`: there is no place for it, or
    /// another run of the same sync is under way. Blocks.
    pub(super) fn open(folder: &Path, what: &str) -> Option<Self> {
        fs::create_dir_all(folder).ok()?;
        let path = folder.join(format!(
            "{}.journal",
            &Digest::sha256(what.as_bytes()).hex()[..32]
        ));
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .ok()?;
        file.try_lock().ok()?;
        let age = file
            .metadata()
            .ok()?
            .modified()
            .ok()?
            .elapsed()
            .unwrap_or_default();
        let settled = if age < FRESH {
            read(&file)
        } else {
            file.set_len(0).ok()?;
            HashSet::new()
        };
        Some(Self {
            path,
            settled,
            file,
        })
    }

    /// Returns how many images an earlier run had settled.
    pub(super) fn count(&self) -> usize {
        self.settled.len()
    }

    /// Returns whether an earlier run had settled the image with this name at the destination.
    pub(super) fn has(&self, destination: &str) -> bool {
        self.settled.contains(&key(destination))
    }

    /// Returns where settled images are noted.
    pub(super) fn lines(&self) -> Option<File> {
        self.file.try_clone().ok()
    }

    /// Notes that an image is settled. A line that cannot be written only costs a question later.
    /// Blocks.
    pub(super) fn settle(lines: &mut File, destination: &str) {
        let line = format!("{:016x}\n", key(destination));
        drop(lines.write_all(line.as_bytes()));
    }

    /// Removes the journal: the run has come to its end.
    pub(super) fn end(self) {
        drop(fs::remove_file(&self.path));
    }
}

fn read(file: &File) -> HashSet<u64> {
    let lines = BufReader::new(file.take(MAX_SIZE)).lines();
    lines
        .map_while(Result::ok)
        // The last line may be half a line.
        .filter(|line| line.len() == 16)
        .filter_map(|line| u64::from_str_radix(&line, 16).ok())
        .collect()
}

fn key(name: &str) -> u64 {
    let hex = Digest::sha256(name.as_bytes()).hex();
    u64::from_str_radix(&hex[..16], 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_settled_is_known_to_the_next_run_of_the_same_sync() {
        let folder = tempfile::tempdir().unwrap();
        let first = Journal::open(folder.path(), "a").unwrap();
        Journal::settle(&mut first.lines().unwrap(), "docker://r.io/a:1");
        assert!(
            Journal::open(folder.path(), "a").is_none(),
            "it is under way"
        );
        drop(first);
        let path = fs::read_dir(folder.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"0123").unwrap();
        drop(file);
        let second = Journal::open(folder.path(), "a").unwrap();
        assert_eq!(second.count(), 1);
        assert!(second.has("docker://r.io/a:1"));
        assert!(!second.has("docker://r.io/a:2"));
        assert!(
            !Journal::open(folder.path(), "b")
                .unwrap()
                .has("docker://r.io/a:1")
        );
        second.end();
        assert_eq!(Journal::open(folder.path(), "a").unwrap().count(), 0);
    }
}
