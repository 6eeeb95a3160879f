//! Publish: writes one manifest when its parts are there, in the planned kind or in another that
//! the destination takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use dhow_model::{ManifestKind, RawManifest};
use dhow_transport::{Kind, Placed};

use crate::assemble::Member;
use crate::make::{self, Made, Parts};
use crate::plan::BlobKey;
use crate::run::Work;
use crate::transfer::{Arrival, Reuse};
use crate::{Error, Event};

/// A manifest that is to be written.
pub(crate) struct Publication {
    pub(crate) work: Arc<Work>,
    pub(crate) node: usize,
    pub(crate) placed: BTreeMap<BlobKey, Arrival>,
    pub(crate) published: Vec<Option<Member>>,
}

/// A manifest that has been written.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) member: Member,
    /// The blobs that were made for it and placed with it.
    pub(crate) made: Vec<Placed>,
}

impl Publication {
    /// Writes the manifest in the planned kind, or in another when the destination refuses that.
    pub(crate) async fn publish(&self) -> Result<Published, Error> {
        let _turn = self.work.manifests.acquire().await;
        let plan = &self.work.plan.nodes[self.node];
        let mut refused = None;
        for kind in std::iter::once(&plan.kind).chain(&plan.fallbacks) {
            if refused.is_some() {
                let retry = format!(
                    "the destination refuses `{}`, trying `{}`",
                    plan.kind.media_type(),
                    kind.media_type()
                );
                self.work.context.progress.event(&Event::Notice(retry));
            }
            match self.offer(*kind).await {
                Err(error) if error.kind() == Kind::ManifestRejected => {
                    refused.get_or_insert(error);
                }
                outcome => return outcome,
            }
        }
        Err(refused.unwrap_or(Error::Lost))
    }

    /// Writes the manifest in one kind.
    async fn offer(&self, kind: ManifestKind) -> Result<Published, Error> {
        let mut made = self.make(kind, &self.placed).await?;
        let mut placed = self.place_made(&made, Reuse::Allowed).await?;
        let mut outcome = self.write(&made.manifest).await;
        if let Err(error) = &outcome
            && self.may_lack_content(error, &placed)
        {
            // The destination said that it had a blob, and now that it has not.
            let arrivals = self.send_again().await?;
            made = self.make(kind, &arrivals).await?;
            placed = self.place_made(&made, Reuse::Forbidden).await?;
            outcome = self.write(&made.manifest).await;
        }
        outcome?;
        Ok(Published {
            member: Member {
                manifest: made.manifest.descriptor(),
                zstd: made.zstd,
            },
            made: placed,
        })
    }

    async fn make(
        &self,
        kind: ManifestKind,
        placed: &BTreeMap<BlobKey, Arrival>,
    ) -> Result<Made, Error> {
        let parts = Parts {
            work: &self.work,
            node: self.node,
            placed,
            published: &self.published,
        };
        make::manifest(&parts, kind).await
    }

    /// Returns whether the error may be about content that was taken to be there.
    fn may_lack_content(&self, error: &Error, made: &[Placed]) -> bool {
        // COMPAT(registries): distribution says 400 where others say 404.
        matches!(error.kind(), Kind::NotFound | Kind::Invalid)
            && self
                .placed
                .values()
                .map(|arrival| &arrival.placed)
                .chain(made)
                .any(|placed| placed.how.was_there())
    }

    async fn place_made(&self, made: &Made, reuse: Reuse) -> Result<Vec<Placed>, Error> {
        let context = &self.work.context;
        let mut placed = Vec::with_capacity(made.blobs.len());
        for (blob, bytes, slot) in &made.blobs {
            placed.push(context.place_made(blob, bytes, *slot, reuse).await?);
        }
        Ok(placed)
    }

    async fn write(&self, manifest: &RawManifest) -> Result<(), Error> {
        let context = &self.work.context;
        context.progress.event(&Event::ManifestWriting {
            digest: manifest.digest(),
            index: manifest.kind().is_index(),
        });
        let put = || async {
            let result = if self.node == self.work.tree.root() {
                context.sink.commit(manifest).await
            } else {
                context.sink.put_manifest(manifest).await
            };
            result.map_err(|error| {
                let step = format!("write the manifest `{}`", manifest.digest());
                Error::destination(&context.sink.location(), &step, error)
            })
        };
        let what = format!("manifest `{}`", manifest.digest());
        context.patience.run(&what, put).await
    }

    /// Sends every blob that was not sent before, and returns where all of them are now: one that
    /// is compressed anew may be another than the one that was taken to be there.
    async fn send_again(&self) -> Result<BTreeMap<BlobKey, Arrival>, Error> {
        let mut arrivals = self.placed.clone();
        for planned in &self.work.plan.blobs {
            let key = planned.key();
            let reused = arrivals
                .get(&key)
                .is_some_and(|arrival| arrival.placed.how.was_there());
            if reused {
                let sent = self.work.context.send(planned, Reuse::Forbidden).await?;
                arrivals.insert(key, sent);
            }
        }
        Ok(arrivals)
    }
}
