//! Docker schema 1 images, unsigned: what registries of 2014 gave away.

use bytes::Bytes;
use dhow_model::{Descriptor, Digest, ManifestKind, MediaType};
use serde_json::json;

use super::{SampleImage, gzip, manifest, noise, tar};

/// Returns a schema 1 image with so many layers of files, and after each of them a step that changed
/// none. The blobs do not say what they are: nobody does in schema 1.
pub fn docker1(seed: u64, layers: usize) -> SampleImage {
    let empty = gzip(&[0; 1024]);
    let empty = (descriptor(&empty), Bytes::from(empty));
    let (mut fs_layers, mut history, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
    let mut parent: Option<String> = None;
    for number in 0..layers {
        let name = format!("data/layer-{number}");
        let content = noise(seed.wrapping_add(number as u64), 2048);
        let packed = gzip(&tar::archive(&[(name, content.as_slice())]));
        let layer = (descriptor(&packed), Bytes::from(packed));
        for (blob, throwaway) in [(&layer, false), (&empty, true)] {
            let id = Digest::sha256(format!("{seed} {number} {throwaway}").as_bytes()).hex();
            let mut step = json!({
                "id": id,
                "created": "2015-05-06T07:08:09Z",
                "container_config": { "Cmd": [format!("/bin/sh -c #(nop) step {number}")] },
                "architecture": "amd64",
                "os": "linux",
                "docker_version": "1.9.1",
                "config": { "Env": ["PATH=/bin"], "Cmd": ["/bin/sh"] },
            });
            if let Some(parent) = parent.replace(id) {
                step["parent"] = json!(parent);
            }
            if throwaway {
                step["throwaway"] = json!(true);
            }
            fs_layers.insert(0, json!({ "blobSum": blob.0.digest }));
            history.insert(0, json!({ "v1Compatibility": step.to_string() }));
        }
        blobs.push(layer);
    }
    blobs.push(empty);
    let document = json!({
        "schemaVersion": 1,
        "name": "library/old",
        "tag": "latest",
        "architecture": "amd64",
        "fsLayers": fs_layers,
        "history": history,
    });
    SampleImage {
        root: manifest(&document, ManifestKind::Docker1),
        manifests: Vec::new(),
        blobs,
    }
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::of(MediaType::OCTET_STREAM, bytes)
}
