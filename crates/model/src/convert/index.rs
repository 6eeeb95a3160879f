//! Editing indexes and converting between OCI indexes and Docker manifest lists (skopeo's
//! `internal/manifest`).

use serde::Serialize;
use serde_json::Value;

use super::image::{DockerDescriptor, oci_descriptor};
use super::{ConvertError, edit};
use crate::{Descriptor, Index, ManifestKind, MediaType, Platform, RawManifest};

/// Returns the index `raw` as one of kind `to` that lists `entries`: each one that `raw` lists,
/// or such a one with another digest, size, type or annotations, in the order of `raw`. Entries
/// that are left out are stripped.
///
/// With the same kind and entries these are the same bytes. With the same kind it is an edit that
/// keeps unknown fields.
///
/// # Errors
/// When `to` is no kind of index, or `raw` is malformed.
pub fn index(
    raw: &RawManifest,
    entries: &[Descriptor],
    to: ManifestKind,
) -> Result<RawManifest, ConvertError> {
    let old = Index::parse(raw)?;
    if to != old.kind {
        return converted(entries, old.kind, to);
    }
    if entries == old.entries {
        return Ok(raw.clone());
    }
    let mut document = edit::tree(raw)?;
    let objects = edit::list(&mut document, "manifests")?;
    let mut edited = Vec::with_capacity(entries.len());
    for (entry, origin) in entries.iter().zip(origins(&old.entries, entries)) {
        let origin = origin.and_then(|at| Some((objects.get(at)?.as_object()?, &old.entries[at])));
        edited.push(match origin {
            Some((object, old)) => {
                let mut object = object.clone();
                edit::patch(&mut object, old, entry)?;
                Value::Object(object)
            }
            None => edit::fresh(entry)?,
        });
    }
    *objects = edited;
    Ok(edit::manifest(&document, to)?)
}

/// Returns, for each new entry, the position of the old one that it comes from.
fn origins(old: &[Descriptor], new: &[Descriptor]) -> Vec<Option<usize>> {
    if old.len() == new.len() {
        return (0..old.len()).map(Some).collect();
    }
    let mut next = 0;
    let mut origin_of = |entry: &Descriptor| {
        let same = |at: &usize| old[*at].digest == entry.digest;
        let changed = |at: &usize| {
            old[*at].platform == entry.platform
                && !new.iter().any(|other| other.digest == old[*at].digest)
        };
        let at = (next..old.len())
            .find(same)
            .or_else(|| (next..old.len()).find(changed))?;
        next = at + 1;
        Some(at)
    };
    new.iter().map(&mut origin_of).collect()
}

fn converted(
    entries: &[Descriptor],
    from: ManifestKind,
    to: ManifestKind,
) -> Result<RawManifest, ConvertError> {
    match to {
        ManifestKind::OciIndex => {
            let document = OciDocument {
                schema_version: 2,
                media_type: MediaType::OCI_INDEX,
                manifests: entries.iter().map(oci_descriptor).collect(),
            };
            Ok(edit::manifest(&document, to)?)
        }
        ManifestKind::Docker2List => {
            let document = DockerDocument {
                schema_version: 2,
                media_type: MediaType::DOCKER2_LIST,
                manifests: entries.iter().map(DockerEntry::of).collect(),
            };
            Ok(edit::manifest(&document, to)?)
        }
        _ => Err(ConvertError::Unsupported { from, to }),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OciDocument {
    schema_version: u8,
    media_type: MediaType,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DockerDocument<'a> {
    schema_version: u8,
    media_type: MediaType,
    manifests: Vec<DockerEntry<'a>>,
}

#[derive(Serialize)]
struct DockerEntry<'a> {
    #[serde(flatten)]
    descriptor: DockerDescriptor<'a>,
    platform: Platform,
}

impl<'a> DockerEntry<'a> {
    fn of(entry: &'a Descriptor) -> Self {
        // COMPAT(skopeo): a Docker list must name a platform; an entry without one gets that of
        // the machine (`internal/manifest/oci_index.go`).
        let platform = entry.platform.clone().unwrap_or_else(|| Platform {
            os: host_os().to_owned(),
            architecture: host_architecture().to_owned(),
            ..Platform::default()
        });
        Self {
            descriptor: DockerDescriptor::of(entry),
            platform,
        }
    }
}

/// Returns Go's name of the operating system this was built for.
fn host_os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    }
}

/// Returns Go's name of the architecture this was built for.
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        architecture => architecture,
    }
}
