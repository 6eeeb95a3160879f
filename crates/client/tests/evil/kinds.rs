//! Documents that are two things at once (CVE-2021-41190).

use dhow_client::{ErrorKind, ManifestRef};
use dhow_model::{Digest, Tag};
use dhow_testkit::scripted::Reply;

use crate::{always, client};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// CVE-2021-41190: the right digest does not make it better.
#[tokio::test]
async fn a_document_of_two_kinds_is_refused_by_tag_and_by_digest() {
    let typed =
        |kind: &str, rest: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{kind}",{rest}}}"#);
    let members = r#""manifests":[]"#;
    let layers = r#""layers":[],"config":{"mediaType":"x/y","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;
    let both = format!("{members},{layers}");
    for (claimed, body) in [
        (OCI, typed(OCI, &both)),
        (INDEX, typed(INDEX, &both)),
        (DOCKER, typed(DOCKER, &both)),
        (LIST, typed(LIST, &both)),
        (INDEX, typed(OCI, layers)),
        (DOCKER, typed(OCI, layers)),
        (OCI, typed(DOCKER, layers)),
        (LIST, typed(INDEX, members)),
        (OCI, typed(INDEX, members)),
        (OCI, typed(INDEX, layers)),
        (INDEX, typed(OCI, members)),
    ] {
        let digest = ManifestRef::Digest(Digest::sha256(body.as_bytes()));
        for reference in [ManifestRef::Tag(Tag::latest()), digest] {
            let reply = Reply::status(200).header("content-type", claimed);
            let server = always(reply.body(body.clone())).await;
            let kind = client(&server)
                .manifest(&reference)
                .await
                .map(|manifest| manifest.kind())
                .map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::Protocol), "{claimed}: {body}");
            assert_eq!(server.lines().len(), 1);
        }
    }
}
