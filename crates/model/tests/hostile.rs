//! Documents that somebody made to confuse: each is refused, with the same verdict wherever it
//! comes from.

use bytes::Bytes;
use dhow_model::{Admitted, Digest, ImageManifest, Index, ManifestError, MediaType, RawManifest};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn read(text: &str, claimed: Option<&str>) -> Result<RawManifest, ManifestError> {
    RawManifest::new(
        Bytes::copy_from_slice(text.as_bytes()),
        claimed.map(MediaType::new).as_ref(),
    )
}

fn manifest(digest: &str, size: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{size}}},"layers":[]}}"#
    )
}

#[test]
fn documents_of_two_kinds_are_refused() {
    for text in [
        r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
        r#"{"schemaVersion":2,"manifests":[],"config":{}}"#,
        r#"{"schemaVersion":2,"Manifests":[],"LAYERS":[]}"#,
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":{},"layers":[]}"#,
        r#"{"schemaVersion":1,"fsLayers":[],"layers":[]}"#,
        r#"{"schemaVersion":2,"layers":[],"layers":[],"config":{}}"#,
        r#"{"schemaVersion":2,"config":{},"mediaType":"a","mediaType":"b"}"#,
    ] {
        assert!(read(text, None).is_err(), "{text}");
    }
}

#[test]
fn another_type_than_the_one_it_came_as_is_refused() {
    let text = manifest(DIGEST, "2");
    assert!(read(&text, Some(MANIFEST)).is_ok());
    assert!(
        read(
            &text,
            Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8")
        )
        .is_ok()
    );
    assert!(
        read(&text, Some("application/json")).is_ok(),
        "registries that say nothing of use"
    );
    for claimed in [
        MediaType::OCI_INDEX,
        MediaType::DOCKER2_MANIFEST,
        MediaType::DOCKER1_SIGNED,
    ] {
        assert!(read(&text, Some(claimed.as_str())).is_err(), "{claimed}");
    }
}

#[test]
fn what_is_no_manifest_is_refused() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        "{\"schemaVersion\":9,\"config\":{}}",
        "\u{feff}{}",
        "{\"schemaVersion\":2}",
    ] {
        assert!(read(text, None).is_err(), "{text}");
    }
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(read(&deep, None).is_err());
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(RawManifest::MAX_SIZE));
    assert!(matches!(read(&large, None), Err(ManifestError::TooLarge)));
}

#[test]
fn hostile_descriptors_are_refused() {
    let image = |digest: &str, size: &str| {
        let raw = read(&manifest(digest, size), None)?;
        ImageManifest::parse(&Admitted::by_policy(raw))
    };
    assert!(image(DIGEST, "2").is_ok());
    for digest in [
        "",
        "sha256:../../etc/passwd",
        "sha256:abc",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "../x",
    ] {
        assert!(image(digest, "2").is_err(), "{digest}");
    }
    for size in ["-1", "1e99", "\"2\"", "18446744073709551616"] {
        assert!(image(DIGEST, size).is_err(), "{size}");
    }
}

#[test]
fn bytes_must_have_the_digest_they_were_asked_for_by() {
    let bytes = Bytes::from(manifest(DIGEST, "2"));
    let right = Digest::sha256(&bytes);
    assert!(RawManifest::verified(bytes.clone(), None, &right).is_ok());
    let wrong = Digest::sha256(b"x");
    assert!(matches!(
        RawManifest::verified(bytes, None, &wrong),
        Err(ManifestError::Digest { .. })
    ));
}

#[test]
fn an_index_is_not_read_as_an_image() {
    let text = r#"{"schemaVersion":2,"manifests":[]}"#;
    let Ok(raw) = read(text, None) else {
        panic!("an empty index is one")
    };
    assert!(Index::parse(&raw).is_ok());
    assert!(ImageManifest::parse(&Admitted::by_policy(raw)).is_err());
}
