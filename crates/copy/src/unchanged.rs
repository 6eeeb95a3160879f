//! The question before the first byte: is the image there already, under the same name.
//!
//! Some registries count every manifest that is read against a limit, and do not count the question
//! for its digest (Docker Hub). There the question comes first, and a nightly mirror that finds
//! nothing new costs nothing.

use dhow_transport::{Sink, Source};
use dhow_trust::Admission;

use crate::{Job, Report, Select, Tally};

/// Returns the report of a copy that has nothing to do; `None` when it has, or when nobody can
/// know without reading.
pub(crate) async fn report(
    source: &dyn Source,
    sink: &dyn Sink,
    job: &Job,
    admission: &Admission,
) -> Option<Report> {
    let options = &job.options;
    let as_it_is = options.format.is_none() && !options.strip_removed_platforms && !options.dry_run;
    // What policy says of a signature cannot be known from a digest.
    let admitted = admission.accepts_anything(job.source.transport(), &job.source.policy_scopes());
    if !source.caps().counted || !as_it_is || !admitted {
        return None;
    }
    // Whatever is wrong with an answer, the copy will say it better.
    let there = sink.present_root().await.ok().flatten()?;
    let head = source.root_head().await.ok()?;
    let kind = head.kind?;
    let whole = match options.select {
        Select::All => true,
        // An index under this name is not the image for the system.
        Select::System => !kind.is_index(),
        Select::IndexOnly | Select::Platforms(_) => false,
    };
    if there != head.digest || !whole {
        return None;
    }
    tracing::debug!(digest = %there, "the destination has the image under this name");
    Some(Report {
        digest: there,
        media_type: kind.media_type(),
        images: 0,
        sent: Tally::default(),
        reused: Tally::default(),
        mounted: Tally::default(),
        unchanged: true,
        served_by: source.served_by(),
        plan: None,
    })
}
