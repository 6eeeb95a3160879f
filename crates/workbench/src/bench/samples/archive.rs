//! An archive as `docker save` writes it, its layers not compressed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use dhow_model::Digest;
use dhow_testkit::image::tar_header;
use serde_json::json;

use super::{Layer, TAG};

/// Writes the archive of an image with this config.
pub(super) fn write(
    path: &Path,
    name: &str,
    config: &[u8],
    layers: &[&Layer],
) -> Result<(), String> {
    File::create(path)
        .and_then(|file| write_to(&mut BufWriter::new(file), name, config, layers))
        .map_err(|error| format!("cannot write the sample {}: {error}", path.display()))
}

fn write_to(out: &mut impl Write, name: &str, config: &[u8], layers: &[&Layer]) -> io::Result<()> {
    let config_name = format!("{}.json", Digest::sha256(config).hex());
    let layer_name = |layer: &Layer| format!("{}.tar", layer.diff_id.hex());
    let names: Vec<String> = layers.iter().map(|layer| layer_name(layer)).collect();
    for (layer, name) in layers.iter().zip(&names) {
        let size = usize::try_from(layer.unpacked_size).map_err(io::Error::other)?;
        out.write_all(&tar_header(name, size))?;
        layer.write_unpacked(out)?;
    }
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": [format!("bench/{name}:{TAG}")],
        "Layers": names,
    }]);
    file(out, &config_name, config)?;
    file(out, "manifest.json", manifest.to_string().as_bytes())?;
    out.write_all(&[0; 2 * BLOCK])?;
    out.flush()
}

fn file(out: &mut impl Write, name: &str, data: &[u8]) -> io::Result<()> {
    out.write_all(&tar_header(name, data.len()))?;
    out.write_all(data)?;
    out.write_all(&[0; BLOCK][..data.len().next_multiple_of(BLOCK) - data.len()])
}

/// Files in a tar archive begin at multiples of this, in bytes.
const BLOCK: usize = 512;
