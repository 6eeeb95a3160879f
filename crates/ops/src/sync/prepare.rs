//! An origin made ready: its list and that of the destination are begun before it is its turn.

use std::sync::Arc;

use super::destination::Names;
use super::image::parse;
use super::listing::Listing;
use super::origins::{Images, Origin};
use super::request::SyncTarget;
use super::run::Run;
use crate::Error;

/// An origin whose lists are being read.
pub(super) struct Prepared {
    pub(super) origin: Origin,
    pub(super) names: Arc<Names>,
    pub(super) listing: Option<Result<Listing, Error>>,
}

/// Begins to read the lists of an origin, on both sides.
pub(super) async fn prepare(
    run: Arc<Run>,
    layout: Option<Arc<Names>>,
    origin: Result<Origin, Error>,
) -> Result<Prepared, Error> {
    let origin = origin?;
    let retry = run.options.retry;
    let place = match &origin.images {
        Images::Tags { repository, .. } => Some(format!("docker://{repository}")),
        Images::Names { place, .. } => Some(place.clone()),
        Images::Given(_) | Images::Wrong(_) => None,
    };
    let listing = place.map(|place| {
        let location = parse(&origin.side, &place, "source")?;
        Ok(Listing::start(location, retry))
    });
    let names = match (run.target, layout, &origin.images) {
        (SyncTarget::Dir, ..) => Arc::new(Names::Folders),
        (SyncTarget::Oci, Some(names), _) => names,
        (SyncTarget::Docker, _, Images::Tags { repository, .. }) => {
            let place = format!("docker://{}", run.mapping.repository(repository));
            let prefix = format!("{place}:");
            Arc::new(Names::list(&run.destination, &place, &prefix, retry).await)
        }
        _ => Arc::default(),
    };
    Ok(Prepared {
        origin,
        names,
        listing,
    })
}
