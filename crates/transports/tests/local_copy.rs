//! Blobs that go from one file of this machine to another.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use dhow_model::{Admitted, Descriptor, ImageManifest};
use dhow_testkit::conformance::{content, store, want};
use dhow_testkit::image::{ImageSpec, SampleImage, validate_layout, write_dir, write_layout};
use dhow_transport::{Blob, Body, ByteRange, How, Kind, Location, Sink, Source, Transport};
use dhow_transports::{dir, docker_archive, oci, oci_archive};
use futures_util::StreamExt as _;

fn located(transport: &dyn Transport, path: &Path) -> Arc<dyn Location> {
    let parsed = transport.parse(&format!("{}:v1", path.display()));
    parsed.expect("the test names a place")
}

fn layout(path: &Path) -> Arc<dyn Location> {
    located(&oci::Oci::new(None), path)
}

fn directory(path: &Path) -> Arc<dyn Location> {
    let parsed = dir::Dir::new().parse(&path.display().to_string());
    parsed.expect("the test names a place")
}

fn image() -> SampleImage {
    ImageSpec::oci(1).layer_size(2_500_000).build()
}

struct Fixture {
    place: tempfile::TempDir,
    image: SampleImage,
    source: Arc<dyn Source>,
    sink: Arc<dyn Sink>,
}

/// An image in one layout, and an empty one beside it.
async fn fixture() -> Fixture {
    let place = tempfile::tempdir().expect("there is a place for files");
    let image = image();
    write_layout(&place.path().join("from"), &[("v1", &image)]);
    let source = layout(&place.path().join("from")).source().await;
    let sink = layout(&place.path().join("to")).sink().await;
    Fixture {
        image,
        source: source.expect("the image is there"),
        sink: sink.expect("the place opens"),
        place,
    }
}

impl Fixture {
    fn layer(&self) -> (&Descriptor, &Bytes) {
        let (descriptor, bytes) = &self.image.blobs[1];
        (descriptor, bytes)
    }

    fn path(&self, layout: &str) -> PathBuf {
        let hex = self.layer().0.digest.hex();
        self.place
            .path()
            .join(layout)
            .join("blobs/sha256")
            .join(hex)
    }

    async fn open(&self, range: ByteRange) -> Blob {
        let blob = self.source.blob(self.layer().0, range).await;
        blob.expect("the blob opens")
    }
}

#[tokio::test]
async fn an_image_goes_from_file_to_file() {
    let place = tempfile::tempdir().unwrap();
    let image = image();
    let path = |name: &str| place.path().join(name);
    write_layout(&path("layout"), &[("v1", &image)]);
    write_dir(&path("dir"), &image);
    let archive = located(
        &oci_archive::OciArchive::new(place.path().to_owned()),
        &path("archive"),
    );
    store(&*archive.sink().await.unwrap(), &image)
        .await
        .unwrap();
    for (number, from) in [layout(&path("layout")), directory(&path("dir")), archive]
        .into_iter()
        .enumerate()
    {
        let source = from.source().await.unwrap();
        for to in [
            layout(&path(&format!("layout-{number}"))),
            directory(&path(&format!("dir-{number}"))),
        ] {
            let sink = to.sink().await.unwrap();
            for (descriptor, _) in &image.blobs {
                let blob = source.blob(descriptor, ByteRange::All).await.unwrap();
                assert!(matches!(blob.body, Body::File(_)));
                let placed = sink.put_blob(&want(descriptor), blob).await.unwrap();
                assert_eq!(
                    (placed.digest, placed.size),
                    (descriptor.digest, descriptor.size)
                );
                assert!(matches!(placed.how, How::Sent | How::Linked));
            }
            sink.commit(&image.root).await.unwrap();
            let source = to.source().await.unwrap();
            for (descriptor, bytes) in &image.blobs {
                let read = content(&*source, descriptor, ByteRange::All).await;
                assert_eq!(read.unwrap(), *bytes);
            }
        }
        validate_layout(&path(&format!("layout-{number}"))).unwrap();
    }
}

#[tokio::test]
async fn a_layer_of_a_docker_archive_lies_in_its_file() {
    let place = tempfile::tempdir().unwrap();
    let uncompressed = ImageSpec {
        compression: None,
        ..ImageSpec::docker2(1)
    };
    let image = uncompressed.build();
    let transport = docker_archive::DockerArchive::new(place.path().to_owned(), Vec::new());
    let name = format!("{}:test/image:v1", place.path().join("archive").display());
    let archive = transport.parse(&name).unwrap();
    store(&*archive.sink().await.unwrap(), &image)
        .await
        .unwrap();
    let source = archive.source().await.unwrap();
    let root = Admitted::by_policy(source.root().await.unwrap());
    let layer = &ImageManifest::parse(&root).unwrap().layers[0];
    let blob = source.blob(layer, ByteRange::All).await.unwrap();
    assert!(matches!(blob.body, Body::File(_)));
    let sink = layout(&place.path().join("layout")).sink().await.unwrap();
    let placed = sink.put_blob(&want(layer), blob).await.unwrap();
    assert_eq!((placed.digest, placed.how), (layer.digest, How::Sent));
}

#[tokio::test]
async fn nothing_is_read_before_somebody_asks() {
    let fixture = fixture().await;
    let mut stream = fixture.open(ByteRange::All).await.body.into_stream();
    let mut file = OpenOptions::new().write(true).open(fixture.path("from"));
    file.as_mut().unwrap().write_all(b"changed").unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"changed"));
}

#[tokio::test]
async fn a_broken_transfer_is_ended_from_a_file() {
    let fixture = fixture().await;
    let (descriptor, bytes) = fixture.layer();
    let head = bytes.slice(..1_200_000);
    let broken =
        futures_util::stream::iter([Ok(head), Err(std::io::ErrorKind::ConnectionReset.into())]);
    let broken = Blob::from_stream(None, broken.boxed());
    let wanted = want(descriptor);
    fixture.sink.put_blob(&wanted, broken).await.unwrap_err();
    let kept = fixture.sink.kept(&wanted).await.unwrap();
    assert_eq!(kept, 1_200_000);
    let rest = fixture.open(ByteRange::From(kept)).await;
    assert_eq!(
        (rest.start, rest.size),
        (kept, Some(descriptor.size - kept))
    );
    let placed = fixture.sink.put_blob(&wanted, rest).await.unwrap();
    assert_eq!((placed.size, placed.how), (descriptor.size, How::Sent));
    assert_eq!(fs::read(fixture.path("to")).unwrap(), *bytes);
}

#[tokio::test]
async fn a_file_that_is_not_the_blob_is_refused() {
    let fixture = fixture().await;
    let (descriptor, _) = fixture.layer();
    let blob = fixture.open(ByteRange::All).await;
    let mut file = OpenOptions::new()
        .write(true)
        .open(fixture.path("from"))
        .unwrap();
    file.seek(SeekFrom::Start(2_000_000)).unwrap();
    file.write_all(b"changed").unwrap();
    let error = fixture.sink.put_blob(&want(descriptor), blob).await;
    assert_eq!(error.unwrap_err().kind(), Kind::DigestMismatch);
    let left = fs::read_dir(fixture.place.path().join("to/blobs")).unwrap();
    assert_eq!(left.count(), 1, "no partial blob is left");
    assert!(!fixture.path("to").exists());
}

#[tokio::test]
async fn a_file_that_has_become_shorter_is_refused() {
    for length in [0, 1_500_000] {
        let fixture = fixture().await;
        let (descriptor, _) = fixture.layer();
        let blob = fixture.open(ByteRange::All).await;
        let as_stream = fixture.open(ByteRange::All).await.body.into_stream();
        let file = OpenOptions::new().write(true).open(fixture.path("from"));
        file.unwrap().set_len(length).unwrap();
        let pieces: Vec<_> = as_stream.collect().await;
        assert!(pieces.last().unwrap().is_err());
        let error = fixture.sink.put_blob(&want(descriptor), blob).await;
        assert_eq!(error.unwrap_err().kind(), Kind::SizeMismatch);
        assert!(!fixture.path("to").exists());
    }
}
