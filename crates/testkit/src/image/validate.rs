//! Checks of what is on disk: every digest recomputed, every link followed, nothing left over.
//!
//! This reads the formats on its own, so that a mistake in the code under test cannot hide here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use dhow_model::{
    Admitted, Algorithm, Annotations, Descriptor, Digest, ImageManifest, Index, MediaType,
    RawManifest,
};

/// What a valid layout holds.
#[derive(Clone, Debug)]
pub struct LayoutContent {
    /// The entries of `index.json` in order.
    pub entries: Vec<Descriptor>,
    /// Their names, of those that have one, in order.
    pub names: Vec<String>,
    /// The digests of all blobs.
    pub blobs: BTreeSet<Digest>,
}

/// Checks an OCI layout whose blobs are its own.
///
/// # Errors
/// One line that says what is wrong with which file.
pub fn validate_layout(path: &Path) -> Result<LayoutContent, String> {
    for file in files(path)? {
        if !matches!(file.as_str(), "index.json" | "oci-layout" | "blobs") {
            return Err(format!("{}/{file} does not belong here", path.display()));
        }
    }
    let marker: serde_json::Value = serde_json::from_slice(&read(&path.join("oci-layout"))?)
        .map_err(|error| format!("oci-layout: {error}"))?;
    if marker != serde_json::json!({ "imageLayoutVersion": "1.0.0" }) {
        return Err(format!("`oci-layout` says {marker}"));
    }
    let mut blobs = BTreeSet::new();
    let folders = files(&path.join("blobs"))?;
    // Partial blobs lie beside the folders: files of that kind are no part of the layout.
    for algorithm in folders.iter().filter(|name| !name.starts_with(PARTIAL)) {
        for hex in files(&path.join("blobs").join(algorithm))? {
            let digest = Digest::parse(&format!("{algorithm}:{hex}"))
                .map_err(|error| format!("in blobs: {error}"))?;
            let file = path.join("blobs").join(algorithm).join(&hex);
            if !digest.matches(&read(&file)?) {
                return Err(format!("blob {digest} has another digest"));
            }
            blobs.insert(digest);
        }
    }
    let index = read(&path.join("index.json"))?;
    let index = RawManifest::new(index, Some(&MediaType::OCI_INDEX))
        .and_then(|raw| Index::parse(&raw))
        .map_err(|error| format!("index.json: {error}"))?;
    let content = LayoutContent {
        names: index
            .entries
            .iter()
            .filter_map(|entry| entry.annotations.value(Annotations::REF_NAME))
            .map(str::to_owned)
            .collect(),
        entries: index.entries,
        blobs,
    };
    let blob = |digest: &Digest, _: Role| {
        let hex = digest.hex();
        read(&path.join("blobs").join(digest.algorithm().name()).join(hex))
    };
    for entry in &content.entries {
        follow(entry, &blob)?;
    }
    Ok(content)
}

/// Checks a directory of skopeo's `dir:` and returns the digest of its root.
///
/// # Errors
/// One line that says what is wrong with which file.
pub fn validate_dir(path: &Path) -> Result<Digest, String> {
    if read(&path.join("version"))? != b"Directory Transport Version: 1.1\n".as_slice() {
        return Err("`version` says something else".to_owned());
    }
    for file in files(path)? {
        if matches!(file.as_str(), "version" | "manifest.json") {
            continue;
        }
        let hex = file.strip_suffix(".manifest.json").unwrap_or(&file);
        let digest = [Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .find_map(|algorithm| Digest::from_hex(algorithm, hex))
            .ok_or_else(|| format!("{}/{file} does not belong here", path.display()))?;
        if !digest.matches(&read(&path.join(&file))?) {
            return Err(format!("`{file}` has another digest"));
        }
    }
    let root = RawManifest::new(read(&path.join("manifest.json"))?, None)
        .map_err(|error| format!("manifest.json: {error}"))?;
    follow(&root.descriptor(), &|digest, role| {
        let hex = digest.hex();
        match role {
            Role::Manifest if *digest == root.digest() => Ok(root.bytes().clone()),
            Role::Manifest => read(&path.join(format!("{hex}.manifest.json"))),
            Role::Blob => read(&path.join(hex)),
        }
    })?;
    Ok(root.digest())
}

#[derive(Clone, Copy)]
enum Role {
    Manifest,
    Blob,
}

/// Checks that everything a manifest lists is there with its size.
fn follow(
    entry: &Descriptor,
    content: &impl Fn(&Digest, Role) -> Result<Bytes, String>,
) -> Result<(), String> {
    let of_size = |bytes: Bytes, wanted: &Descriptor| {
        if bytes.len() as u64 == wanted.size {
            Ok(bytes)
        } else {
            Err(format!("{} is not {} bytes", wanted.digest, wanted.size))
        }
    };
    let bytes = of_size(content(&entry.digest, Role::Manifest)?, entry)?;
    let raw = RawManifest::verified(bytes, Some(&entry.media_type), &entry.digest)
        .map_err(|error| format!("{}: {error}", entry.digest))?;
    if let Ok(index) = Index::parse(&raw) {
        return index
            .entries
            .iter()
            .try_for_each(|entry| follow(entry, content));
    }
    let image = ImageManifest::parse(&Admitted::by_policy(raw))
        .map_err(|error| format!("{}: {error}", entry.digest))?;
    for blob in image.blobs() {
        match content(&blob.digest, Role::Blob) {
            Ok(bytes) => drop(of_size(bytes, blob)?),
            Err(_) if !blob.urls.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn files(path: &Path) -> Result<Vec<String>, String> {
    let wrap = |error| format!("{}: {error}", path.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(wrap)? {
        let name = entry.map_err(wrap)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<Bytes, String> {
    fs::read(path)
        .map(Bytes::from)
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// How the names of partial blobs begin.
const PARTIAL: &str = ".dhow-partial-";
