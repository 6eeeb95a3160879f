//! Whether a registry has layers uncompressed, as the source has them, that would be compressed on the
//! way there. Hardly any has. So it is asked for the lowest one, and for those above only if it has
//! that: an archive of a hundred layers takes one question.

use dhow_transport::{Placed, Slot};
use tokio::sync::OnceCell;

use super::{Arrival, Context};
use crate::Error;
use crate::plan::{BlobPlan, Plan, Step};

/// What is known of such layers.
#[derive(Debug, Default)]
pub(super) struct Uncompressed {
    /// The lowest one.
    lowest: Option<BlobPlan>,
    /// What the registry said of it.
    answer: OnceCell<Option<Placed>>,
}

impl Uncompressed {
    /// Returns what is known before anything was asked.
    pub(super) fn of(plan: &Plan) -> Self {
        let layers = plan.blobs.iter().filter(|planned| asks(planned));
        Self {
            lowest: layers.min_by_key(|planned| place(planned)).cloned(),
            answer: OnceCell::new(),
        }
    }
}

impl Context {
    /// Asks for a layer as it is at the source, if the destination may have it.
    pub(super) async fn uncompressed(
        &self,
        planned: &BlobPlan,
        attempt: u32,
    ) -> Result<Option<Arrival>, Error> {
        let known = &self.uncompressed;
        if attempt == 1
            && asks(planned)
            && let Some(lowest) = &known.lowest
        {
            let want = self.known(lowest);
            let ask = || self.found(&want, lowest);
            let answer = known.answer.get_or_try_init(ask).await?;
            if answer.is_none() || lowest.blob.digest == planned.blob.digest {
                return Ok(answer.clone().map(Arrival::kept));
            }
        }
        self.as_it_is(planned, attempt, &[]).await
    }
}

fn asks(planned: &BlobPlan) -> bool {
    planned.stays && matches!(planned.step, Step::Pack(_))
}

fn place(planned: &BlobPlan) -> usize {
    match planned.slot {
        Slot::Layer { index } => index,
        Slot::Config | Slot::Other => usize::MAX,
    }
}
