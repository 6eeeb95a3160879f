//! The question before the first byte: is the image there already, under the same name.
//!
//! Both sides are asked at once, so that a nightly mirror that finds nothing new costs one request on
//! each. Some registries count every manifest that is read against a limit, and do not count the
//! question for its digest (Docker Hub): there the digest is asked for, and where the destination is
//! known to have something under the name. Elsewhere the manifest itself is read, which will be needed
//! if it is new.

use std::sync::Arc;

use dhow_model::{Digest, Index, MediaType, RawManifest};
use dhow_transport::{RootHead, Sink, Source};
use dhow_trust::Admission;

use crate::transfer::in_registry;
use crate::{Job, LayerOptions, Options, Report, Select, Standing, Tally};

/// What was found out before the copy begins.
#[derive(Debug)]
pub(crate) enum Before {
    /// There is nothing to do.
    Unchanged(Box<Report>),
    /// There may be something to do.
    Copy {
        /// The destination, where it was opened.
        sink: Option<Arc<dyn Sink>>,
        /// Another image stands under the destination's name.
        other: bool,
    },
}

impl Before {
    const NOTHING: Self = Self::Copy {
        sink: None,
        other: false,
    };
}

/// Asks both sides at once. Whatever is wrong with an answer, the copy will say it better.
pub(crate) async fn look(source: &dyn Source, job: &Job, admission: &Admission) -> Before {
    let standing = job.options.standing;
    // On this machine a look costs nothing, and there is time for it when the source was read.
    let late = in_registry(&*job.destination).is_none() && !source.caps().counted;
    if standing == Standing::Absent || (late && standing == Standing::Unknown) {
        return Before::NOTHING;
    }
    let Ok(sink) = job.destination.sink().await else {
        return Before::NOTHING;
    };
    // What policy says of a signature cannot be known from a digest.
    let admitted = admission.accepts_anything(job.source.transport(), &job.source.policy_scopes());
    let asks = admitted && changes_nothing(&job.options);
    let likely = source.caps().counted || standing == Standing::Present;
    let (there, stands) = if asks && likely {
        heads(source, &*sink, &job.options).await
    } else {
        roots(source, &*sink, &job.options).await
    };
    match (there, stands) {
        (Some(there), Some((digest, media_type))) if there == digest && asks => {
            tracing::debug!(%digest, "the destination has the image under this name");
            Before::Unchanged(Box::new(report(source, digest, media_type)))
        }
        (there, _) => Before::Copy {
            sink: Some(sink),
            other: there.is_some(),
        },
    }
}

/// Returns whether what arrives is what the source has, by these options.
fn changes_nothing(options: &Options) -> bool {
    options.format.is_none()
        && !options.strip_removed_platforms
        && (!options.dry_run || options.standing == Standing::Present)
        && options.layers == LayerOptions::default()
}

/// What stands under a name, as far as it is known.
type Stands = Option<(Digest, MediaType)>;

/// Asks for digests.
async fn heads(
    source: &dyn Source,
    sink: &dyn Sink,
    options: &Options,
) -> (Option<Digest>, Stands) {
    let (there, head) = tokio::join!(sink.present_root(), source.root_head());
    let there = there.ok().flatten();
    let Ok(RootHead {
        digest,
        kind: Some(kind),
    }) = head
    else {
        return (there, None);
    };
    let stands = match options.select {
        // Only an index names the image for the system; where nothing stands, nothing is compared.
        Select::System if kind.is_index() && there.is_some() => {
            let root = source.root().await.ok();
            root.and_then(|root| stands(&root, options))
        }
        Select::System if kind.is_index() => None,
        Select::All | Select::System => Some((digest, kind.media_type())),
        Select::IndexOnly | Select::Platforms(_) => None,
    };
    (there, stands)
}

/// Reads the source's manifest while the destination is asked.
async fn roots(
    source: &dyn Source,
    sink: &dyn Sink,
    options: &Options,
) -> (Option<Digest>, Stands) {
    let reading = async { source.root().await.map_err(drop) };
    let asking = async { Ok(sink.present_root().await.ok().flatten()) };
    // A source that cannot be read ends this at once.
    match futures_util::future::try_join(reading, asking).await {
        Ok((root, there)) => (there, stands(&root, options)),
        Err(()) => (None, None),
    }
}

/// Returns what a copy of this root would put under the destination's name.
fn stands(root: &RawManifest, options: &Options) -> Stands {
    match options.select {
        Select::System if root.kind().is_index() => {
            let index = Index::parse(root).ok()?;
            let image = index.choose(&options.platform)?;
            let kind = image.media_type.manifest_kind()?;
            (!kind.is_index()).then(|| (image.digest, image.media_type.clone()))
        }
        Select::All | Select::System => Some((root.digest(), root.media_type())),
        Select::IndexOnly | Select::Platforms(_) => None,
    }
}

fn report(source: &dyn Source, digest: Digest, media_type: MediaType) -> Report {
    Report {
        digest,
        media_type,
        images: 0,
        sent: Tally::default(),
        reused: Tally::default(),
        mounted: Tally::default(),
        unchanged: true,
        served_by: source.served_by(),
        plan: None,
    }
}
