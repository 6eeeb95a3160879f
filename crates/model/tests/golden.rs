//! Converted images and indexes are, byte for byte, what skopeo makes of them
//! (`tests/fixtures/README.md`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use dhow_model::convert;
use dhow_model::{Admitted, Digest, ImageManifest, Index, ManifestKind, RawManifest};

const IMAGES: [&str; 5] = ["plain", "labels", "history", "nulls", "windows"];

fn fixture(folder: &str, file: &str) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::read(path.join(folder).join(file)).unwrap().into()
}

fn image(folder: &str, file: &str) -> (RawManifest, ImageManifest) {
    let raw = RawManifest::new(fixture(folder, file), None).unwrap();
    let image = ImageManifest::parse(&Admitted::by_policy(raw.clone())).unwrap();
    (raw, image)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn docker_images_become_the_oci_images_that_skopeo_makes() {
    for folder in IMAGES {
        let (raw, view) = image(folder, "docker-manifest.json");
        let config = fixture(folder, "docker-config.json");
        let made = convert::image(
            &raw,
            &view,
            &config,
            &view.layers,
            ManifestKind::OciManifest,
        )
        .unwrap();
        let made_config = made.config.unwrap_or(config);
        assert_eq!(
            text(&made_config),
            text(&fixture(folder, "oci-config.json")),
            "{folder}"
        );
        assert_eq!(
            text(made.manifest.bytes()),
            text(&fixture(folder, "oci-manifest.json")),
            "{folder}"
        );
    }
}

#[test]
fn oci_images_become_the_docker_images_that_skopeo_makes() {
    for folder in IMAGES {
        let (raw, view) = image(folder, "oci-manifest.json");
        let config = fixture(folder, "oci-config.json");
        let made = convert::image(
            &raw,
            &view,
            &config,
            &view.layers,
            ManifestKind::Docker2Manifest,
        )
        .unwrap();
        assert!(made.config.is_none_or(|made| made == config), "{folder}");
        assert_eq!(
            text(made.manifest.bytes()),
            text(&fixture(folder, "back-manifest.json")),
            "{folder}"
        );
    }
}

#[test]
fn lists_and_indexes_become_each_other_as_skopeo_makes_them() {
    for (from, to, kind, prefix) in [
        (
            "docker-list.json",
            "oci-index.json",
            ManifestKind::OciIndex,
            "oci",
        ),
        (
            "oci-index.json",
            "back-list.json",
            ManifestKind::Docker2List,
            "back",
        ),
    ] {
        let raw = RawManifest::new(fixture("list", from), None).unwrap();
        let mut entries = Index::parse(&raw).unwrap().entries;
        for (entry, folder) in entries.iter_mut().zip(["plain", "labels", "windows"]) {
            let member = fixture(folder, &format!("{prefix}-manifest.json"));
            let now = RawManifest::new(member, None).unwrap().descriptor();
            (entry.digest, entry.size, entry.media_type) = (now.digest, now.size, now.media_type);
        }
        let made = convert::index(&raw, &entries, kind).unwrap();
        assert_eq!(text(made.bytes()), text(&fixture("list", to)), "{from}");
    }
}

#[test]
fn what_does_not_change_keeps_its_bytes() {
    for folder in IMAGES {
        let (raw, view) = image(folder, "docker-manifest.json");
        let config = fixture(folder, "docker-config.json");
        let made = convert::image(&raw, &view, &config, &view.layers, view.kind).unwrap();
        assert_eq!(made.manifest, raw);
    }
    let raw = RawManifest::new(fixture("list", "docker-list.json"), None).unwrap();
    let entries = Index::parse(&raw).unwrap().entries;
    assert_eq!(
        convert::index(&raw, &entries, ManifestKind::Docker2List).unwrap(),
        raw
    );
}

#[test]
fn a_stripped_index_keeps_what_it_does_not_understand() {
    let digest = Digest::sha256(b"");
    let entry = |os: &str| {
        format!(
            r#"{{"size":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","x":[1],"digest":"{digest}","platform":{{"os":"{os}","architecture":"amd64"}}}}"#
        )
    };
    let whole = format!(
        r#"{{"new":1,"schemaVersion":2,"manifests":[{},{}],"annotations":{{"b":"1","a":"2"}}}}"#,
        entry("linux"),
        entry("windows")
    );
    let raw = RawManifest::new(whole.into(), None).unwrap();
    let entries = Index::parse(&raw).unwrap().entries;
    let made = convert::index(&raw, &entries[..1], ManifestKind::OciIndex).unwrap();
    let expected = format!(
        r#"{{"new":1,"schemaVersion":2,"manifests":[{}],"annotations":{{"b":"1","a":"2"}}}}"#,
        entry("linux")
    );
    assert_eq!(text(made.bytes()), expected);
}
