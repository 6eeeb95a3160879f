//! Blobs that arrive in two goes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dhow_layout::{Error, Layout};
use dhow_model::{Algorithm, Digest};
use dhow_testkit::image::noise;
use tempfile::TempDir;

const SIZE: u64 = 3 * 1024 * 1024;
const HALF: usize = 1_500_000;

struct Fixture {
    _place: TempDir,
    layout: Layout,
    content: Vec<u8>,
    digest: Digest,
}

fn fixture(algorithm: Algorithm) -> Fixture {
    let place = tempfile::tempdir().expect("there is a place for files");
    let content = noise(1, usize::try_from(SIZE).expect("the sample is small"));
    Fixture {
        layout: Layout::new(place.path().join("layout")),
        digest: Digest::of(algorithm, &content),
        content,
        _place: place,
    }
}

impl Fixture {
    /// Writes the first half and gives up.
    fn write_half(&self) {
        let writer = self.layout.resume_blob(&self.digest, SIZE, 0);
        let mut writer = writer.expect("the blob starts");
        let half = writer.write(&self.content[..HALF]);
        half.expect("the half is written");
    }

    /// Writes the rest.
    fn go_on(&self) -> Result<(), Error> {
        let start = self.layout.kept(&self.digest, SIZE);
        let mut writer = self.layout.resume_blob(&self.digest, SIZE, start)?;
        let missing = usize::try_from(start).expect("the sample is small");
        for piece in self.content[missing..].chunks(200_000) {
            writer.write(piece)?;
        }
        writer.finish(&self.digest)
    }

    fn partials(&self) -> Vec<PathBuf> {
        partials(self.layout.blobs_path())
    }
}

fn partials(blobs: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(blobs).expect("the layout is there").flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.map(|entry| entry.path()).collect()
}

#[test]
fn a_large_blob_goes_on_where_it_broke() {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let fixture = fixture(algorithm);
        assert_eq!(fixture.layout.kept(&fixture.digest, SIZE), 0);
        fixture.write_half();
        assert_eq!(fixture.layout.kept(&fixture.digest, SIZE), HALF as u64);
        assert_eq!(fixture.layout.blob_size(&fixture.digest, None), None);
        fixture.go_on().unwrap();
        let read = fs::read(fixture.layout.blob_path(&fixture.digest)).unwrap();
        assert_eq!(read, fixture.content);
        assert!(fixture.partials().is_empty());
        assert_eq!(fixture.layout.kept(&fixture.digest, SIZE), 0);
    }
}

#[test]
fn reserved_space_is_not_what_has_arrived_and_is_given_back() {
    use std::os::unix::fs::MetadataExt as _;
    let fixture = fixture(Algorithm::Sha256);
    let mut writer = fixture
        .layout
        .resume_blob(&fixture.digest, SIZE, 0)
        .unwrap();
    writer.write(&fixture.content[..HALF]).unwrap();
    let path = fixture.partials().remove(0);
    assert_eq!(fs::metadata(&path).unwrap().len(), HALF as u64);
    drop(writer);
    let blocks = fs::metadata(&path).unwrap().blocks() * 512;
    assert!(blocks < SIZE, "{blocks} bytes are taken");
}

#[test]
fn a_blob_begins_anew_when_it_is_told_to() {
    let fixture = fixture(Algorithm::Sha256);
    fixture.write_half();
    let writer = fixture.layout.resume_blob(&fixture.digest, SIZE, 0);
    let mut writer = writer.unwrap();
    assert_eq!(writer.written(), 0);
    writer.write(&fixture.content).unwrap();
    writer.finish(&fixture.digest).unwrap();
    assert_eq!(
        fixture.layout.blob_size(&fixture.digest, None),
        Some(fixture.content.len() as u64)
    );
}

#[test]
fn a_blob_that_goes_on_elsewhere_is_refused_and_harms_nothing() {
    let fixture = fixture(Algorithm::Sha256);
    fixture.write_half();
    for start in [1, HALF as u64 + 1] {
        let writer = fixture.layout.resume_blob(&fixture.digest, SIZE, start);
        assert!(matches!(writer, Err(Error::Start { .. })));
    }
    fixture.go_on().unwrap();
    // Nothing is there any more to go on with.
    let writer = fixture.layout.resume_blob(&fixture.digest, SIZE, 1);
    assert!(matches!(writer, Err(Error::Start { .. })));
    assert!(fixture.partials().is_empty());
}

#[test]
fn what_is_wrong_is_not_kept() {
    let fixture = fixture(Algorithm::Sha256);
    fixture.write_half();
    let path = fixture.partials().remove(0);
    let mut broken = fs::read(&path).unwrap();
    broken[1000] ^= 1;
    fs::write(&path, broken).unwrap();
    assert!(matches!(fixture.go_on(), Err(Error::Digest { .. })));
    assert!(fixture.partials().is_empty());
    fixture.go_on().unwrap();
    // More than the blob has.
    let fixture = self::fixture(Algorithm::Sha256);
    let writer = fixture.layout.resume_blob(&fixture.digest, SIZE, 0);
    let mut writer = writer.unwrap();
    writer.write(&fixture.content).unwrap();
    assert!(matches!(writer.write(b"x"), Err(Error::Size { .. })));
    drop(writer);
    assert!(fixture.partials().is_empty());
}

#[test]
fn a_file_as_long_as_the_blob_is_nothing_to_go_on_with() {
    let fixture = fixture(Algorithm::Sha256);
    fixture.write_half();
    for size in [HALF as u64, 5] {
        assert_eq!(fixture.layout.kept(&fixture.digest, size), 0);
    }
}

#[test]
fn two_writers_of_one_blob_both_succeed() {
    let fixture = fixture(Algorithm::Sha256);
    let start = || {
        let writer = fixture.layout.resume_blob(&fixture.digest, SIZE, 0);
        let mut writer = writer.unwrap();
        writer.write(&fixture.content[..HALF]).unwrap();
        writer
    };
    for first_is_faster in [true, false] {
        let mut writers = vec![start(), start()];
        assert_eq!(fixture.layout.kept(&fixture.digest, SIZE), 0);
        assert_eq!(fixture.partials().len(), 1);
        if !first_is_faster {
            writers.reverse();
        }
        for mut writer in writers {
            writer.write(&fixture.content[HALF..]).unwrap();
            writer.finish(&fixture.digest).unwrap();
        }
        assert!(fixture.partials().is_empty());
        let read = fs::read(fixture.layout.blob_path(&fixture.digest)).unwrap();
        assert_eq!(read, fixture.content);
    }
}

#[test]
fn small_blobs_leave_nothing() {
    let place = tempfile::tempdir().unwrap();
    let layout = Layout::new(place.path());
    let content = noise(2, 1024 * 1024 - 1);
    let digest = Digest::sha256(&content);
    let size = content.len() as u64;
    let mut writer = layout.resume_blob(&digest, size, 0).unwrap();
    writer.write(&content[..1000]).unwrap();
    assert!(partials(layout.blobs_path()).is_empty());
    drop(writer);
    assert_eq!(layout.kept(&digest, size), 0);
}

#[test]
fn deletion_takes_old_ones_and_leaves_new_ones() {
    let fixture = fixture(Algorithm::Sha256);
    fixture.write_half();
    let path = fixture.partials().remove(0);
    for (days, stays) in [(0, true), (2, true), (8, false)] {
        let time = SystemTime::now() - Duration::from_hours(24 * days);
        File::open(&path).unwrap().set_modified(time).unwrap();
        fixture.layout.remove(|_| true).unwrap();
        assert_eq!(path.exists(), stays, "after {days} days");
    }
}
