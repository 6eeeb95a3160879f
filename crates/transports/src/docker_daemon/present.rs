//! Which layers an engine has already.
//!
//! With a graph driver, `docker load` looks for a layer, with all that lie below it, before it opens
//! its file in the archive (moby, `image/tarexport/load.go`). So the files of layers that are there
//! can be left out.

use std::collections::HashSet;

use dhow_model::Digest;
use dhow_transport::Result;
use futures_util::{StreamExt as _, stream};

use super::engine::Engine;

/// Returns how many of these layers, counted from the base, the engine has.
pub(super) async fn layers(engine: &Engine, diff_ids: &[Digest]) -> Result<usize> {
    if diff_ids.is_empty() || engine.has_containerd_store().await? {
        return Ok(0);
    }
    let ids = engine.images(MOST_IMAGES).await?;
    let chains: HashSet<Digest> = stream::iter(ids)
        .map(|id| async move {
            // An image may have gone meanwhile.
            let image = engine.image(&id).await.ok();
            image
                .map(|image| chains_of(image.diff_ids()))
                .unwrap_or_default()
        })
        .buffer_unordered(AT_ONCE)
        .flat_map(stream::iter)
        .collect()
        .await;
    let wanted = chains_of(diff_ids);
    Ok(wanted
        .iter()
        .take_while(|chain| chains.contains(chain))
        .count())
}

/// Returns the names of a stack of layers at each height (OCI image-spec, *Layer ChainID*).
fn chains_of(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chains.push(match chains.last() {
            None => *diff_id,
            Some(below) => Digest::sha256(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chains
}

/// How many images of the engine are looked at.
const MOST_IMAGES: usize = 500;

/// How many are looked at at once.
const AT_ONCE: usize = 8;
