//! Survey: what else must be known and only I/O can tell.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use dhow_codec::{Expectation, verify};
use dhow_model::{Descriptor, Digest, ImageConfig, Platform};
use dhow_transport::{ByteRange, Coming, ComingLayer, Kind, Source};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::admit::{Content, Tree};
use crate::patience::Patience;
use crate::plan::Plan;
use crate::{Error, PlanError, tap};

/// Reads the configs of the images that will be converted.
pub(crate) async fn configs(
    source: &dyn Source,
    tree: &Tree,
    plan: &Plan,
    patience: &Patience,
) -> Result<BTreeMap<Digest, Bytes>, Error> {
    let wanted = plan
        .nodes
        .iter()
        .zip(&tree.nodes)
        .filter_map(|(planned, node)| match &node.content {
            Content::Image(image) if planned.kind != image.kind => Some(&image.config),
            _ => None,
        });
    // A list: closures in what is held across an await keep the future from being spawned.
    let reads: Vec<_> = wanted
        .map(|config| async move { Ok((config.digest, read(source, config, patience).await?)) })
        .collect();
    stream::iter(reads).buffered(8).try_collect().await
}

/// Asks the source how it holds the layers of its images.
pub(crate) async fn held(source: &dyn Source, tree: &mut Tree) -> Result<(), Error> {
    for node in &mut tree.nodes {
        let Content::Image(image) = &node.content else {
            continue;
        };
        let held = source.held_layers(image).await.map_err(|error| {
            let step = format!("read the layers of `{}`", node.raw.digest());
            Error::source(&source.location(), &step, error)
        })?;
        node.held = held.filter(|held| held.len() == image.layers.len());
    }
    Ok(())
}

/// Returns what the sink is told before the first blob; `None` where there is no single image.
pub(crate) async fn coming(
    source: &dyn Source,
    tree: &Tree,
    plan: &Plan,
    config_first: bool,
    patience: &Patience,
) -> Result<Option<Coming>, Error> {
    let ([node], [planned]) = (tree.nodes.as_slice(), plan.nodes.as_slice()) else {
        return Ok(None);
    };
    let mut seen = BTreeSet::new();
    let sizes = plan.blobs.iter();
    let sizes: BTreeMap<Digest, u64> = sizes
        .map(|planned| (planned.blob.digest, planned.blob.size))
        .collect();
    let layers = planned.layers.iter().enumerate();
    let layers = layers.filter_map(|(index, key)| {
        let (digest, _) = key.filter(|key| seen.insert(*key))?;
        // Schema 1 does not say how large its layers are.
        let size = sizes.get(&digest).copied().filter(|size| *size > 0);
        Some(ComingLayer {
            index,
            digest,
            size,
        })
    });
    let layers = layers.collect();
    let config = match &node.content {
        Content::Image(image) if config_first && image.has_image_config() => {
            Some(read(source, &image.config, patience).await?)
        }
        _ => None,
    };
    let index = node.chosen_from.as_ref();
    Ok(Some(Coming {
        layers,
        config,
        index: index.map(|index| index.bytes().clone()),
    }))
}

/// Checks that a single image is for one of the platforms that were named.
pub(crate) async fn fits(
    source: &dyn Source,
    tree: &Tree,
    wanted: &[Platform],
    patience: &Patience,
) -> Result<(), Error> {
    let Content::Image(image) = &tree.nodes[tree.root()].content else {
        return Ok(());
    };
    if !image.has_image_config() {
        return Ok(());
    }
    let config = read(source, &image.config, patience).await?;
    let parsed = ImageConfig::parse(&config).map_err(|source| Error::Manifest {
        name: image.config.digest.to_string(),
        source,
    })?;
    let platform = parsed.platform();
    if wanted.iter().any(|wanted| platform.matches(wanted)) {
        return Ok(());
    }
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let error = PlanError::OtherPlatform {
        wanted: wanted.join(", "),
        actual: platform.to_string(),
    };
    Err(error.into())
}

/// Reads a small blob whole, verified.
pub(crate) async fn read(
    source: &dyn Source,
    blob: &Descriptor,
    patience: &Patience,
) -> Result<Bytes, Error> {
    let what = format!("config `{}`", blob.digest);
    patience.run(&what, || read_once(source, blob)).await
}

async fn read_once(source: &dyn Source, blob: &Descriptor) -> Result<Bytes, Error> {
    read_config(source, blob).await.map_err(|error| {
        let step = format!("read the config `{}`", blob.digest);
        Error::source(&source.location(), &step, error)
    })
}

/// Reads a config whole, verified.
///
/// # Errors
/// When it is larger than any config is, cannot be read, or is not what its descriptor says.
pub async fn read_config(source: &dyn Source, blob: &Descriptor) -> dhow_transport::Result<Bytes> {
    if blob.size > MAX_CONFIG_SIZE {
        let why = format!(
            "it has {} bytes, more than the {MAX_CONFIG_SIZE} allowed",
            blob.size
        );
        return Err(dhow_transport::Error::new(Kind::Invalid, why));
    }
    let found = source.blob(blob, ByteRange::All).await?;
    let expected = Expectation {
        digest: blob.digest,
        size: Some(blob.size),
    };
    let mut body = verify(found.body.into_stream(), expected);
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(tap::classify)?);
    }
    Ok(bytes.freeze())
}

/// The largest config that is read, in bytes; the same bound as for manifests.
const MAX_CONFIG_SIZE: u64 = 4 * 1024 * 1024;
