//! Images in archives: written, looked at, and compared.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use dhow_model::{Admitted, Descriptor, ImageManifest, Reference};
use dhow_testkit::conformance::{content, store, want};
use dhow_testkit::image::{ImageSpec, SampleImage};
use dhow_transport::{Blob, ByteRange, Coming, ComingLayer, Location, Sink, Transport as _};
use dhow_transports::docker_archive::DockerArchive;
use futures_util::TryStreamExt as _;

pub(crate) fn at(path: &Path, rest: &str, tags: &[&str]) -> Arc<dyn Location> {
    let tags = tags.iter().map(|tag| Reference::parse(tag).unwrap());
    let transport = DockerArchive::new(std::env::temp_dir(), tags.collect());
    let name = format!("{}{rest}", path.display());
    transport.parse(&name).unwrap()
}

pub(crate) fn sample(seed: u64, layers: usize) -> SampleImage {
    ImageSpec::docker2(seed)
        .layers(layers)
        .uncompressed()
        .build()
}

pub(crate) async fn write(path: &Path, rest: &str, image: &SampleImage) {
    let sink = at(path, rest, &[]).sink().await.unwrap();
    store(&*sink, image).await.unwrap();
}

pub(crate) fn view(image: &SampleImage) -> ImageManifest {
    ImageManifest::parse(&Admitted::by_policy(image.root.clone())).unwrap()
}

/// Asserts that a name in the archive stands for this image, byte for byte.
pub(crate) async fn assert_holds(path: &Path, rest: &str, image: &SampleImage) {
    let source = at(path, rest, &[]).source().await.unwrap();
    let root = source.root().await.unwrap();
    let made = ImageManifest::parse(&Admitted::by_policy(root)).unwrap();
    let held = source.held_layers(&made).await.unwrap().unwrap();
    assert_eq!(held, view(image).layers);
    assert_eq!(made.config.digest, view(image).config.digest);
    for (blob, bytes) in &image.blobs {
        assert_eq!(
            content(&*source, blob, ByteRange::All).await.unwrap(),
            *bytes
        );
    }
}

pub(crate) async fn tags(path: &Path) -> Vec<String> {
    let location = at(path, "", &[]);
    let tags = location.catalog().unwrap().tags();
    tags.try_collect().await.unwrap()
}

/// The members of a tar file: name, mode, owner, time, type, content or target.
pub(crate) fn members(path: &Path) -> Vec<(String, u32, u64, u64, u8, Vec<u8>)> {
    let mut archive = tar::Archive::new(File::open(path).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if let Some(target) = entry.link_name_bytes() {
            content = target.into_owned();
        }
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        (
            name,
            header.mode().unwrap(),
            header.uid().unwrap() + header.gid().unwrap(),
            header.mtime().unwrap(),
            header.entry_type().as_byte(),
            content,
        )
    });
    entries.collect()
}

/// What the engine says beforehand of an image.
pub(crate) fn coming(layers: &[Descriptor]) -> Coming {
    let layers = layers.iter().enumerate().map(|(index, layer)| ComingLayer {
        index,
        digest: layer.digest,
        size: Some(layer.size),
    });
    Coming {
        layers: layers.collect(),
        config: None,
        ..Coming::default()
    }
}

/// Puts what comes behind the layers.
pub(crate) async fn finish(sink: &dyn Sink, image: &SampleImage) {
    let (config, bytes) = &image.blobs[0];
    sink.put_blob(&want(config), Blob::from_bytes(bytes.clone()))
        .await
        .unwrap();
    sink.commit(&image.root).await.unwrap();
}
