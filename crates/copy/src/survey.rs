//! Survey: what else must be known and only I/O can tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dhow_codec::{Expectation, verify};
use dhow_model::{Admitted, Descriptor, Digest, ImageConfig, ImageManifest, Platform, RawManifest};
use dhow_transport::{ByteRange, Kind, Source};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::Error;
use crate::admit::{Content, Tree};
use crate::plan::Plan;
use crate::tap;

/// Reads the configs of the images that will be converted.
pub(crate) async fn configs(
    source: &Arc<dyn Source>,
    tree: &Tree,
    plan: &Plan,
) -> Result<BTreeMap<Digest, Bytes>, Error> {
    let wanted = plan
        .nodes
        .iter()
        .zip(&tree.nodes)
        .filter_map(|(planned, node)| match &node.content {
            Content::Image(image) if planned.change.is_some() => Some(&image.config),
            _ => None,
        });
    stream::iter(wanted)
        .map(|config| async move { Ok((config.digest, read(&**source, config).await?)) })
        .buffered(8)
        .try_collect()
        .await
}

/// Returns what a single image runs on, if it says so.
pub(crate) async fn platform(
    source: &dyn Source,
    raw: &RawManifest,
) -> Result<Option<Platform>, Error> {
    // Policy is asked about the image before anything is copied; here only its platform is read.
    let Ok(image) = ImageManifest::parse(&Admitted::by_policy(raw.clone())) else {
        return Ok(None);
    };
    if !image.has_image_config() {
        return Ok(None);
    }
    let config = read(source, &image.config).await?;
    let parsed = ImageConfig::parse(&config).map_err(|source| Error::Manifest {
        name: image.config.digest.to_string(),
        source,
    })?;
    Ok(Some(parsed.platform()))
}

/// Reads a small blob whole, verified.
pub(crate) async fn read(source: &dyn Source, blob: &Descriptor) -> Result<Bytes, Error> {
    let wrap = |error| {
        let step = format!("read the config `{}`", blob.digest);
        Error::source(&source.location(), &step, error)
    };
    if blob.size > MAX_CONFIG_SIZE {
        let why = format!(
            "it has {} bytes, more than the {MAX_CONFIG_SIZE} allowed",
            blob.size
        );
        return Err(wrap(dhow_transport::Error::new(Kind::Invalid, why)));
    }
    let found = source.blob(blob, ByteRange::All).await.map_err(wrap)?;
    let expected = Expectation {
        digest: blob.digest,
        size: Some(blob.size),
    };
    let mut body = verify(found.body.into_stream(), expected);
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| wrap(tap::classify(error)))?);
    }
    Ok(bytes.freeze())
}

/// The largest config that is read, in bytes; the same bound as for manifests.
const MAX_CONFIG_SIZE: u64 = 4 * 1024 * 1024;
