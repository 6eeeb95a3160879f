//! An archive that is being put together: layers come at once and in any order, and lie one behind the
//! other in the order of the manifest.
//!
//! ```text
//! layers whose size is known or likely ─────────────▶ gaps, one behind the other
//! another one whose turn it is ─────────────────────▶ the end of the archive, and nobody behind it
//! others ─▶ (some seconds) ─▶ files without a name ─▶ (their turn) ─▶ the end of the archive
//! ```
//!
//! Into a file, a layer is written before its digest and size are known: its header is filled in
//! afterwards. Where its source hints at the size, a gap is left for it, and those behind it are written
//! beside it. Into a stream, one whose size is not known waits in a file.
//!
//! Behind a layer of which nothing is known, large layers wait in their sockets: where the disk or the
//! processor is the narrow place, they are written once; where it is the network, they come at once after
//! all. Small ones that are unpacked on their way do not wait: another core unpacks them meanwhile, and to
//! copy them afterwards is little work.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dhow_model::Digest;
use dhow_transport::{Blob, BlobWant, Coming, Result, Slot};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use super::gap::Gap;
use super::spool::{self, Pieces, unwritten};
use super::tail::{Tail, layer_name};
pub(crate) use super::turns::{Place, Stored};
use super::turns::{Spot, State, Turn};
use crate::file_blob::Part;

/// An archive that is being put together. Clones share it.
#[derive(Clone)]
pub(crate) struct Assembly {
    state: Arc<Mutex<State>>,
    /// Told when another layer's turn has come.
    turned: Arc<Notify>,
    folder: PathBuf,
}

impl Assembly {
    /// Returns an empty archive. What has to wait does so in `folder`.
    pub(crate) fn new(tail: Tail, folder: PathBuf) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(tail))),
            turned: Arc::default(),
            folder,
        }
    }

    /// Takes note of the layers that will come.
    pub(crate) fn expect(&self, coming: &Coming) {
        self.state().order = coming.layers.iter().copied().collect();
    }

    /// Returns a blob that was put.
    pub(crate) fn stored(&self, digest: &Digest) -> Option<Stored> {
        self.state().stored.get(digest).cloned()
    }

    /// Takes note of a layer that is not written, because it is there already. Blocks.
    pub(crate) fn leave_out(&self, slot: Slot, digest: Digest, size: u64) -> Result<()> {
        let place = Place::Elsewhere;
        let stored = Stored { size, place };
        self.state().stored.entry(digest).or_insert(stored);
        self.skip(slot)
    }

    /// Takes note of a layer that needs no place of its own. Blocks.
    pub(crate) fn skip(&self, slot: Slot) -> Result<()> {
        if let Slot::Layer { index } = slot {
            self.state().order.retain(|layer| layer.index != index);
        }
        self.advance()
    }

    /// Takes a blob; returns its digest and size.
    pub(crate) async fn put(&self, want: &BlobWant, blob: Blob) -> Result<(Digest, u64)> {
        let known = want.digest.zip(want.size.or(blob.size));
        let layer = match want.slot {
            Slot::Layer { index } => Some(index),
            Slot::Config | Slot::Other => None,
        };
        let size = known.map(|(_, size)| size).or(blob.likely);
        let spot = self.turn(layer, known.is_some(), size).await?;
        let assembly = self.clone();
        spool::take(want, blob, move |pieces| match spot {
            Spot::End(tail) => assembly.write(tail, known, pieces),
            Spot::Gap(gap) => assembly.fill(gap, pieces),
            Spot::Aside => assembly.set_aside(layer, pieces),
        })
        .await
    }

    /// Returns whether others can be written beside this one only if it is known how large it will
    /// probably be.
    pub(crate) fn holds_up(&self, slot: Slot) -> bool {
        matches!(slot, Slot::Layer { index } if self.state().holds_up(index))
    }

    /// Returns where a blob is written: aside those whose turn has not come after a while.
    async fn turn(&self, layer: Option<usize>, known: bool, size: Option<u64>) -> Result<Spot> {
        let deadline = Instant::now() + PATIENCE;
        let mut missing = None;
        loop {
            let turned = self.turned.notified();
            tokio::pin!(turned);
            // Told also of what happens before it is waited for.
            turned.as_mut().enable();
            let turn = self.state().turn(layer, known, size)?;
            missing = match turn {
                Turn::Now(spot) => {
                    if let Spot::Gap(_) = spot {
                        self.turned.notify_waiters();
                    }
                    return Ok(spot);
                }
                Turn::Later => None,
                Turn::Missing => missing.or_else(|| Some(Instant::now() + MOMENT)),
            };
            let until = missing.map_or(deadline, |moment| moment.min(deadline));
            if Instant::now() >= until {
                return Ok(Spot::Aside);
            }
            drop(tokio::time::timeout_at(until, turned).await);
        }
    }

    /// Writes the layer whose turn it is.
    fn write(
        &self,
        mut tail: Tail,
        known: Option<(Digest, u64)>,
        pieces: Pieces,
    ) -> Result<(Digest, u64)> {
        let written = tail.take_pieces(known, pieces);
        let mut state = self.state();
        match &written {
            Ok((digest, size)) => {
                state.tail = Some(tail);
                state.order.pop_front();
                let (size, place) = (*size, Place::Archive);
                state.stored.insert(*digest, Stored { size, place });
            }
            // What was begun in a file is written over by the next one.
            Err(_) if tail.is_file() => state.tail = Some(tail),
            Err(_) => state.broken = true,
        }
        drop(state);
        self.turned.notify_waiters();
        let written = written?;
        self.advance()?;
        Ok(written)
    }

    /// Writes a layer for which a gap was left.
    fn fill(&self, gap: Gap, pieces: Pieces) -> Result<(Digest, u64)> {
        // The turn of what lies aside may have come with the gap, and others wait behind it.
        self.advance()?;
        let filled = gap.fill(pieces, &self.folder);
        self.state().filled(gap, filled)
    }

    /// Writes a blob into a file of its own.
    fn set_aside(&self, slot: Option<usize>, pieces: Pieces) -> Result<(Digest, u64)> {
        let mut file = spool::file_in(&self.folder)?;
        let (digest, size) = pieces.write(&mut file)?;
        {
            let mut state = self.state();
            let place = Place::Aside(Arc::new(file));
            state.stored.entry(digest).or_insert(Stored { size, place });
            if let Some(slot) = slot.filter(|slot| state.comes(*slot).is_some()) {
                state.waiting.insert(slot, digest);
            }
        }
        self.advance()?;
        Ok((digest, size))
    }

    /// Writes those that wait and whose turn has come.
    fn advance(&self) -> Result<()> {
        let done = self.write_waiting();
        self.turned.notify_waiters();
        done
    }

    fn write_waiting(&self) -> Result<()> {
        loop {
            let mut state = self.state();
            if state.tail.is_none() {
                return Ok(());
            }
            let Some(digest) = state
                .order
                .front()
                .map(|next| next.index)
                .and_then(|next| state.waiting.remove(&next))
            else {
                return Ok(());
            };
            let file = match state.stored.get(&digest) {
                Some(Stored {
                    place: Place::Aside(file),
                    size,
                }) => Some((Arc::clone(file), *size)),
                // The same content was written for another layer.
                _ => None,
            };
            let (Some((file, size)), Some(mut tail)) = (file, state.tail.take()) else {
                state.order.pop_front();
                continue;
            };
            drop(state);
            let copied = tail.copy(&layer_name(&digest), 0o444, &file, Part { offset: 0, size });
            let mut state = self.state();
            if let Err(error) = copied {
                state.broken = true;
                return Err(unwritten(error));
            }
            state.tail = Some(tail);
            state.order.pop_front();
            let place = Place::Archive;
            state.stored.insert(digest, Stored { size, place });
        }
    }

    /// Returns the end of the archive, when nobody writes there any more.
    pub(crate) fn close(&self) -> Result<Tail> {
        self.state().close()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Assembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assembly")
    }
}

/// How long a layer waits for its turn, and its connection with it, before it is set aside.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it waits for one that has not come.
const MOMENT: Duration = Duration::from_millis(500);

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::path::Path;

    use bytes::Bytes;
    use dhow_model::{Annotations, MediaType};
    use dhow_transport::ComingLayer;
    use futures_util::{StreamExt as _, stream};

    use super::*;
    use crate::docker_archive::turns::SMALL;

    pub(in crate::docker_archive) fn assembly(folder: &Path, size: u64) -> Assembly {
        let file = tempfile::tempfile().unwrap();
        let assembly = Assembly::new(Tail::File { file, offset: 0 }, folder.to_owned());
        let digest = Digest::sha256(b"unknown");
        let layers = (0..3).map(|index| ComingLayer {
            index,
            digest,
            size: Some(size),
        });
        assembly.expect(&Coming {
            layers: layers.collect(),
            ..Coming::default()
        });
        assembly
    }

    pub(in crate::docker_archive) fn layer(index: usize) -> BlobWant {
        BlobWant {
            digest: None,
            size: None,
            made_from: None,
            media_type: MediaType::DOCKER2_LAYER,
            slot: Slot::Layer { index },
            mount_from: Vec::new(),
            comes: true,
            annotations: Annotations::new(),
        }
    }

    /// The content of a layer that needs a while to come.
    pub(in crate::docker_archive) fn slow(index: usize, pause: Duration) -> Blob {
        let body = stream::once(async move {
            tokio::time::sleep(pause).await;
            Ok(Bytes::from(vec![0; 1000 + index]))
        });
        Blob::from_stream(None, body.boxed())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_layer_waits_for_one_that_is_being_written_and_is_written_once() {
        // Nothing can be set aside there.
        let assembly = assembly(Path::new("/nowhere"), SMALL + 1);
        let pause = MOMENT * 3 / 4;
        let puts = (0..3).rev().map(|index| {
            let (assembly, want) = (&assembly, layer(index));
            async move { assembly.put(&want, slow(index, pause)).await }
        });
        for (put, size) in futures_util::future::join_all(puts)
            .await
            .into_iter()
            .zip([1002, 1001, 1000])
        {
            assert_eq!(put.unwrap().1, size);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_layer_does_not_wait_long_for_one_that_has_not_come() {
        let folder = tempfile::tempdir().unwrap();
        let assembly = assembly(folder.path(), SMALL + 1);
        let start = Instant::now();
        for index in [2, 1, 0] {
            let blob = slow(index, Duration::ZERO);
            let (digest, _) = assembly.put(&layer(index), blob).await.unwrap();
            let aside = assembly.stored(&digest).unwrap().place;
            assert_eq!(matches!(aside, Place::Aside(_)), index > 0);
        }
        assert!(start.elapsed() < PATIENCE);
        assert!(assembly.close().is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_small_layer_is_unpacked_while_another_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let assembly = assembly(folder.path(), SMALL);
        let (go_on, held) = tokio::sync::oneshot::channel();
        let body = stream::once(async move {
            held.await.map_err(io::Error::other)?;
            Ok(Bytes::from_static(b"base"))
        });
        let (base, above) = (layer(0), layer(1));
        let base = assembly.put(&base, Blob::from_stream(None, body.boxed()));
        let above = async {
            // The end of the archive is taken now.
            while assembly.state().tail.is_some() {
                tokio::task::yield_now().await;
            }
            let (digest, _) = assembly.put(&above, slow(1, Duration::ZERO)).await.unwrap();
            let aside = assembly.stored(&digest).unwrap().place;
            assert!(matches!(aside, Place::Aside(_)));
            go_on.send(()).unwrap();
            digest
        };
        let (base, above) = tokio::join!(base, above);
        base.unwrap();
        let place = assembly.stored(&above).unwrap().place;
        assert!(matches!(place, Place::Archive));
    }
}
