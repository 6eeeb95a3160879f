//! What is known of the registry itself: what it makes of the question for a blob, which is to mount it
//! from the very repository. Where that is not known, a blob that was sent is asked for, once;
//! that is while others wait for the answer, or are on their way, so that it takes no time.
//!
//! The answer is written down for a month. Another registry may be at the address by then: who relies
//! on what is written, and has sent much, asks again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dhow_client::OwnMounts;
use dhow_model::Digest;
use tokio::sync::OnceCell;

use super::notes::Notes;
use super::sink::DockerSink;
use crate::file_blob::blocking;

/// Registries are replaced and renewed.
const BELIEVED_FOR: Duration = Duration::from_hours(30 * 24);

/// How long a large blob waits for the answer before it is asked for with HEAD.
const PATIENCE: Duration = Duration::from_millis(50);

/// How many bytes a blob has that is not sent twice without a thought.
const MUCH: u64 = 16 * 1024 * 1024;

/// What is remembered of registries.
#[derive(Debug)]
pub(super) struct Host {
    notes: Notes,
    noted: OnceCell<OwnMounts>,
    /// Knowing more of the registry would help.
    wanted: AtomicBool,
    /// The answer did not come in time.
    late: AtomicBool,
    /// Held by every blob that is being sent.
    sending: Arc<()>,
}

impl Host {
    pub(super) fn new(cache: Option<&Path>) -> Self {
        Self {
            notes: Notes::new(cache, "registries", BELIEVED_FOR),
            noted: OnceCell::new(),
            wanted: AtomicBool::new(false),
            late: AtomicBool::new(false),
            sending: Arc::default(),
        }
    }

    /// Returns what a blob holds while it is sent.
    pub(super) fn sending(&self) -> Arc<()> {
        Arc::clone(&self.sending)
    }

    fn is_sending(&self) -> bool {
        Arc::strong_count(&self.sending) > 1
    }
}

impl DockerSink {
    /// Returns what the registry makes of questions for blobs, as far as it has shown.
    pub(super) async fn own_mounts(&self) -> OwnMounts {
        let noted = self.noted().await;
        let facts = self.client.host_facts();
        if noted != OwnMounts::Unknown && facts.own_mounts() == OwnMounts::Unknown {
            facts.know_own_mounts(noted);
        }
        facts.own_mounts()
    }

    /// Returns the same for a large blob, which is worth some waiting where that costs less than one
    /// more question for each of them.
    pub(super) async fn own_mounts_soon(&self) -> OwnMounts {
        self.want_to_know();
        let facts = self.client.host_facts();
        let known = facts.own_mounts();
        if known != OwnMounts::Unknown || self.host.late.load(Ordering::Relaxed) {
            return known;
        }
        let known = facts.own_mounts_within(PATIENCE).await;
        if known == OwnMounts::Unknown {
            self.host.late.store(true, Ordering::Relaxed);
        }
        known
    }

    /// Has it found out when there is a chance.
    pub(super) fn want_to_know(&self) {
        self.host.wanted.store(true, Ordering::Relaxed);
    }

    /// Finds out what the registry makes of questions, if that is not known, with a blob that has just
    /// been sent.
    ///
    /// No manifest may be on its way that needs the blob:
    // COMPAT(docker-registry): a mount writes the link of the blob anew, in place. A manifest that is
    // checked meanwhile finds it empty, and is refused (registry/storage/linkedblobstore.go).
    pub(super) async fn learn_own_mounts(&self, present: &Digest, size: u64) {
        if size >= MUCH {
            self.want_to_know();
        }
        let facts = self.client.host_facts();
        let is_free = facts.is_waited_for() || self.host.is_sending();
        if !is_free || !self.host.wanted.load(Ordering::Relaxed) {
            return;
        }
        // What is written down counts, too.
        self.own_mounts().await;
        if !facts.is_sure_of_own_mounts()
            && let Err(error) = self.client.probe_own_mounts(present).await
        {
            tracing::debug!(%error, "the registry cannot be asked what it answers");
        }
    }

    /// Writes that down for later processes.
    pub(super) async fn note_own_mounts(&self) {
        let known = self.client.host_facts().own_mounts();
        if self.host.notes.are_kept() && known != OwnMounts::Unknown && known != self.noted().await
        {
            let (notes, about) = (self.host.notes.clone(), self.registry());
            drop(blocking(move || notes.write(&about, name(known))).await);
        }
    }

    /// Returns what an earlier process has found out.
    async fn noted(&self) -> OwnMounts {
        let read = || async {
            let (notes, about) = (self.host.notes.clone(), self.registry());
            let text = blocking(move || notes.read(&about)).await;
            text.ok()
                .flatten()
                .map_or(OwnMounts::Unknown, |text| parsed(&text))
        };
        *self.host.noted.get_or_init(read).await
    }

    fn registry(&self) -> String {
        self.repository().registry().to_string()
    }
}

const fn name(known: OwnMounts) -> &'static str {
    match known {
        OwnMounts::Unknown => "",
        OwnMounts::Answers => "own mounts: answered\n",
        OwnMounts::Ignores => "own mounts: ignored\n",
        OwnMounts::Refuses => "own mounts: refused\n",
    }
}

fn parsed(text: &str) -> OwnMounts {
    [OwnMounts::Answers, OwnMounts::Ignores, OwnMounts::Refuses]
        .into_iter()
        .find(|known| name(*known) == text)
        .unwrap_or_default()
}
