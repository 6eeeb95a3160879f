//! The last part of an archive: the config, what old Dockers looked for, what was there before, and
//! the list of the images.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use dhow_model::{
    Admitted, Algorithm, Digest, Hasher, ImageConfig, ImageManifest, RawManifest, Reference, json,
};
use dhow_transport::{Error, Kind, Result};

use super::assembly::{Assembly, Place};
use super::items::{self, Item};
use super::legacy;
use super::opened::{MANIFEST, Opened};
use super::spool::unwritten;
use super::tail::{Tail, layer_name};
use crate::file_blob::Part;
use crate::manifest_error;
use crate::members::Members;
use crate::tar_entry::copy_bytes;

/// An image that is to be in the archive.
pub(crate) struct Image<'a> {
    /// Its manifest.
    pub(crate) root: &'a RawManifest,
    /// Its names.
    pub(crate) names: &'a [Reference],
    /// Layers may be compressed, so that their digests are not those of their content.
    pub(crate) packed: bool,
}

/// What was in the archive before.
pub(super) struct Before {
    pub(super) opened: Arc<Opened>,
    /// The members that hold layers and configs of the new image, by digest.
    pub(super) kept: HashMap<Digest, String>,
}

/// An image whose parts were found.
pub(crate) struct Ready {
    item: Item,
    config: Vec<u8>,
    /// The layers, base first, each with the member that holds it.
    layers: Vec<(Digest, String)>,
    /// Those that still lie aside.
    aside: Vec<(String, Arc<File>, u64)>,
}

/// Finds the parts of an image, and checks that they belong together. Writes nothing.
///
/// # Errors
/// [`Kind::NotFound`] when a part is missing, [`Kind::Invalid`] when config and layers do not belong
/// together.
fn ready(assembly: &Assembly, image: &Image<'_>, before: Option<&Before>) -> Result<Ready> {
    let admitted = Admitted::by_policy(image.root.clone());
    let manifest = ImageManifest::parse(&admitted).map_err(manifest_error)?;
    let config = config(assembly, &manifest.config.digest, before)?;
    let parsed = ImageConfig::parse(&config).map_err(manifest_error)?;
    compare(&manifest, &parsed.rootfs.diff_ids, image.packed)?;
    let (mut layers, mut aside) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for layer in &manifest.layers {
        let digest = layer.digest;
        let kept = before.and_then(|before| before.kept.get(&digest));
        let name = match (assembly.stored(&digest), kept) {
            (Some(stored), _) => {
                let name = layer_name(&digest);
                if let (Place::Aside(file), true) = (stored.place, seen.insert(digest)) {
                    aside.push((name.clone(), file, stored.size));
                }
                name
            }
            (None, Some(name)) => name.clone(),
            (None, None) => return Err(missing(&digest)),
        };
        layers.push((digest, name));
    }
    let item = Item {
        config: format!("{}.json", manifest.config.digest.hex()),
        repo_tags: image.names.iter().map(ToString::to_string).collect(),
        layers: layers.iter().map(|(_, name)| name.clone()).collect(),
        rest: serde_json::Map::new(),
    };
    Ok(Ready {
        item,
        config,
        layers,
        aside,
    })
}

/// Compares the layers of an image with those that its config lists: how many there are, and what is in
/// them, where they are not compressed.
fn compare(manifest: &ImageManifest, diff_ids: &[Digest], packed: bool) -> Result<()> {
    let layers = &manifest.layers;
    if layers.len() != diff_ids.len() {
        let (has, lists) = (layers.len(), diff_ids.len());
        let why = format!("the image has {has} layers, and its config lists {lists}");
        return Err(Error::new(Kind::Invalid, why));
    }
    if packed {
        return Ok(());
    }
    for (number, (layer, diff_id)) in (1..).zip(layers.iter().zip(diff_ids)) {
        let is = layer.digest;
        if is != *diff_id {
            let why =
                format!("layer {number} of the image is `{is}`, and its config lists `{diff_id}`");
            let hint = "make the image again, or keep it as it is, in an `oci-archive:`";
            return Err(Error::new(Kind::Invalid, why).hint(hint));
        }
    }
    Ok(())
}

fn config(assembly: &Assembly, digest: &Digest, before: Option<&Before>) -> Result<Vec<u8>> {
    if let Some(stored) = assembly.stored(digest)
        && let Place::Aside(file) = &stored.place
    {
        if stored.size > ImageConfig::MAX_SIZE as u64 {
            let why = format!("the config has {} bytes", stored.size);
            return Err(Error::new(Kind::Invalid, why));
        }
        let mut bytes = vec![0; usize::try_from(stored.size).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0).map_err(unwritten)?;
        return Ok(bytes);
    }
    let Some((before, name)) = before.and_then(|before| Some((before, before.kept.get(digest)?)))
    else {
        return Err(missing(digest));
    };
    before
        .opened
        .archive
        .read(name, ImageConfig::MAX_SIZE as u64)
}

/// Returns the digest of a part of a file. Blocks.
pub(super) fn digest_of(file: &File, part: Part, algorithm: Algorithm) -> std::io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    copy_bytes(file, part, &mut hasher)?;
    Ok(hasher.finish())
}

fn missing(digest: &Digest) -> Error {
    Error::new(
        Kind::NotFound,
        format!("the archive has no blob `{digest}`"),
    )
}

/// Writes the rest of an archive that holds this image and nothing else, and ends it. Blocks.
pub(crate) fn finish(assembly: &Assembly, image: &Image<'_>) -> Result<()> {
    finish_with(assembly, image, None)
}

/// Writes the rest of an archive that holds this image and what was there before, and ends it.
/// Blocks.
pub(super) fn finish_with(
    assembly: &Assembly,
    image: &Image<'_>,
    before: Option<&Before>,
) -> Result<()> {
    let ready = ready(assembly, image, before)?;
    let mut tail = assembly.close()?;
    write(&mut tail, &ready, image, before).map_err(unwritten)
}

fn write(
    tail: &mut Tail,
    ready: &Ready,
    image: &Image<'_>,
    before: Option<&Before>,
) -> std::io::Result<()> {
    let mut names: HashSet<String> = HashSet::new();
    for (name, file, size) in &ready.aside {
        let part = Part {
            offset: 0,
            size: *size,
        };
        tail.copy(name, 0o444, file, part)?;
    }
    names.extend(ready.layers.iter().map(|(_, name)| name.clone()));
    names.insert(ready.item.config.clone());
    tail.file(&ready.item.config, &ready.config)?;
    let digests: Vec<Digest> = ready.layers.iter().map(|(digest, _)| *digest).collect();
    let folders = legacy::layers(&digests, &ready.config);
    for (folder, (_, layer)) in folders.iter().zip(&ready.layers) {
        let id = &folder.id;
        if !names.insert(format!("{id}/json")) {
            continue;
        }
        names.insert(format!("{id}/layer.tar"));
        names.insert(format!("{id}/VERSION"));
        tail.link(&format!("{id}/layer.tar"), &format!("../{layer}"))?;
        tail.file(&format!("{id}/VERSION"), b"1.0")?;
        tail.file(&format!("{id}/json"), &folder.json)?;
    }
    let mut items = Vec::new();
    let mut repositories = BTreeMap::new();
    if let Some(before) = before {
        items = kept_items(&before.opened, image, &ready.item);
        // Layers that are used again are where they were.
        for name in before.kept.values() {
            names.remove(name);
        }
        keep(tail, &before.opened, &items, &ready.item, &names)?;
        repositories = kept_repositories(&before.opened, &items);
    }
    place(&mut items, ready.item.clone());
    if let Some(top) = folders.last() {
        let tops = image.names.iter().map(|name| (name, top.id.as_str()));
        for (repository, tags) in legacy::repositories(tops) {
            repositories
                .entry(repository)
                .or_insert_with(BTreeMap::new)
                .extend(tags);
        }
    }
    tail.file(MANIFEST, &items::to_bytes(&items))?;
    let repositories = json::to_vec(&repositories).map_err(std::io::Error::other)?;
    tail.file(REPOSITORIES, &repositories)?;
    tail.end()
}

/// Returns the images that stay: a name that moves takes an image with it that has no other.
fn kept_items(before: &Opened, image: &Image<'_>, new: &Item) -> Vec<Item> {
    let mut items = before.items.clone();
    items.retain_mut(|item| {
        let named = !item.repo_tags.is_empty();
        for name in image.names {
            item.lose(name);
        }
        let same = item.config == new.config && item.layers == new.layers;
        same || !named || !item.repo_tags.is_empty()
    });
    items
}

/// Adds an image, or its names where it is there already.
fn place(items: &mut Vec<Item>, new: Item) {
    let same = |item: &&mut Item| item.config == new.config && item.layers == new.layers;
    match items.iter_mut().find(same) {
        Some(item) => item.repo_tags.extend(new.repo_tags),
        None => items.push(new),
    }
}

/// Writes what was there before and is still needed.
fn keep(
    tail: &mut Tail,
    before: &Opened,
    items: &[Item],
    new: &Item,
    written: &HashSet<String>,
) -> std::io::Result<()> {
    let members = &before.archive.members;
    let mut names: Vec<&str> = members.names().collect();
    names.sort_unstable();
    let gone = before.items.iter().filter(|item| {
        let stays = |kept: &Item| kept.config == item.config && kept.layers == item.layers;
        !items.iter().any(stays)
    });
    let dropped = Used::by(gone, members);
    let needed = Used::by(items.iter().chain([new]), members);
    for name in names {
        let listed = matches!(name, MANIFEST | REPOSITORIES | "index.json" | "oci-layout");
        let goes = dropped.has(name) && !needed.has(name);
        if listed || goes || written.contains(name) {
            continue;
        }
        match (members.target(name), members.file(name)) {
            (Some(target), _) => {
                let up = "../".repeat(name.matches('/').count());
                tail.link(name, &format!("{up}{target}"))?;
            }
            (None, Some(part)) => tail.copy(name, 0o444, &before.archive.file, part)?,
            (None, None) => {}
        }
    }
    Ok(())
}

/// The members that some images use: their files, and links that lead to or from them.
struct Used<'a> {
    members: &'a Members,
    files: HashSet<&'a str>,
    behind: HashSet<&'a str>,
}

impl<'a> Used<'a> {
    fn by(items: impl Iterator<Item = &'a Item>, members: &'a Members) -> Self {
        let files = items.flat_map(|item| item.layers.iter().chain([&item.config]));
        let files: HashSet<&str> = files.map(String::as_str).collect();
        Self {
            behind: files
                .iter()
                .filter_map(|name| members.target(name))
                .collect(),
            members,
            files,
        }
    }

    fn has(&self, name: &str) -> bool {
        let target = self.members.target(name);
        self.files.contains(name)
            || self.behind.contains(name)
            || target.is_some_and(|target| self.files.contains(target))
    }
}

/// Returns what `repositories` says of the images that stay.
fn kept_repositories(
    before: &Opened,
    items: &[Item],
) -> BTreeMap<String, BTreeMap<String, String>> {
    let bytes = before.archive.read(REPOSITORIES, MAX_REPOSITORIES);
    let parsed = bytes
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut kept: BTreeMap<String, BTreeMap<String, String>> = parsed.unwrap_or_default();
    for (repository, tags) in &mut kept {
        tags.retain(|tag, _| {
            let name = Reference::parse(&format!("{repository}:{tag}"));
            name.is_ok_and(|name| items.iter().any(|item| item.is_named(&name)))
        });
    }
    kept.retain(|_, tags| !tags.is_empty());
    kept
}

const REPOSITORIES: &str = "repositories";

/// The largest `repositories` that is read, in bytes.
const MAX_REPOSITORIES: u64 = 16 * 1024 * 1024;
