//! Sample images on disk, written without the code under test.

use std::fs;
use std::path::Path;

use dhow_model::{Annotations, Descriptor};
use serde_json::json;

use super::SampleImage;

/// Writes an OCI layout in which each image has its name; an empty name gives an entry without.
pub fn write_layout(path: &Path, images: &[(&str, &SampleImage)]) {
    let blobs = path.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("the test can write here");
    let write = |path: &Path, data: &[u8]| fs::write(path, data).expect("the test can write here");
    let mut entries: Vec<Descriptor> = Vec::new();
    for (name, image) in images {
        for manifest in image.all_manifests() {
            write(&blobs.join(manifest.digest().hex()), manifest.bytes());
        }
        for (descriptor, bytes) in &image.blobs {
            write(&blobs.join(descriptor.digest.hex()), bytes);
        }
        let mut entry = image.root.descriptor();
        if !name.is_empty() {
            entry.annotations.insert(Annotations::REF_NAME, *name);
        }
        entries.push(entry);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    });
    write(&path.join("index.json"), index.to_string().as_bytes());
    write(
        &path.join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    );
}

/// Writes a directory as skopeo's `dir:` has it.
pub fn write_dir(path: &Path, image: &SampleImage) {
    fs::create_dir_all(path).expect("the test can write here");
    let write = |name: &str, data: &[u8]| {
        fs::write(path.join(name), data).expect("the test can write here");
    };
    write("version", b"Directory Transport Version: 1.1\n");
    write("manifest.json", image.root.bytes());
    for manifest in &image.manifests {
        let name = format!("{}.manifest.json", manifest.digest().hex());
        write(&name, manifest.bytes());
    }
    for (descriptor, bytes) in &image.blobs {
        write(&descriptor.digest.hex(), bytes);
    }
}
