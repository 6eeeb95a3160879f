//! Converting image manifests between OCI and Docker schema 2 (skopeo's `internal/image`).

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::layer::layer_type;
use super::{ConvertError, edit};
use crate::{
    Annotations, Descriptor, Digest, ImageConfig, ImageManifest, ManifestError, ManifestKind,
    MediaType, RawManifest,
};

/// What a conversion gives.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The manifest to store.
    pub manifest: RawManifest,
    /// The config to store in place of the old one, if it had to change.
    pub config: Option<Bytes>,
}

/// Returns `raw`, of which `image` is the view, as a manifest of kind `to` with `layers`: the
/// image's layers as they are at the destination, in the same order.
///
/// With the same kind and equal layers these are the same bytes. With the same kind only the
/// layers that differ are edited. A layer's type may be given in either family.
///
/// # Errors
/// When there is no such conversion: see [`ConvertError`].
pub fn image(
    raw: &RawManifest,
    image: &ImageManifest,
    config: &[u8],
    layers: &[Descriptor],
    to: ManifestKind,
) -> Result<Converted, ConvertError> {
    if layers.len() != image.layers.len() {
        return Err(ConvertError::LayerCount {
            expected: image.layers.len(),
            actual: layers.len(),
        });
    }
    if to == image.kind {
        let manifest = if layers == image.layers {
            raw.clone()
        } else {
            with_layers(raw, image, layers)?
        };
        return Ok(Converted {
            manifest,
            config: None,
        });
    }
    require_convertible(image, to)?;
    let typed = layers
        .iter()
        .map(|layer| {
            Ok(Descriptor {
                media_type: layer_type(&layer.media_type, to)?,
                ..layer.clone()
            })
        })
        .collect::<Result<Vec<_>, ConvertError>>()?;
    match to {
        ManifestKind::OciManifest => to_oci(config, &typed),
        _ => to_docker(image, &typed),
    }
}

/// Returns whether [`image`] could convert `image` with layers of these types, without the bytes.
///
/// # Errors
/// What the conversion would give.
pub fn check<'a>(
    image: &ImageManifest,
    layers: impl IntoIterator<Item = &'a MediaType>,
    to: ManifestKind,
) -> Result<(), ConvertError> {
    if to == image.kind {
        return Ok(());
    }
    if to.is_docker1() {
        // Schema 1 names no types: what Docker's other format can hold, it can.
        require_convertible(image, ManifestKind::Docker2Manifest)?;
    } else {
        require_convertible(image, to)?;
    }
    layers
        .into_iter()
        .try_for_each(|layer| layer_type(layer, to).map(drop))
}

fn require_convertible(image: &ImageManifest, to: ManifestKind) -> Result<(), ConvertError> {
    if !matches!(
        to,
        ManifestKind::OciManifest | ManifestKind::Docker2Manifest
    ) {
        return Err(ConvertError::Unsupported {
            from: image.kind,
            to,
        });
    }
    if !image.has_image_config() {
        return Err(ConvertError::Artifact(image.config.media_type.clone()));
    }
    Ok(())
}

fn with_layers(
    raw: &RawManifest,
    image: &ImageManifest,
    layers: &[Descriptor],
) -> Result<RawManifest, ConvertError> {
    let mut document = edit::tree(raw)?;
    let objects = edit::list(&mut document, "layers")?;
    for ((object, old), new) in objects.iter_mut().zip(&image.layers).zip(layers) {
        if old == new {
            continue;
        }
        // A type of the other family is put right; one that is unknown stays as it was given.
        let media_type = layer_type(&new.media_type, image.kind);
        let media_type = match media_type {
            Err(ConvertError::UnknownLayer(media_type)) => media_type,
            media_type => media_type?,
        };
        let new = Descriptor {
            media_type,
            ..new.clone()
        };
        if let Value::Object(object) = object {
            edit::patch(object, old, &new)?;
        }
    }
    Ok(edit::manifest(&document, image.kind)?)
}

fn to_oci(config: &[u8], layers: &[Descriptor]) -> Result<Converted, ConvertError> {
    let config = ImageConfig::parse(config)?.to_oci_json();
    let document = OciDocument {
        schema_version: 2,
        media_type: MediaType::OCI_MANIFEST,
        config: Descriptor::of(MediaType::OCI_CONFIG, &config),
        layers: layers.iter().map(oci_descriptor).collect(),
    };
    Ok(Converted {
        manifest: edit::manifest(&document, ManifestKind::OciManifest)?,
        config: Some(config.into()),
    })
}

fn to_docker(image: &ImageManifest, layers: &[Descriptor]) -> Result<Converted, ConvertError> {
    let config = Descriptor {
        media_type: MediaType::DOCKER2_CONFIG,
        ..image.config.clone()
    };
    // The config's bytes serve both families; only its type has another name.
    Ok(Converted {
        manifest: docker2_manifest(&config, layers)?,
        config: None,
    })
}

/// Returns a Docker schema 2 manifest, as containers/image writes it.
///
/// # Errors
/// When the manifest is larger than any may be.
pub fn docker2_manifest<'a>(
    config: &'a Descriptor,
    layers: impl IntoIterator<Item = &'a Descriptor>,
) -> Result<RawManifest, ManifestError> {
    let document = DockerDocument {
        schema_version: 2,
        media_type: MediaType::DOCKER2_MANIFEST,
        config: DockerDescriptor::of(config),
        layers: layers.into_iter().map(DockerDescriptor::of).collect(),
    };
    edit::manifest(&document, ManifestKind::Docker2Manifest)
}

/// Returns the descriptor as Go writes it, where a map's keys are sorted.
pub(super) fn oci_descriptor(descriptor: &Descriptor) -> Descriptor {
    let mut pairs: Vec<_> = descriptor.annotations.iter().collect();
    pairs.sort_unstable();
    let annotations: Annotations = pairs.into_iter().collect();
    Descriptor {
        annotations,
        ..descriptor.clone()
    }
}

/// The order in which containers/image writes an OCI manifest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OciDocument {
    schema_version: u8,
    media_type: MediaType,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DockerDocument<'a> {
    schema_version: u8,
    media_type: MediaType,
    config: DockerDescriptor<'a>,
    layers: Vec<DockerDescriptor<'a>>,
}

/// The fields that a Docker descriptor has, in the order in which containers/image writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DockerDescriptor<'a> {
    media_type: MediaType,
    size: u64,
    digest: Digest,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    urls: &'a [String],
}

impl<'a> DockerDescriptor<'a> {
    pub(super) fn of(descriptor: &'a Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type.clone(),
            size: descriptor.size,
            digest: descriptor.digest,
            urls: &descriptor.urls,
        }
    }
}
