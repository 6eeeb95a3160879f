//! Whether what a tool did is what it was told to do: everything arrived, nothing changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use dhow_model::{Descriptor, Digest};
use serde_json::Value;

use super::registry::Registry;
use super::samples::{Sample, TAG};

/// Checks that a repository holds a sample as it was: every manifest and every blob, by its digest.
pub(super) fn registry(
    registry: &Registry,
    repository: &str,
    sample: &Sample,
) -> Result<(), String> {
    let folder = registry.repository(repository);
    let tag = link(&folder.join("_manifests/tags").join(TAG).join("current"))?;
    if tag != sample.root.digest.to_string() {
        return Err(format!("the tag points to {tag}"));
    }
    for manifest in &sample.manifests {
        let hex = manifest.digest.hex();
        link(&folder.join("_manifests/revisions/sha256").join(hex))?;
    }
    for blob in &sample.blobs {
        link(&folder.join("_layers/sha256").join(blob.digest.hex()))?;
    }
    let mut all = sample.manifests.iter().chain(&sample.blobs);
    all.try_for_each(|one| has(&registry.blob(&one.digest.hex()), one))
}

/// Checks that a repository holds an image of the same layers as a sample, however compressed.
pub(super) fn repacked(
    registry: &Registry,
    repository: &str,
    sample: &Sample,
) -> Result<(), String> {
    let folder = registry.repository(repository);
    let tag = link(&folder.join("_manifests/tags").join(TAG).join("current"))?;
    let manifest = json(&registry.blob(hex(&tag)))?;
    let config = manifest["config"]["digest"].as_str().unwrap_or_default();
    of_layers(&json(&registry.blob(hex(config)))?, sample)?;
    let layers = manifest["layers"].as_array().map_or(&[][..], Vec::as_slice);
    if layers.len() != sample.diff_ids.len() {
        return Err(format!("there are {} layers", layers.len()));
    }
    for layer in layers {
        let layer: Descriptor =
            serde_json::from_value(layer.clone()).map_err(|error| error.to_string())?;
        link(&folder.join("_layers/sha256").join(layer.digest.hex()))?;
        has(&registry.blob(&layer.digest.hex()), &layer)?;
    }
    Ok(())
}

/// Checks that an OCI layout holds a sample.
pub(super) fn layout(folder: &Path, sample: &Sample) -> Result<(), String> {
    let index = json(&folder.join("index.json"))?;
    let root = sample.root.digest.to_string();
    let entries = index["manifests"].as_array().map_or(&[][..], Vec::as_slice);
    if !entries.iter().any(|entry| entry["digest"] == root.as_str()) {
        return Err("index.json does not name it".to_owned());
    }
    let mut all = sample.manifests.iter().chain(&sample.blobs);
    let path = |digest: &Digest| folder.join("blobs/sha256").join(digest.hex());
    all.try_for_each(|one| has(&path(&one.digest), one))
}

/// Checks that a directory of skopeo's `dir:` holds a sample.
pub(super) fn directory(folder: &Path, sample: &Sample) -> Result<(), String> {
    let manifest = read(&folder.join("manifest.json"))?;
    if !sample.root.digest.matches(&manifest) {
        return Err("manifest.json has another digest".to_owned());
    }
    let mut blobs = sample.blobs.iter();
    blobs.try_for_each(|blob| has(&folder.join(blob.digest.hex()), blob))
}

/// Checks that an archive for `docker load` holds a sample, its layers compressed or not.
pub(super) fn archive(path: &Path, sample: &Sample) -> Result<(), String> {
    let wrap = |error: std::io::Error| format!("the archive: {error}");
    let mut members = BTreeMap::new();
    let mut documents = BTreeMap::new();
    let mut archive = tar::Archive::new(File::open(path).map_err(wrap)?);
    for entry in archive.entries_with_seek().map_err(wrap)? {
        let mut entry = entry.map_err(wrap)?;
        let name = entry.path().map_err(wrap)?.display().to_string();
        if entry.size() < DOCUMENT {
            let mut data = Vec::new();
            entry.read_to_end(&mut data).map_err(wrap)?;
            documents.insert(name.clone(), data);
        }
        // A link stands for a layer that is there already.
        members.insert(
            name,
            entry.size() > 0 || !entry.header().entry_type().is_file(),
        );
    }
    let document = |name: &str| -> Result<Value, String> {
        let data = documents
            .get(name)
            .ok_or_else(|| format!("{name} is missing"))?;
        serde_json::from_slice(data).map_err(|error| format!("{name}: {error}"))
    };
    let image = &document("manifest.json")?[0];
    of_layers(
        &document(image["Config"].as_str().unwrap_or_default())?,
        sample,
    )?;
    let layers = image["Layers"].as_array().map_or(&[][..], Vec::as_slice);
    let names = layers.iter().filter_map(Value::as_str);
    let there = names
        .filter(|name| members.get(*name) == Some(&true))
        .count();
    if there == sample.diff_ids.len() {
        return Ok(());
    }
    Err(format!(
        "{there} of {} layers are there",
        sample.diff_ids.len()
    ))
}

/// Checks that a tool showed a manifest as it is, but for a line feed at its end.
pub(super) fn shown(output: &Path, sample: &Sample) -> Result<(), String> {
    let shown = read(output)?;
    let digest = &sample.root.digest;
    if digest.matches(&shown) || digest.matches(shown.trim_ascii_end()) {
        return Ok(());
    }
    Err("another manifest was shown".to_owned())
}

/// Checks that a tool's output has all the words.
pub(super) fn said(output: &Path, words: &[String]) -> Result<(), String> {
    let said = String::from_utf8_lossy(&read(output)?).to_lowercase();
    match words.iter().find(|word| !said.contains(word.as_str())) {
        Some(word) => Err(format!("`{word}` was not shown")),
        None if said.is_empty() => Err("nothing was shown".to_owned()),
        None => Ok(()),
    }
}

/// Checks that a config is that of an image with a sample's layers.
fn of_layers(config: &Value, sample: &Sample) -> Result<(), String> {
    let wanted: Vec<Value> = sample
        .diff_ids
        .iter()
        .map(|id| id.to_string().into())
        .collect();
    if config["rootfs"]["diff_ids"] == Value::Array(wanted) {
        return Ok(());
    }
    Err("the config names other layers".to_owned())
}

/// Checks the size of a file that must be there.
fn has(path: &Path, wanted: &Descriptor) -> Result<(), String> {
    match path.metadata() {
        Ok(metadata) if metadata.len() == wanted.size => Ok(()),
        Ok(metadata) => Err(format!("{} has {} bytes", wanted.digest, metadata.len())),
        Err(_) => Err(format!("{} is missing", wanted.digest)),
    }
}

/// Returns the digest that a link of the registry's storage holds.
fn link(folder: &Path) -> Result<String, String> {
    let text = read(&folder.join("link"))?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

fn hex(digest: &str) -> &str {
    digest.split_once(':').map_or(digest, |(_, hex)| hex)
}

fn json(path: &Path) -> Result<Value, String> {
    serde_json::from_slice(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let name = path.file_name().unwrap_or_default().display().to_string();
    fs::read(path).map_err(|_| {
        let folder = path.parent().and_then(Path::file_name);
        format!("{}/{name} is missing", folder.unwrap_or_default().display())
    })
}

/// Members of an archive below this size in bytes may be JSON.
const DOCUMENT: u64 = 100_000;
