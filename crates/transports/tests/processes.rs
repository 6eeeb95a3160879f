//! Many writers of one place: threads, processes, and processes that are killed.
//!
//! A second process is this test binary, asked to run one of the ignored tests. It finds what it
//! needs in its working directory, so that running the ignored tests by hand does nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use dhow_model::{Descriptor, MediaType};
use dhow_testkit::conformance::{store, stored, want};
use dhow_testkit::image::{
    ImageSpec, SampleImage, noise, validate_dir, validate_layout, write_dir,
};
use dhow_transport::{Blob, Deletion, Location, Transport};
use dhow_transports::{dir, oci};
use futures_util::{StreamExt as _, stream};

const WRITERS: u64 = 20;

fn located(transport: &dyn Transport, rest: &str) -> Arc<dyn Location> {
    transport.parse(rest).expect("the test names a place")
}

fn layout(path: &Path, tag: &str) -> Arc<dyn Location> {
    located(&oci::Oci::new(None), &format!("{}:{tag}", path.display()))
}

fn directory(path: &Path) -> Arc<dyn Location> {
    located(&dir::Dir::new(), &path.display().to_string())
}

/// All images share a config label or nothing; their first layer is the same.
fn image(seed: u64) -> SampleImage {
    let spec = ImageSpec {
        shared_layers: 1,
        ..ImageSpec::oci(1)
    };
    spec.platform(&format!("linux/architecture{seed}")).build()
}

async fn write(location: &dyn Location, image: &SampleImage) {
    let sink = location.sink().await.expect("the place opens");
    store(&*sink, image).await.expect("the image is stored");
}

/// Runs a future on a thread of its own.
fn thread(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build();
        runtime.expect("threads can be started").block_on(work);
    })
}

/// Starts this binary on one ignored test, in a directory that says what to do.
fn process(test: &str, task: &Path, text: &str) -> Child {
    fs::create_dir_all(task).expect("the test can write here");
    fs::write(task.join(TASK), text).expect("the test can write here");
    Command::new(std::env::current_exe().expect("this binary is somewhere"))
        .args(["--ignored", "--exact", "--test-threads=1", test])
        .current_dir(task)
        .stdout(Stdio::null())
        .spawn()
        .expect("this binary runs")
}

/// Returns the task of this process, if it is one that [`process`] started.
fn task() -> Option<(PathBuf, PathBuf, String)> {
    let directory = std::env::current_dir().ok()?;
    let text = fs::read_to_string(directory.join(TASK)).ok()?;
    let target = directory.parent()?.join("target");
    Some((directory, target, text))
}

const TASK: &str = "task-of-a-test";

#[test]
fn twenty_threads_and_twenty_processes_write_forty_names() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("target");
    let processes: Vec<Child> = (0..WRITERS)
        .map(|number| {
            let task = place.path().join(format!("process-{number}"));
            process("process_writes_one_name", &task, &number.to_string())
        })
        .collect();
    let threads: Vec<_> = (0..WRITERS)
        .map(|number| {
            let path = path.clone();
            thread(async move {
                let location = layout(&path, &format!("thread-{number}"));
                write(&*location, &image(100 + number)).await;
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    let mut names = validate_layout(&path).unwrap().names;
    names.sort();
    let mut expected: Vec<String> = (0..WRITERS)
        .flat_map(|number| [format!("process-{number}"), format!("thread-{number}")])
        .collect();
    expected.sort();
    assert_eq!(names, expected);
}

#[tokio::test]
#[ignore = "a part of another test"]
async fn process_writes_one_name() {
    if let Some((_, target, number)) = task() {
        let number: u64 = number.parse().unwrap();
        let location = layout(&target, &format!("process-{number}"));
        write(&*location, &image(number)).await;
    }
}

#[tokio::test]
async fn a_killed_writer_leaves_a_layout_and_a_directory_as_they_were() {
    let old = image(1);
    for (kind, fresh) in [("oci", false), ("dir", false), ("oci", true), ("dir", true)] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("target");
        if !fresh && kind == "dir" {
            write_dir(&target, &old);
        } else if !fresh {
            write(&*layout(&target, "old"), &old).await;
        }
        let task = place.path().join("process");
        let mut writer = process("process_writes_until_it_is_killed", &task, kind);
        while !task.join("is-writing").exists() {
            assert!(writer.try_wait().unwrap().is_none(), "it ended too early");
            std::thread::sleep(Duration::from_millis(5));
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        match (kind, fresh) {
            ("oci", false) => {
                let content = validate_layout(&target).unwrap();
                assert_eq!(content.names, ["old"]);
            }
            ("dir", false) => {
                let source = directory(&target).source().await.unwrap();
                stored(&*source, &old).await;
            }
            ("dir", true) => assert!(!target.exists()),
            _ => assert!(!target.join("index.json").exists()),
        }
        // The next one finds a clean place.
        let new = image(2);
        if kind == "dir" {
            write(&*directory(&target), &new).await;
            assert_eq!(validate_dir(&target).unwrap(), new.root.digest());
        } else {
            write(&*layout(&target, "new"), &new).await;
            assert!(validate_layout(&target).is_ok());
        }
        let mut left: Vec<_> = fs::read_dir(place.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["process", "target"]);
    }
}

#[tokio::test]
#[ignore = "a part of another test"]
async fn process_writes_until_it_is_killed() {
    let Some((directory_of_task, target, kind)) = task() else {
        return;
    };
    let location = if kind == "dir" {
        directory(&target)
    } else {
        layout(&target, "new")
    };
    let sink = location.sink().await.unwrap();
    let image = image(3);
    let (descriptor, bytes) = &image.blobs[1];
    let head = bytes.slice(..100);
    let body = stream::once(async move { Ok(head) })
        .chain(stream::once(async move {
            fs::write(directory_of_task.join("is-writing"), "").unwrap();
            std::future::pending().await
        }))
        .boxed();
    let blob = Blob::from_stream(Some(descriptor.size), body);
    sink.put_blob(&want(descriptor), blob).await.unwrap();
}

/// A blob that is large enough to go on with, and how much of it is written before the end.
fn large_blob() -> (Descriptor, Bytes) {
    let bytes = Bytes::from(noise(7, 16 * PIECE));
    (Descriptor::of(MediaType::OCTET_STREAM, &bytes), bytes)
}

const PIECE: usize = 256 * 1024;

#[tokio::test]
async fn a_blob_goes_on_after_its_writer_was_killed() {
    let place = tempfile::tempdir().unwrap();
    let task = place.path().join("process");
    let mut writer = process("process_writes_half_a_blob", &task, "");
    while !task.join("is-writing").exists() {
        assert!(writer.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(Duration::from_millis(5));
    }
    let (descriptor, bytes) = large_blob();
    let wanted = want(&descriptor);
    let location = layout(&place.path().join("target"), "new");
    let sink = location.sink().await.unwrap();
    assert_eq!(sink.kept(&wanted).await.unwrap(), 0, "it is in use");
    writer.kill().unwrap();
    writer.wait().unwrap();
    let kept = sink.kept(&wanted).await.unwrap();
    // The last pieces may have been on their way.
    assert!(kept >= 4 * PIECE as u64, "{kept} bytes are there");
    let rest = bytes.slice(usize::try_from(kept).unwrap()..);
    let rest = Blob::from_bytes(rest).starting_at(kept);
    let placed = sink.put_blob(&wanted, rest).await.unwrap();
    assert_eq!(placed.size, descriptor.size);
    let target = place.path().join("target/blobs");
    let stored = target.join("sha256").join(descriptor.digest.hex());
    assert_eq!(fs::read(stored).unwrap(), bytes);
    assert_eq!(fs::read_dir(target).unwrap().count(), 1);
}

#[tokio::test]
#[ignore = "a part of another test"]
async fn process_writes_half_a_blob() {
    let Some((directory_of_task, target, _)) = task() else {
        return;
    };
    let sink = layout(&target, "new").sink().await.unwrap();
    let (descriptor, bytes) = large_blob();
    let pieces: Vec<_> = (0..8)
        .map(|number| Ok(bytes.slice(number * PIECE..(number + 1) * PIECE)))
        .collect();
    let body = stream::iter(pieces)
        .chain(stream::once(async move {
            fs::write(directory_of_task.join("is-writing"), "").unwrap();
            std::future::pending().await
        }))
        .boxed();
    let blob = Blob::from_stream(Some(descriptor.size), body);
    sink.put_blob(&want(&descriptor), blob).await.unwrap();
}

#[tokio::test]
async fn writers_of_one_directory_replace_each_other_whole() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("image");
    let images: Vec<SampleImage> = (10..14).map(image).collect();
    let location = directory(&target);
    let writers = images.iter().map(|image| write(&*location, image));
    futures_util::future::join_all(writers).await;
    let digest = validate_dir(&target).unwrap();
    assert!(images.iter().any(|image| image.root.digest() == digest));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

/// Writes an image as a copy does: what is there is not sent again.
async fn copy(location: &dyn Location, image: &SampleImage) {
    let sink = location.sink().await.expect("the place opens");
    for (descriptor, bytes) in &image.blobs {
        let want = want(descriptor);
        if sink.reuse(&want).await.expect("it is looked for").is_none() {
            let blob = Blob::from_bytes(bytes.clone());
            let placed = sink.put_blob(&want, blob).await;
            placed.expect("the blob is stored");
        }
    }
    sink.commit(&image.root).await.expect("it is committed");
}

#[test]
fn deletion_takes_nothing_from_those_who_write_at_the_same_time() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("target");
    // All share a layer, so that each deletion may take it and each copy may rely on it.
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let path = path.clone();
            thread(async move {
                let location = layout(&path, &format!("v{number}"));
                let image = image(number);
                for _ in 0..12 {
                    copy(&*location, &image).await;
                    let source = location.source().await.unwrap();
                    stored(&*source, &image).await;
                    let catalog = location.catalog().unwrap();
                    catalog.delete(Deletion::Named).await.unwrap();
                }
                if number % 2 == 0 {
                    copy(&*location, &image).await;
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let content = validate_layout(&path).unwrap();
    assert_eq!(content.names.len(), 4);
    assert_eq!(content.blobs.len(), 1 + 4 * 3, "nothing is left over");
}
