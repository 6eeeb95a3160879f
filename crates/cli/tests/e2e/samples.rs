//! Images to copy.

use std::path::Path;

use dhow_model::Digest;
use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage, tar_header, write_layout};

use crate::dhow::Desk;

/// The platforms of the indexes of these tests; the first is that of every machine they run on.
pub(crate) const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64/v8"];

/// The repositories and tags of the walkthrough with their images: CentOS for two platforms, RHEL
/// as a single Docker schema 2 image.
pub(crate) fn walkthrough() -> Vec<(&'static str, &'static str, SampleImage)> {
    vec![
        ("library/centos", "7", IndexSpec::oci(7, &PLATFORMS).build()),
        (
            "library/centos",
            "7.5.1804",
            IndexSpec::oci(1804, &PLATFORMS).build(),
        ),
        (
            "library/centos",
            "7.4.1708",
            IndexSpec::oci(1708, &PLATFORMS).build(),
        ),
        ("rhel7", "7.5", ImageSpec::oci(75).layers(3).build()),
    ]
}

/// Writes the images into a layout and lets dhow push them, all platforms, to an open registry.
pub(crate) fn publish(
    desk: &Desk,
    registry: &str,
    images: &[(&str, &str, SampleImage)],
    flags: &[&str],
) {
    for (number, (repository, tag, image)) in images.iter().enumerate() {
        let name = format!("sample-{number}");
        write_layout(&desk.path(&name), &[("image", image)]);
        let mut arguments = vec!["copy".to_owned(), "--all".to_owned()];
        arguments.extend(flags.iter().map(|&flag| flag.to_owned()));
        arguments.push(format!("oci:./{name}:image"));
        arguments.push(format!("docker://{registry}/{repository}:{tag}"));
        desk.dhow(&arguments).ok();
        std::fs::remove_dir_all(desk.path(&name)).unwrap();
    }
}

/// Writes a layout with one image named `image` whose one layer has one file of `mebibytes`,
/// without holding it in memory, and returns the digest of the manifest.
pub(crate) fn large_layout(path: &Path, mebibytes: usize) -> Digest {
    use std::io::Write as _;
    let blobs = path.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let piece = dhow_testkit::image::noise(1, 1024 * 1024);
    let mut hasher = dhow_model::Hasher::new(dhow_model::Algorithm::Sha256);
    let mut file = std::fs::File::create(blobs.join("layer")).unwrap();
    let header = tar_header("large", mebibytes * piece.len());
    let end = [0; 1024];
    let content = std::iter::repeat_n(&piece[..], mebibytes);
    let mut size = 0;
    for bytes in [&header[..]].into_iter().chain(content).chain([&end[..]]) {
        hasher.update(bytes);
        file.write_all(bytes).unwrap();
        size += bytes.len();
    }
    let layer = hasher.finish();
    std::fs::rename(blobs.join("layer"), blobs.join(layer.hex())).unwrap();

    let put = |bytes: &[u8]| {
        let digest = Digest::sha256(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        digest
    };
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.to_string()]},
    });
    let config = config.to_string();
    let config_digest = put(config.as_bytes());
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config_digest.to_string(), "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer.to_string(), "size": size,
        }],
    });
    let manifest = manifest.to_string();
    let digest = put(manifest.as_bytes());
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest.to_string(), "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": "image"},
        }],
    });
    std::fs::write(path.join("index.json"), index.to_string()).unwrap();
    std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    digest
}
