//! The question whether a blob is at the destination: first to the other copies of the batch, then to
//! the destination itself.

use dhow_model::Repository;
use dhow_transport::{How, Placed};

use super::{Arrival, Asked, Context, in_registry};
use crate::batch::{Claimed, Scope};
use crate::plan::{BlobPlan, Step};
use crate::{Error, Job};

impl Context {
    /// Asks the destination for a blob.
    pub(crate) async fn ask(&self, planned: &BlobPlan) -> Result<Asked, Error> {
        let (claim, elsewhere) = match self.claim(planned).await {
            Some(Claimed::Here) => {
                let arrival = Arrival::kept(Placed {
                    digest: planned.blob.digest,
                    size: planned.blob.size,
                    how: How::Present,
                });
                return Ok(self.found_there(planned, arrival));
            }
            Some(Claimed::Mine { claim, elsewhere }) => (Some(claim), elsewhere),
            None => (None, Vec::new()),
        };
        let mut attempt = 1;
        let found = loop {
            match self.reused(planned, attempt, &elsewhere).await {
                Ok(found) => break found,
                Err(error) => self.pause(&mut attempt, error, planned).await?,
            }
        };
        let Some(arrival) = found else {
            return Ok(Asked::Lacks(claim));
        };
        if let Some(claim) = claim {
            claim.arrived();
        }
        Ok(self.found_there(planned, arrival))
    }

    fn found_there(&self, planned: &BlobPlan, arrival: Arrival) -> Asked {
        self.started(planned);
        self.done(planned, &arrival);
        Asked::There(arrival)
    }

    /// Makes sure that no other copy of the batch is bringing the blob. What changes on the way has
    /// another digest there, and every copy brings its own.
    async fn claim(&self, planned: &BlobPlan) -> Option<Claimed> {
        let batch = self.batch.as_ref().filter(|batch| batch.shares_blobs())?;
        // Schema 1 does not say how large its layers are, and what is in a manifest must be known.
        if planned.step != Step::Keep || planned.blob.size == 0 {
            return None;
        }
        let name = self.destination_name.as_ref();
        let here = Scope {
            name: self.sink.caps().scope.clone(),
            repository: name.map(|name| name.repository.clone()),
        };
        Some(batch.claim(planned.blob.digest, &here).await)
    }

    /// Returns where a blob can be mounted from, in the order in which it is tried.
    pub(super) fn mountable(&self, elsewhere: &[Repository]) -> Vec<Repository> {
        let mut all = self.mount_from.clone();
        all.extend(
            elsewhere
                .iter()
                .filter(|known| !self.mount_from.contains(known))
                .cloned(),
        );
        all
    }
}

/// Returns the repositories of the destination's registry that have the blobs.
pub(super) fn mount_from(job: &Job) -> Vec<Repository> {
    let Some(destination) = in_registry(&*job.destination) else {
        return Vec::new();
    };
    let here = &destination.repository;
    in_registry(&*job.source)
        .into_iter()
        .chain(&job.options.mount_from)
        .map(|reference| reference.repository.clone())
        .filter(|from| from.registry() == here.registry() && from != here)
        .collect()
}
