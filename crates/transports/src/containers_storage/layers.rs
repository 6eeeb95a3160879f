//! Which layers an image has in a store, and how those that have come fit on top of each other.

use std::collections::{HashMap, HashSet};

use dhow_model::{Algorithm, Descriptor, Digest, Hasher};
use dhow_storage::{Base, Driver, NewLayer, Store};
use dhow_transport::{Error, Kind, Result};

use super::pending::{self, Arrived, Form};
use super::store_error;

/// Returns the IDs of layers, the lowest first: each is made from its content and all below it.
pub(super) fn ids(diff_ids: &[Digest]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        let id = match ids.last() {
            None => diff_id.hex(),
            Some(parent) => {
                let mut hasher = Hasher::new(Algorithm::Sha256);
                hasher.update(format!("{parent}+{}", diff_id.hex()).as_bytes());
                hasher.finish().hex()
            }
        };
        ids.push(id);
    }
    ids
}

/// Layers of one image, made ready to become visible.
#[derive(Debug, Default)]
pub(super) struct Stack {
    /// All layers, the lowest first.
    pub(super) ids: Vec<String>,
    /// Those that are not in the store.
    pub(super) new: Vec<NewLayer>,
}

/// Puts the layers of an image on top of each other. What has arrived for it is taken; what others
/// need, too, stays. Blocks.
pub(super) fn stack(
    store: &Store,
    layers: &[Descriptor],
    diff_ids: &[Digest],
    arrived: &mut HashMap<Digest, Arrived>,
    made: &HashSet<String>,
) -> Result<Stack> {
    if layers.len() != diff_ids.len() {
        let message = format!(
            "the manifest has {} layers, and the config {} diffIDs",
            layers.len(),
            diff_ids.len()
        );
        return Err(Error::new(Kind::Invalid, message));
    }
    let mut stack = Stack {
        ids: ids(diff_ids),
        new: Vec::new(),
    };
    let known = store.layers().map_err(store_error)?;
    let known: HashSet<&str> = known.iter().map(|layer| layer.id.as_str()).collect();
    for (index, layer) in layers.iter().enumerate() {
        let id = stack.ids[index].clone();
        if known.contains(id.as_str()) || made.contains(&id) {
            continue;
        }
        let came = arrived.get(&layer.digest).ok_or_else(|| {
            let message = format!("layer `{}` did not come", layer.digest);
            Error::new(Kind::Bug, message)
        })?;
        check(came, layer, &diff_ids[index])?;
        let (diff_size, compression) = (came.diff_size, came.compression);
        let blob = came.from_blob.then_some((layer.digest, layer.size));
        let parent = index.checked_sub(1).map(|below| stack.ids[below].clone());
        let mut above = layers[index + 1..].iter();
        let again = above.any(|other| other.digest == layer.digest);
        let staged = match (&came.form, store.driver()) {
            (Form::Staged(_), Driver::Overlay) if !again => take(arrived, &layer.digest)?,
            _ => pending::stage(store, came, base(&stack, parent.as_deref()))?,
        };
        stack.new.push(NewLayer {
            staged,
            id,
            parent,
            diff_id: diff_ids[index],
            diff_size,
            blob,
            compression,
        });
    }
    Ok(stack)
}

/// Checks that a layer is the one that the config speaks of.
fn check(came: &Arrived, layer: &Descriptor, diff_id: &Digest) -> Result<()> {
    if came.diff_id == *diff_id {
        return Ok(());
    }
    let message = format!(
        "the content of layer `{}` has the digest `{}`, and the config says `{diff_id}`",
        layer.digest, came.diff_id
    );
    Err(Error::new(Kind::DigestMismatch, message))
}

/// Returns what the next layer stands on.
fn base<'a>(stack: &'a Stack, parent: Option<&'a str>) -> Base<'a> {
    let Some(parent) = parent else {
        return Base::Nothing;
    };
    let new = stack.new.iter().find(|layer| layer.id == parent);
    new.map_or(Base::Layer(parent), |layer| Base::Staged(&layer.staged))
}

/// Takes an unpacked layer out; it is needed here alone.
fn take(arrived: &mut HashMap<Digest, Arrived>, digest: &Digest) -> Result<dhow_storage::Staged> {
    match arrived.remove(digest).map(|came| came.form) {
        Some(Form::Staged(staged)) => Ok(staged),
        _ => Err(Error::new(Kind::Bug, "a layer was taken twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_made_from_content_and_what_is_below() {
        // What Podman 4.3.1 recorded for an image of two layers.
        let diff_ids = [
            "sha256:815f12f77a692edc566e92f1c9a191f7f28ee0570e48e3f23b914ad13c948844",
            "sha256:f6db666aeac1e9b0312673fa7fa7dfe7784ff164ef180108665a9c1b9c0b35bf",
        ];
        let diff_ids = diff_ids.map(|text| Digest::parse(text).expect("a digest"));
        let expected = [
            "815f12f77a692edc566e92f1c9a191f7f28ee0570e48e3f23b914ad13c948844",
            "9b4a7ab396a632dc6a86a23a7fdf553f0581f5d9e719455bd5e9f811d49f2bce",
        ];
        assert_eq!(ids(&diff_ids), expected);
    }
}
