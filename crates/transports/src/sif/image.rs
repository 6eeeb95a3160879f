//! The image that is made of a SIF file: its layer, config and manifest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dhow_model::{Descriptor, Digest, ImageConfig, LayerType, MediaType, RawManifest, json};
use dhow_transport::{Error, Kind, Result};
use serde_json::json;

use super::container::{Container, invalid};
use super::definition::{SCRIPT_PATH, script};
use super::layer::{self, Script};
use super::squashfs::Squashfs;
use crate::file_blob::{Part, place_is_absent};
use crate::manifest_error;

/// An image of one layer.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) root: RawManifest,
    pub(super) config: Bytes,
    pub(super) layer: Descriptor,
    /// The layer's bytes.
    pub(super) file: Arc<File>,
}

/// Makes the image. Blocks.
pub(super) fn make(path: &Path, tmp: &Path) -> Result<Made> {
    let file = File::open(path)
        .map_err(|error| place_is_absent(Error::file("open", path, error), "a SIF file"))?;
    let wrong = |error: io::Error| wrong(path, error);
    let container = Container::read(&file).map_err(wrong)?;
    let definition = container
        .definition
        .map(|part| read_text(&file, part))
        .transpose();
    let script = definition.map_err(wrong)?.as_deref().and_then(script);
    let squashfs = Squashfs::open(&file, container.root).map_err(wrong)?;
    let content = script.as_deref().map(|content| Script {
        content: content.as_bytes(),
        modified: u64::try_from(container.modified).unwrap_or_default(),
    });
    let to = tempfile::tempfile_in(tmp).map_err(|error| Error::file("write into", tmp, error))?;
    let (digest, size) = layer::write(squashfs, content, &to).map_err(|error| match error {
        layer::Problem::Read(error) => wrong(error),
        layer::Problem::Write(error) => Error::file("write into", tmp, error),
    })?;
    let config = config(&container, &digest, script.is_some())?;
    let layer = Descriptor::new(layer_type()?, digest, size);
    Ok(Made {
        root: manifest(&config, &layer)?,
        config: config.into(),
        layer,
        file: Arc::new(to),
    })
}

fn wrong(path: &Path, error: io::Error) -> Error {
    if error.kind() != io::ErrorKind::InvalidData {
        return Error::file("read", path, error);
    }
    let message = format!("`{}` is no SIF file that can be read", path.display());
    let error = Error::new(Kind::Invalid, message).caused_by(error);
    error.hint("name a SIF file with a squashfs in it, as `apptainer build` makes it")
}

fn read_text(file: &File, part: Part) -> io::Result<String> {
    if part.size > MOST_DEFINITION {
        return Err(invalid(format!(
            "the definition file has more than {MOST_DEFINITION} bytes"
        )));
    }
    let mut bytes = vec![0; usize::try_from(part.size).unwrap_or_default()];
    file.read_exact_at(&mut bytes, part.offset)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn layer_type() -> Result<MediaType> {
    let parts = LayerType {
        docker: false,
        foreign: false,
        compression: None,
    };
    let bug = || Error::new(Kind::Bug, "a layer has no media type");
    parts.media_type().ok_or_else(bug)
}

/// COMPAT(skopeo): what the config says, and that the history tells of `bash` also when there is a
/// script.
fn config(container: &Container, diff_id: &Digest, has_script: bool) -> Result<Vec<u8>> {
    let created = jiff::Timestamp::from_second(container.modified).unwrap_or_default();
    let created = created.to_string();
    let command = if has_script { SCRIPT_PATH } else { "bash" };
    let document = json!({
        "created": created,
        "architecture": container.architecture,
        "os": "linux",
        "config": { "Cmd": [command] },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [
            {
                "created": created,
                "created_by": format!("/bin/sh -c #(nop) ADD file:{} in /", diff_id.hex()),
                "comment": format!("imported from SIF, uuid: {}", container.id),
            },
            {
                "created": created,
                "created_by": "/bin/sh -c #(nop) CMD [\"bash\"]",
                "empty_layer": true,
            },
        ],
    });
    let config = ImageConfig::parse(document.to_string().as_bytes()).map_err(manifest_error)?;
    Ok(config.to_oci_json())
}

fn manifest(config: &[u8], layer: &Descriptor) -> Result<RawManifest> {
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST.as_str(),
        "config": Descriptor::of(MediaType::OCI_CONFIG, config),
        "layers": [layer],
    });
    let bytes = json::to_vec(&document)
        .map_err(|error| Error::new(Kind::Bug, "no manifest can be made").caused_by(error))?;
    RawManifest::new(bytes.into(), None).map_err(manifest_error)
}

/// People write these files.
const MOST_DEFINITION: u64 = 1024 * 1024;
