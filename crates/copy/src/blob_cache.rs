//! What is remembered of blobs from one copy to the next: which compressed blob holds which content,
//! and where a blob was seen.
//!
//! Only what was computed here from complete data is written down, and nothing that is written down
//! is believed: whoever reads it has a reason to ask the destination, and no more. So a cache that
//! is lost, broken or wrong costs time and nothing else, and no error of it is an error of a copy.

mod store;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dhow_model::{Annotations, Digest, Repository};
use rusqlite::Connection;

/// The cache of a user; many processes share it. Opened when it is first asked.
#[derive(Clone)]
pub struct BlobCache(Option<Arc<Cache>>);

struct Cache {
    folder: PathBuf,
    store: Mutex<Store>,
}

/// How far opening has come.
enum Store {
    Closed,
    Open(Connection),
    /// It cannot be used; this was said once.
    Unusable,
}

/// A compressed blob and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The digest of the compressed blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How it is compressed, by the name that users know: `gzip`, `zstd:chunked`.
    pub format: String,
    /// The digest of the content.
    pub diff_id: Digest,
    /// The size of the content in bytes.
    pub unpacked_size: u64,
    /// What a descriptor of the blob has to say.
    pub annotations: Annotations,
}

impl BlobCache {
    /// Returns the cache in a folder, which is made when there is something to remember.
    pub fn open(folder: PathBuf) -> Self {
        Self(Some(Arc::new(Cache {
            folder,
            store: Mutex::new(Store::Closed),
        })))
    }

    /// Returns a cache that remembers nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Begins to open what will soon be asked, while a copy waits for its first answers.
    pub(crate) fn open_ahead(&self) {
        if let Some(cache) = self.0.clone().filter(|cache| !cache.is_empty()) {
            // Whoever asks meanwhile waits for it.
            drop(tokio::task::spawn_blocking(move || cache.ask(|_| Ok(()))));
        }
    }

    /// Returns what is known to hold this content in this format, the newest first.
    pub async fn packed(&self, diff_id: &Digest, format: &str) -> Vec<Known> {
        let (diff_id, format) = (*diff_id, format.to_owned());
        self.ask(move |store| store::packed(store, &diff_id, &format))
            .await
            .unwrap_or_default()
    }

    /// Returns what a compressed blob holds.
    pub async fn unpacked(&self, digest: &Digest) -> Option<Known> {
        let digest = *digest;
        self.ask(move |store| store::unpacked(store, &digest))
            .await
            .flatten()
    }

    /// Returns the repositories of a registry where blobs were seen, for each blob the newest first.
    pub async fn locations(
        &self,
        digests: Vec<Digest>,
        registry: &str,
    ) -> HashMap<Digest, Vec<String>> {
        let registry = registry.to_owned();
        self.ask(move |store| store::locations(store, &digests, &registry))
            .await
            .unwrap_or_default()
    }

    /// Remembers what a compressed blob holds. A fact that contradicts an older one drops both.
    pub async fn learn(&self, known: Known) {
        self.tell(move |store| store::learn(store, &known, now()))
            .await;
    }

    /// Remembers where blobs are.
    pub async fn seen(&self, places: Vec<(Digest, Repository)>) {
        if !places.is_empty() {
            self.tell(move |store| store::seen(store, &places, now()))
                .await;
        }
    }

    /// Forgets that a blob is at a place.
    pub async fn gone(&self, digest: &Digest, registry: &str, repository: &str) {
        let digest = *digest;
        let (registry, repository) = (registry.to_owned(), repository.to_owned());
        self.ask(move |store| store::gone(store, &digest, &registry, &repository))
            .await;
    }

    /// Asks the store on a blocking thread. `None` when there is none, or it does not work.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Option<T> {
        if self.0.as_ref()?.is_empty() {
            return None;
        }
        self.tell(question).await
    }

    /// Gives the store something to do on a blocking thread, and makes it if there is none yet.
    async fn tell<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Option<T> {
        let cache = Arc::clone(self.0.as_ref()?);
        let answer = tokio::task::spawn_blocking(move || cache.ask(question));
        answer.await.ok().flatten()
    }
}

impl Cache {
    /// Returns whether nothing was ever written down.
    fn is_empty(&self) -> bool {
        // Who has it locked has it open.
        let closed = self
            .store
            .try_lock()
            .is_ok_and(|store| matches!(*store, Store::Closed));
        closed && !store::exists(&self.folder)
    }

    fn ask<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*store, Store::Closed) {
            *store = match store::open(&self.folder) {
                Ok(connection) => Store::Open(connection),
                Err(error) if store::is_busy(&error) => {
                    tracing::debug!(folder = %self.folder.display(), "the blob cache is busy");
                    return None;
                }
                Err(error) => {
                    tracing::debug!(folder = %self.folder.display(), %error, "no blob cache");
                    Store::Unusable
                }
            };
        }
        let Store::Open(connection) = &*store else {
            return None;
        };
        match question(connection) {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::debug!(%error, "the blob cache does not answer");
                None
            }
        }
    }
}

impl fmt::Debug for BlobCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(cache) => write!(f, "BlobCache({})", cache.folder.display()),
            None => f.write_str("BlobCache(off)"),
        }
    }
}

/// Returns the seconds since 1970: facts have an age, and nothing else depends on it.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether it is open, once nobody is about to open it.
    fn is_open(cache: &BlobCache) -> bool {
        let cache = cache.0.as_ref().unwrap();
        matches!(*cache.store.lock().unwrap(), Store::Open(_))
    }

    #[tokio::test]
    async fn a_cache_is_opened_before_it_is_asked_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = BlobCache::open(folder.path().to_owned());
        first.open_ahead();
        let place = Repository::parse("r.test/a").unwrap();
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
        first.seen(vec![(Digest::sha256(b"a"), place)]).await;
        let second = BlobCache::open(folder.path().to_owned());
        second.open_ahead();
        while !is_open(&second) {
            tokio::task::yield_now().await;
        }
    }
}
