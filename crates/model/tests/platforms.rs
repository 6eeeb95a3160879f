//! Which image of an index is taken for a platform.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use dhow_model::{Digest, Index, PlatformWish, RawManifest};

/// Returns the place of the entry chosen from platforms written as `os/architecture[/variant]`.
fn chosen(entries: &[&str], os: &str, architecture: &str, variant: Option<&str>) -> Option<usize> {
    let listed: Vec<String> = entries
        .iter()
        .enumerate()
        .map(|(place, text)| {
            let parts: Vec<&str> = text.split('/').collect();
            let variant = parts.get(2).map_or_else(String::new, |variant| format!(r#","variant":"{variant}""#));
            let platform = match parts[..] {
                [os, architecture, ..] => format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"{variant}}}"#),
                _ => String::new(),
            };
            let digest = Digest::sha256(&place.to_le_bytes());
            format!(r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"{digest}"{platform}}}"#)
        })
        .collect();
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        listed.join(",")
    );
    let index = Index::parse(&RawManifest::new(Bytes::from(text), None).unwrap()).unwrap();
    let wish = PlatformWish::new(os, architecture, variant.map(str::to_owned));
    let found = index.choose(&wish)?.digest;
    index.entries.iter().position(|entry| entry.digest == found)
}

#[test]
fn variants_fall_back_from_the_best_to_the_plainest() {
    let arm = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"];
    for (entries, architecture, variant, expected) in [
        (&arm[..], "arm", Some("v8"), Some(2)),
        (&arm[..], "arm", Some("v6"), Some(1)),
        (&arm[..], "arm", Some("v5"), Some(0)),
        (&["linux/arm/v7"][..], "arm", Some("v6"), None),
        (
            &["linux/amd64", "linux/amd64/v2"][..],
            "amd64",
            None,
            Some(0),
        ),
        (&["linux/amd64/v2"][..], "amd64", None, Some(0)),
        (
            &["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"][..],
            "amd64",
            Some("v3"),
            Some(2),
        ),
        (
            &["linux/amd64", "linux/amd64/v2"][..],
            "amd64",
            Some("v3"),
            Some(1),
        ),
        (&["linux/arm64"][..], "arm64", Some("v8"), Some(0)),
        (&["linux/arm64/v8"][..], "arm64", None, Some(0)),
        (
            &["windows/amd64", "linux/amd64"][..],
            "amd64",
            None,
            Some(1),
        ),
        (&["windows/amd64"][..], "amd64", None, None),
        (
            &["unknown/unknown", "linux/amd64"][..],
            "amd64",
            None,
            Some(1),
        ),
        (&["unknown/unknown"][..], "amd64", None, None),
        (&["linux/s390x", ""][..], "amd64", None, Some(1)),
    ] {
        assert_eq!(
            chosen(entries, "linux", architecture, variant),
            expected,
            "{entries:?} {architecture} {variant:?}"
        );
    }
}
