//! The tags of a repository, handed over while the rest of the list is still read.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dhow_transport::{Location, Retry};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::destination::hash;
use crate::{Error, RetryOptions};

/// A list that is being read. Dropping it ends the reading.
#[derive(Debug)]
pub(super) struct Listing {
    tags: mpsc::Receiver<Result<String, Error>>,
    reader: JoinSet<()>,
}

impl Listing {
    /// Begins to read the tags of a repository, or the names in a layout.
    pub(super) fn start(location: Arc<dyn Location>, retry: RetryOptions) -> Self {
        let (sender, tags) = mpsc::channel(AHEAD);
        let mut reader = JoinSet::new();
        reader.spawn(read(location, retry, sender));
        Self { tags, reader }
    }

    /// Returns the next tag. After an error there is nothing more.
    pub(super) async fn next(&mut self) -> Option<Result<String, Error>> {
        match self.tags.recv().await {
            Some(tag) => Some(tag),
            // A reader that broke down has not read everything.
            None => match self.reader.join_next().await {
                Some(Err(_)) => Some(Err(Error::Interrupted)),
                _ => None,
            },
        }
    }
}

async fn read(
    location: Arc<dyn Location>,
    retry: RetryOptions,
    sender: mpsc::Sender<Result<String, Error>>,
) {
    let Some(catalog) = location.catalog() else {
        return;
    };
    let mut seen = HashSet::new();
    let mut attempt = 0;
    loop {
        let mut tags = catalog.tags();
        let error = loop {
            match tags.next().await {
                None => return,
                Some(Err(error)) => break error,
                // A list that is read again, or changes while it is read, repeats itself.
                Some(Ok(tag)) if !seen.insert(hash(&tag)) => {}
                Some(Ok(tag)) => {
                    if sender.send(Ok(tag)).await.is_err() {
                        return;
                    }
                }
            }
        };
        let may_pass = matches!(error.retry(), Retry::After(_));
        if !may_pass || attempt >= retry.times.max(RETRIES) {
            let error = Error::place("list the tags of", &location, error);
            drop(sender.send(Err(error)).await);
            return;
        }
        let wait = retry
            .delay
            .unwrap_or(Duration::from_secs(1 << attempt.min(6)));
        tracing::warn!(%error, ?wait, "the list of tags is read again");
        attempt += 1;
        tokio::time::sleep(wait).await;
    }
}

/// How many tags are read ahead.
const AHEAD: usize = 1000;
/// How often a list is read again even when nobody asked for it.
const RETRIES: u32 = 2;
