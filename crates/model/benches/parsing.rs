//! Parsing what comes from users and from registries.

use bytes::Bytes;
use dhow_model::{
    Admitted, Descriptor, Digest, ImageManifest, Index, MediaType, RawManifest, Reference,
};
use divan::{AllocProfiler, Bencher, black_box};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(args = [
    "centos:7",
    "quay.io/podman/stable:v5.3.1",
    "registry.example.com:5000/team/project/image@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
])]
fn reference(text: &str) -> Reference {
    Reference::parse(black_box(text)).expect("this is a reference")
}

#[divan::bench]
fn digest() -> Digest {
    Digest::parse(black_box(DIGEST)).expect("this is a digest")
}

/// With as many layers as the argument says.
#[divan::bench(args = [1, 10, 100])]
fn manifest(bencher: Bencher<'_, '_>, layers: usize) {
    let layers = vec![descriptor(MediaType::OCI_LAYER_GZIP); layers];
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST.as_str(),
        "config": descriptor(MediaType::OCI_CONFIG),
        "layers": layers,
    });
    let raw = Admitted::by_policy(raw(&document, &MediaType::OCI_MANIFEST));
    bencher.bench_local(|| ImageManifest::parse(black_box(&raw)).expect("this is a manifest"));
}

/// With as many images as the argument says.
#[divan::bench(args = [1, 10, 100])]
fn index(bencher: Bencher<'_, '_>, images: usize) {
    let mut entry = json!(descriptor(MediaType::OCI_MANIFEST));
    entry["platform"] = json!({ "architecture": "arm", "os": "linux", "variant": "v7" });
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX.as_str(),
        "manifests": vec![entry; images],
    });
    let raw = raw(&document, &MediaType::OCI_INDEX);
    bencher.bench_local(|| Index::parse(black_box(&raw)).expect("this is an index"));
}

/// The bytes of a manifest with ten layers: hashed, and looked at for what they are.
#[divan::bench]
fn raw_manifest(bencher: Bencher<'_, '_>) {
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST.as_str(),
        "config": descriptor(MediaType::OCI_CONFIG),
        "layers": vec![descriptor(MediaType::OCI_LAYER_GZIP); 10],
    });
    let bytes = Bytes::from(document.to_string());
    let claimed = Some(MediaType::OCI_MANIFEST);
    bencher.bench_local(|| RawManifest::new(black_box(&bytes).clone(), claimed.as_ref()));
}

fn raw(document: &serde_json::Value, media_type: &MediaType) -> RawManifest {
    RawManifest::new(Bytes::from(document.to_string()), Some(media_type))
        .expect("this is a manifest of its kind")
}

fn descriptor(media_type: MediaType) -> Descriptor {
    let digest = Digest::parse(DIGEST).expect("this is a digest");
    Descriptor::new(media_type, digest, 12_345_678)
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
