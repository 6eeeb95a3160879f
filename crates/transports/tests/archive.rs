//! `oci-archive:`: what is in the file, what is done with odd and hostile tar files, and how little
//! is read.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhow_testkit::conformance::want;
use dhow_testkit::image::{ImageSpec, SampleImage, gzip};
use dhow_testkit::tar::pax_records;
use dhow_transport::{Blob, ByteRange, Kind, Location, Transport as _};
use dhow_transports::oci_archive::OciArchive;
use futures_util::TryStreamExt as _;

fn located(path: &Path, rest: &str) -> Arc<dyn Location> {
    let transport = OciArchive::new(std::env::temp_dir());
    transport
        .parse(&format!("{}{rest}", path.display()))
        .unwrap()
}

async fn put(path: &Path, rest: &str, image: &SampleImage) {
    let sink = located(path, rest).sink().await.unwrap();
    for (blob, bytes) in &image.blobs {
        let want = want(blob);
        if sink.reuse(&want).await.unwrap().is_none() {
            sink.put_blob(&want, Blob::from_bytes(bytes.clone()))
                .await
                .unwrap();
        }
    }
    for manifest in &image.manifests {
        sink.put_manifest(manifest).await.unwrap();
    }
    sink.commit(&image.root).await.unwrap();
}

async fn kind_of(path: &Path) -> Result<(), Kind> {
    let source = located(path, "")
        .source()
        .await
        .map_err(|error| error.kind())?;
    source.root().await.map(drop).map_err(|error| error.kind())
}

fn desk() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("images.tar");
    (place, path)
}

#[tokio::test]
async fn the_same_images_give_the_same_bytes_in_whatever_order_they_came() {
    let (place, one) = desk();
    let other = place.path().join("other.tar");
    let (a, b) = (
        ImageSpec::oci(1).build(),
        ImageSpec::oci(2).layers(4).build(),
    );
    put(&one, ":a", &a).await;
    let first = fs::read(&one).unwrap();
    put(&one, ":a", &a).await;
    assert_eq!(fs::read(&one).unwrap(), first);
    put(&one, ":b", &b).await;
    put(&other, ":a", &a).await;
    put(&other, ":b", &b).await;
    assert_eq!(fs::read(&one).unwrap(), fs::read(&other).unwrap());
    // Only the archives are there: nothing that was put aside was left.
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn an_image_with_a_name_is_added_and_one_without_takes_the_place_of_all() {
    let (_place, path) = desk();
    let (a, b) = (ImageSpec::oci(1).build(), ImageSpec::oci(2).build());
    put(&path, ":a", &a).await;
    put(&path, ":b", &b).await;
    let tags = located(&path, "");
    let names: Vec<String> = tags.catalog().unwrap().tags().try_collect().await.unwrap();
    assert_eq!(names, ["a", "b"]);
    for (rest, image) in [(":a", &a), (":b", &b), (":@1", &b)] {
        let source = located(&path, rest).source().await.unwrap();
        assert_eq!(source.root().await.unwrap(), image.root, "{rest}");
    }
    assert_eq!(kind_of(&path).await, Err(Kind::Invalid)); // which of the two?
    put(&path, "", &b).await;
    assert_eq!(kind_of(&path).await, Ok(()));
    assert!(located(&path, ":@0").sink().await.is_err());
}

#[tokio::test]
async fn what_is_no_archive_is_not_overwritten() {
    let (place, path) = desk();
    let image = ImageSpec::oci(1).build();
    fs::write(&path, "important").unwrap();
    let sink = located(&path, ":a").sink().await.unwrap();
    sink.put_manifest(&image.root).await.unwrap();
    assert_eq!(
        sink.commit(&image.root).await.unwrap_err().kind(),
        Kind::Exists
    );
    drop(sink);
    assert_eq!(fs::read_to_string(&path).unwrap(), "important");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    // A file that somebody has reserved is none.
    fs::write(&path, "").unwrap();
    put(&path, ":a", &image).await;
}

#[tokio::test]
async fn a_compressed_archive_is_read_and_not_added_to() {
    let (_place, path) = desk();
    let image = ImageSpec::oci(1).build();
    put(&path, ":a", &image).await;
    let packed = gzip(&fs::read(&path).unwrap());
    fs::write(&path, packed).unwrap();
    let source = located(&path, ":a").source().await.unwrap();
    assert_eq!(source.root().await.unwrap(), image.root);
    for (blob, _) in &image.blobs {
        source.blob(blob, ByteRange::All).await.unwrap();
    }
    let sink = located(&path, ":b").sink().await.unwrap();
    assert_eq!(
        sink.present_root().await.unwrap_err().kind(),
        Kind::Unsupported
    );
}

#[tokio::test]
async fn a_pipe_gets_the_archive_as_a_stream() {
    let (place, path) = desk();
    let image = ImageSpec::oci(1).build();
    put(&path, ":a", &image).await;
    let pipe = place.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    put(&pipe, ":a", &image).await;
    assert_eq!(reader.join().unwrap(), fs::read(&path).unwrap());
}

/// A member: name, type, content, and the size that its header says.
type Member<'a> = (&'a str, u8, &'a [u8], u64);

fn of<'a>(name: &'a str, kind: u8, content: &'a [u8], size: u64) -> Member<'a> {
    (name, kind, content, size)
}

/// Writes a tar file by hand, so that it can be wrong.
fn tar(path: &Path, members: &[Member<'_>]) {
    let mut file = File::create(path).unwrap();
    for (name, kind, content, size) in members {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(b"00000000000");
        block[156] = *kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[263..265].copy_from_slice(b"00");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        file.write_all(&block).unwrap();
        file.write_all(content).unwrap();
        let rest = content.len().next_multiple_of(512) - content.len();
        file.write_all(&vec![0; rest]).unwrap();
    }
    file.write_all(&[0; 1024]).unwrap();
}

/// CVE-2025-62518 and its kin: what two programs would read in two ways is refused.
#[tokio::test]
async fn tar_files_that_can_be_read_in_two_ways_are_refused() {
    let (_place, path) = desk();
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    let size = index.len() as u64;
    let good = of("index.json", b'0', index, size);
    let long = "x".repeat(3000);
    let pax_size = pax_records(&[("size", &size.to_string())]);
    let huge = pax_records(&[("size", "18446744073709551615")]);
    let no_number = pax_records(&[("size", "-1")]);
    let global = pax_records(&[("path", "index.json")]);
    let sparse = pax_records(&[("GNU.sparse.major", "1")]);
    let renamed = pax_records(&[("path", "./index.json")]);
    // These are no different to anybody.
    for members in [
        vec![good],
        vec![of("./index.json", b'0', index, size)],
        vec![of("index.json", b'0', b"{}", 2), good], // the last counts
        vec![of("a/", b'5', b"", 0), good],
        vec![
            of("x", b'x', &renamed, renamed.len() as u64),
            of("y", b'0', index, size),
        ],
        vec![of("x", b'x', &pax_size, pax_size.len() as u64), good],
        vec![
            of("x", b'L', long.as_bytes(), 3000),
            of("y", b'0', b"z", 1),
            good,
        ],
        vec![
            of("real", b'0', index, size),
            of("link", b'2', b"", 0),
            good,
        ],
        vec![of("../index.json", b'0', b"{}", 2), good],
    ] {
        tar(&path, &members);
        assert_eq!(kind_of(&path).await, Err(Kind::NotFound), "{members:?}");
    }
    for members in [
        vec![of("index.json", b'0', index, size + 100_000)], // beyond the end
        vec![of("dir/", b'5', b"hidden", 6), good],          // a directory with content
        vec![of("link", b'2', b"hidden", 6), good],
        vec![of("x", b'S', b"", 0), good],
        vec![of("x", b'Z', b"", 0), good],
        vec![of("x", b'x', b"not pax", 7), good],
        vec![of("x", b'x', &huge, huge.len() as u64), good],
        vec![of("x", b'x', &no_number, no_number.len() as u64), good],
        vec![of("x", b'x', &sparse, sparse.len() as u64), good],
        vec![of("x", b'g', &global, global.len() as u64), good],
        vec![of("x", b'0', index, size)], // no index
    ] {
        tar(&path, &members);
        assert_eq!(kind_of(&path).await, Err(Kind::Invalid), "{members:?}");
    }
    fs::write(&path, [b'x'; 2048]).unwrap();
    assert_eq!(kind_of(&path).await, Err(Kind::Invalid));
    fs::write(&path, "short").unwrap();
    assert_eq!(kind_of(&path).await, Err(Kind::Invalid));
    let mut block = [0; 512];
    block[..4].copy_from_slice(b"name");
    fs::write(&path, block).unwrap();
    assert_eq!(kind_of(&path).await, Err(Kind::Invalid)); // no checksum
}
