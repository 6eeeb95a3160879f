//! What need not be sent: blobs that the destination has, can mount, or has in the compression that
//! is wanted. What the cache remembers is a reason to ask, never an answer.

use std::sync::atomic::Ordering;

use dhow_codec::{Packing, UnpackFacts};
use dhow_model::{Annotations, Compression, Digest, Repository};
use dhow_transport::{BlobWant, How, Placed};
use futures_util::FutureExt as _;

use super::uncompressed::Uncompressed;
use super::{Arrival, Context, Form, Story};
use crate::Error;
use crate::blob_cache::Known;
use crate::plan::{BlobPlan, Plan, Step};

impl Context {
    /// Returns what is wanted of the destination.
    pub(super) fn want(&self, planned: &BlobPlan) -> BlobWant {
        let keeps = planned.step.keeps_bytes();
        let annotations = &planned.blob.annotations;
        // Schema 1 says no sizes, and no blob that is known to be empty is a layer.
        let size = Some(planned.blob.size).filter(|size| *size > 0);
        BlobWant {
            digest: keeps.then_some(planned.blob.digest),
            size: size.filter(|_| keeps),
            made_from: size.filter(|_| !keeps),
            media_type: planned.blob.media_type.clone(),
            slot: planned.slot,
            mount_from: self.mount_from.clone(),
            comes: keeps,
            annotations: if keeps {
                annotations.clone()
            } else {
                Annotations::new()
            },
        }
    }

    /// Returns what to ask the destination for when it may have the blob as it is.
    pub(crate) fn known(&self, planned: &BlobPlan) -> BlobWant {
        let blob = &planned.blob;
        if planned.step.keeps_bytes() {
            return self.want(planned);
        }
        BlobWant {
            digest: Some(blob.digest),
            size: Some(blob.size).filter(|size| *size > 0),
            // A mount that does not work would leave an upload for this digest open.
            mount_from: Vec::new(),
            ..self.want(planned)
        }
    }

    /// Returns the blob as it is at the destination, if it need not be sent.
    pub(super) async fn reused(
        &self,
        planned: &BlobPlan,
        attempt: u32,
        elsewhere: &[Repository],
    ) -> Result<Option<Arrival>, Error> {
        match planned.step {
            Step::Keep => self.as_it_is(planned, attempt, elsewhere).await,
            Step::Learn => {
                let Some(known) = self.cache.unpacked(&planned.blob.digest).await else {
                    return Ok(None);
                };
                let found = self.as_it_is(planned, attempt, &[]).await?;
                Ok(found.map(|arrival| Arrival {
                    diff_id: Some(known.diff_id),
                    ..arrival
                }))
            }
            Step::Pack(packing) | Step::Repack(packing) => {
                if let Some(content) = self.content(planned).await
                    && let Some(arrival) = self.packed_before(planned, &content, packing).await?
                {
                    return Ok(Some(arrival));
                }
                if planned.stays {
                    self.uncompressed(planned, attempt).await
                } else {
                    Ok(None)
                }
            }
            Step::Unpack => self.unpacked_before(planned).await,
        }
    }

    /// Returns the digest of a layer's content before it is compressed, where it is known.
    async fn content(&self, planned: &BlobPlan) -> Option<Digest> {
        let digest = planned.blob.digest;
        if matches!(planned.step, Step::Pack(_)) {
            return Some(digest);
        }
        let known = self.cache.unpacked(&digest).await?;
        Some(known.diff_id)
    }

    pub(super) async fn found(
        &self,
        want: &BlobWant,
        planned: &BlobPlan,
    ) -> Result<Option<Placed>, Error> {
        let mut asking = self.sink.reuse(want);
        let answer = if let Some(answer) = (&mut asking).now_or_never() {
            answer
        } else {
            self.expect_soon(want);
            asking.await
        };
        answer.map_err(|error| self.unstored(error, planned))
    }

    /// Notes how many blobs will move at once, so that both sides can make ready for them.
    pub(crate) fn expect_blobs(&self, at_once: usize) {
        self.at_once.store(at_once, Ordering::Relaxed);
        self.sink.expect_blobs(at_once);
    }

    /// Has the source make ready for a blob while the destination is asked for it, if that takes time.
    /// What is mounted is not read.
    fn expect_soon(&self, want: &BlobWant) {
        if want.mount_from.is_empty() && !self.sink.is_near() {
            self.source
                .expect_blob(self.at_once.load(Ordering::Relaxed));
        }
    }

    pub(super) async fn as_it_is(
        &self,
        planned: &BlobPlan,
        attempt: u32,
        elsewhere: &[Repository],
    ) -> Result<Option<Arrival>, Error> {
        let mut want = self.known(planned);
        if planned.step.keeps_bytes() {
            want.mount_from = self.mountable(elsewhere);
        }
        if attempt > 1 {
            // An upload may be waiting for the rest of the blob; a mount would open another.
            want.mount_from.clear();
        }
        let guess = if attempt == 1 && want.mount_from.is_empty() && planned.step.keeps_bytes() {
            self.seen_at(&planned.blob.digest)
        } else {
            None
        };
        want.mount_from.extend(guess.clone());
        let placed = self.found(&want, planned).await?;
        if let (None, Some(from)) = (&placed, guess) {
            self.forget(&planned.blob.digest, &from).await;
        }
        Ok(placed.map(Arrival::kept))
    }

    /// Asks for blobs that were made from the same content in the same format earlier.
    async fn packed_before(
        &self,
        planned: &BlobPlan,
        content: &Digest,
        packing: Packing,
    ) -> Result<Option<Arrival>, Error> {
        let known = self.cache.packed(content, packing.format.name()).await;
        for known in known.into_iter().take(CANDIDATES) {
            let want = BlobWant {
                digest: Some(known.digest),
                size: Some(known.size),
                mount_from: self.seen_of(&known.digest).await.into_iter().collect(),
                ..self.want(planned)
            };
            if let Some(placed) = self.found(&want, planned).await? {
                return Ok(Some(Arrival {
                    placed,
                    form: Some(Form {
                        compression: Some(packing.format.compression()),
                        annotations: known.annotations,
                    }),
                    diff_id: Some(*content),
                }));
            }
        }
        Ok(None)
    }

    /// Asks for the content of a layer that was decompressed earlier.
    async fn unpacked_before(&self, planned: &BlobPlan) -> Result<Option<Arrival>, Error> {
        let Some(known) = self.cache.unpacked(&planned.blob.digest).await else {
            return Ok(None);
        };
        let want = BlobWant {
            digest: Some(known.diff_id),
            size: Some(known.unpacked_size),
            mount_from: Vec::new(),
            ..self.want(planned)
        };
        let placed = self.found(&want, planned).await?;
        Ok(placed.map(|placed| Arrival::unpacked(placed, known.diff_id)))
    }

    /// Finds out where the blobs of a plan were seen lately, and which need not be asked for.
    pub(crate) async fn recall_places(&mut self, plan: &Plan) {
        // Files need no request.
        if self.destination_name.is_some() {
            self.uncompressed = Uncompressed::of(plan);
        }
        // Where both sides are one registry, the source is the place to mount from.
        if let Some(here) = &self.destination_name
            && self.mount_from.is_empty()
        {
            let digests = plan.blobs.iter().map(|planned| planned.blob.digest);
            let registry = here.repository.registry();
            self.places = self.cache.locations(digests.collect(), registry).await;
        }
    }

    /// Returns another repository of the destination's registry that had the blob lately.
    fn seen_at(&self, digest: &Digest) -> Option<Repository> {
        let here = &self.destination_name.as_ref()?.repository;
        another(here, self.places.get(digest)?)
    }

    /// Does the same for a blob that is not in the plan.
    async fn seen_of(&self, digest: &Digest) -> Option<Repository> {
        let here = &self.destination_name.as_ref()?.repository;
        let known = self.cache.locations(vec![*digest], here.registry()).await;
        another(here, known.get(digest)?)
    }

    async fn forget(&self, digest: &Digest, there: &Repository) {
        self.cache
            .gone(digest, there.registry(), there.path())
            .await;
    }

    /// Returns what became of a blob that was sent, and remembers what was learned.
    pub(super) async fn arrived(
        &self,
        planned: &BlobPlan,
        placed: Placed,
        story: Story,
    ) -> Result<Arrival, Error> {
        let source = planned.blob.digest;
        let arrival = match story {
            Story::Kept => Arrival::kept(placed),
            Story::Learned(facts) => {
                let facts = facts.value().ok_or(Error::Lost)?;
                self.learn_unpacked(planned, &facts).await;
                Arrival {
                    diff_id: Some(facts.diff_id),
                    ..Arrival::kept(placed)
                }
            }
            Story::Unpacked(facts) => {
                let facts = facts.value().ok_or(Error::Lost)?;
                self.learn_unpacked(planned, &facts).await;
                Arrival::unpacked(placed, facts.diff_id)
            }
            Story::Unhashed(facts) => {
                let facts = UnpackFacts {
                    compression: facts.value().ok_or(Error::Lost)?,
                    diff_id: placed.digest,
                    unpacked_size: placed.size,
                };
                self.learn_unpacked(planned, &facts).await;
                Arrival::unpacked(placed, facts.diff_id)
            }
            Story::Packed(packing, facts, before) => {
                let facts = facts.value().ok_or(Error::Lost)?;
                if let Some(compression) = before.and_then(|before| before.value()) {
                    let before = UnpackFacts {
                        compression,
                        diff_id: facts.diff_id,
                        unpacked_size: facts.unpacked_size,
                    };
                    self.learn_unpacked(planned, &before).await;
                }
                let known = Known {
                    digest: placed.digest,
                    size: placed.size,
                    format: packing.format.name().to_owned(),
                    diff_id: facts.diff_id,
                    unpacked_size: facts.unpacked_size,
                    annotations: facts.annotations.clone(),
                };
                self.cache.learn(known).await;
                Arrival {
                    placed,
                    form: Some(Form {
                        compression: Some(packing.format.compression()),
                        annotations: facts.annotations,
                    }),
                    diff_id: Some(facts.diff_id),
                }
            }
        };
        if let Some(name) = &self.destination_name {
            self.saw(arrival.placed.digest, &name.repository);
        }
        if let (Some(name), How::Sent) = (&self.source_name, arrival.placed.how) {
            self.saw(source, &name.repository);
        }
        Ok(arrival)
    }

    fn saw(&self, digest: Digest, there: &Repository) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.push((digest, there.clone()));
        }
    }

    /// Writes down where blobs are.
    pub(crate) async fn remember(&self) {
        let seen = self.seen.lock().map(|mut seen| std::mem::take(&mut *seen));
        self.cache.seen(seen.unwrap_or_default()).await;
    }

    async fn learn_unpacked(&self, planned: &BlobPlan, facts: &UnpackFacts) {
        let Some(compression) = facts.compression else {
            return;
        };
        let known = Known {
            digest: planned.blob.digest,
            size: planned.blob.size,
            format: format_name(compression).to_owned(),
            diff_id: facts.diff_id,
            unpacked_size: facts.unpacked_size,
            annotations: Annotations::new(),
        };
        // Schema 1 does not say how large its layers are.
        if known.size > 0 {
            self.cache.learn(known).await;
        }
    }
}

impl Arrival {
    /// Returns a layer that lies there uncompressed.
    const fn unpacked(placed: Placed, diff_id: Digest) -> Self {
        Self {
            placed,
            form: Some(Form {
                compression: None,
                annotations: Annotations::new(),
            }),
            diff_id: Some(diff_id),
        }
    }
}

/// Returns the first of these repositories that is not this one.
fn another(here: &Repository, paths: &[String]) -> Option<Repository> {
    paths
        .iter()
        .filter_map(|path| here.sibling(path).ok())
        .find(|there| there != here)
}

/// Returns the name under which the cache knows a compression that was found.
const fn format_name(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
        Compression::Bzip2 => "bzip2",
        Compression::Xz => "xz",
    }
}

/// How many blobs of the same content the destination is asked for.
const CANDIDATES: usize = 2;
