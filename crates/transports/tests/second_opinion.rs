//! What dhow writes, skopeo and umoci read, and the other way round. A tool that is not installed
//! is passed over.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use dhow_model::{Admitted, Digest, ImageManifest, ManifestKind};
use dhow_testkit::conformance::{content, store, stored};
use dhow_testkit::image::{
    ImageSpec, IndexSpec, SampleImage, validate_dir, validate_layout, write_layout,
};
use dhow_transport::{ByteRange, Location, Transport};
use dhow_transports::{dir, oci};

fn located(transport: &dyn Transport, rest: &str) -> Arc<dyn Location> {
    transport.parse(rest).expect("the test names a place")
}

fn layout(path: &Path, tag: &str) -> Arc<dyn Location> {
    located(&oci::Oci::new(None), &format!("{}:{tag}", path.display()))
}

fn directory(path: &Path) -> Arc<dyn Location> {
    located(&dir::Dir::new(), &path.display().to_string())
}

/// Runs a tool and returns its output, or `None` where it is not installed.
fn run(tool: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(tool).args(arguments).output().ok()?;
    assert!(
        output.status.success(),
        "{tool} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn skopeo(arguments: &[&str]) -> Option<String> {
    let mut all = vec!["--insecure-policy", "--override-os=linux"];
    all.extend(arguments);
    run("skopeo", &all)
}

async fn write(location: &dyn Location, image: &SampleImage) {
    let sink = location.sink().await.expect("the place opens");
    store(&*sink, image).await.expect("the image is stored");
}

fn samples() -> [(&'static str, SampleImage); 4] {
    let platforms = ["linux/amd64", "linux/arm64/v8"];
    [
        ("one", ImageSpec::oci(1).build()),
        ("all", IndexSpec::oci(2, &platforms).build()),
        ("docker", ImageSpec::docker2(3).build()),
        ("list", IndexSpec::docker2(4, &platforms).build()),
    ]
}

#[tokio::test]
async fn skopeo_and_umoci_read_a_layout_of_ours() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("layout");
    for (name, image) in samples() {
        write(&*layout(&path, name), &image).await;
    }
    validate_layout(&path).unwrap();
    // Debian's skopeo does not look for Docker's types in a layout; later ones do.
    for (name, image) in samples().iter().filter(|(_, image)| is_oci(image)) {
        let from = layout(&path, name).to_string();
        let Some(raw) = skopeo(&["inspect", "--raw", &from]) else {
            return;
        };
        assert_eq!(raw.as_bytes(), image.root.bytes().as_ref());
        let to = place.path().join(name);
        let target = format!("dir:{}", to.display());
        skopeo(&[
            "copy",
            "--quiet",
            "--all",
            "--preserve-digests",
            &from,
            &target,
        ]);
        assert_eq!(validate_dir(&to).unwrap(), image.root.digest());
    }
    let bundle = place.path().join("bundle").display().to_string();
    let image = format!("{}:one", path.display());
    if run(
        "umoci",
        &["unpack", "--rootless", "--image", &image, &bundle],
    )
    .is_some()
    {
        let note = std::fs::read_to_string(format!("{bundle}/rootfs/etc/note-1")).unwrap();
        assert!(note.starts_with("layer 1 of image 1"));
    }
}

#[tokio::test]
async fn skopeo_reads_a_directory_of_ours_and_replaces_it() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("image");
    for (name, image) in samples() {
        write(&*directory(&target), &image).await;
        let from = directory(&target).to_string();
        let to = place.path().join(name);
        let copy = format!("dir:{}", to.display());
        if skopeo(&["copy", "--quiet", "--all", &from, &copy]).is_none() {
            return;
        }
        assert_eq!(validate_dir(&to).unwrap(), image.root.digest());
        // And we replace what skopeo wrote.
        let other = ImageSpec::oci(9).build();
        write(&*directory(&to), &other).await;
        assert_eq!(validate_dir(&to).unwrap(), other.root.digest());
    }
}

#[tokio::test]
async fn we_read_and_continue_a_layout_of_skopeo() {
    let place = tempfile::tempdir().unwrap();
    let ours = place.path().join("ours");
    let theirs = place.path().join("theirs");
    let samples = samples();
    let named: Vec<(&str, &SampleImage)> = samples.iter().map(|(n, i)| (*n, i)).collect();
    write_layout(&ours, &named);
    let kept = || named.iter().filter(|(_, image)| is_oci(image));
    for (name, _) in kept() {
        let (from, to) = (layout(&ours, name), layout(&theirs, name));
        let (from, to) = (from.to_string(), to.to_string());
        if skopeo(&["copy", "--quiet", "--all", "--preserve-digests", &from, &to]).is_none() {
            return;
        }
    }
    for (name, image) in kept() {
        stored(&*layout(&theirs, name).source().await.unwrap(), image).await;
    }
    let added = ImageSpec::oci(7).build();
    write(&*layout(&theirs, "one"), &added).await;
    let content = validate_layout(&theirs).unwrap();
    assert_eq!(content.names, ["all", "one"]);
    assert_eq!(content.entries.len(), 3, "the older one stays without name");
    let raw = skopeo(&["inspect", "--raw", &layout(&theirs, "one").to_string()]);
    assert_eq!(Digest::sha256(raw.unwrap().as_bytes()), added.root.digest());
}

/// The same steps give the same `index.json`, byte for byte.
#[tokio::test]
async fn index_json_is_that_of_skopeo() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    let images: Vec<SampleImage> = (20..23).map(|seed| ImageSpec::oci(seed).build()).collect();
    let named: Vec<(&str, &SampleImage)> = ["a", "b", "c"].into_iter().zip(&images).collect();
    write_layout(&source, &named);
    let (ours, theirs) = (place.path().join("ours"), place.path().join("theirs"));
    // Which image is written under which name, in order.
    let steps = [
        (0, "v1"),
        (1, "v2"),
        (1, "v1"),
        (0, "v3"),
        (2, "v2"),
        (1, "v4"),
        (2, "v2"),
    ];
    for (image, name) in steps {
        let from = layout(&source, named[image].0).to_string();
        let to = layout(&theirs, name).to_string();
        if skopeo(&["copy", "--quiet", &from, &to]).is_none() {
            return;
        }
        write(&*layout(&ours, name), &images[image]).await;
        let read = |path: &Path| std::fs::read_to_string(path.join("index.json")).unwrap();
        let plain = read(&theirs).replace(
            r#"{"schemaVersion":2,"manifests""#,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests""#,
        );
        assert_eq!(read(&ours), plain, "after {name}");
    }
}

fn is_oci(image: &SampleImage) -> bool {
    matches!(
        image.root.kind(),
        ManifestKind::OciManifest | ManifestKind::OciIndex
    )
}

#[tokio::test]
async fn we_read_and_continue_a_layout_of_umoci() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("layout");
    let text = path.display().to_string();
    if run("umoci", &["init", "--layout", &text]).is_none() {
        return;
    }
    run("umoci", &["new", "--image", &format!("{text}:empty")]);
    let source = layout(&path, "empty").source().await.unwrap();
    let root = source.root().await.unwrap();
    assert_eq!(root.kind(), ManifestKind::OciManifest);
    let image = ImageManifest::parse(&Admitted::by_policy(root)).unwrap();
    let config = content(&*source, &image.config, ByteRange::All).await;
    assert!(image.config.digest.matches(&config.unwrap()));

    let added = ImageSpec::oci(30).build();
    write(&*layout(&path, "added"), &added).await;
    assert_eq!(validate_layout(&path).unwrap().names, ["empty", "added"]);
    let listed = run("umoci", &["ls", "--layout", &text]).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["empty", "added"]);
    run("umoci", &["stat", "--image", &format!("{text}:added")]);
    // Its garbage collection finds nothing of ours to remove.
    run("umoci", &["gc", "--layout", &text]);
    stored(&*layout(&path, "added").source().await.unwrap(), &added).await;
}
