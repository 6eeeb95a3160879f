//! What https promises is kept: nothing leads from it to plain http, and whoever is named by a
//! registry is verified as the registry is.

use dhow_client::{Access, Content, EndpointOptions, ErrorKind, ManifestRef, RepositoryClient};
use dhow_config::{Credentials, Secret};
use dhow_model::Tag;
use dhow_testkit::identity::{Identity, TLS12, TLS13};
use dhow_testkit::scripted::{Reply, ScriptedServer, Seen};

use crate::*;

/// A directory with an authority's certificate, as `--cert-dir` takes it.
pub(crate) fn trusting(identity: &Identity) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.crt"), identity.authority()).unwrap();
    directory
}

pub(crate) fn secure(
    server: &ScriptedServer,
    credentials: Credentials,
    certificates: &tempfile::TempDir,
    tls_verify: Option<bool>,
) -> RepositoryClient {
    let options = EndpointOptions {
        tls_verify,
        cert_dir: Some(certificates.path().to_owned()),
        ..EndpointOptions::new(given(credentials))
    };
    let endpoint = Endpoint::new(&session(), options);
    reach(&endpoint, &repository(server, "a/b"), Access::Push)
}

fn latest() -> ManifestRef {
    ManifestRef::Tag(Tag::latest())
}

fn challenge(seen: &Seen, realm: &str) -> Option<Reply> {
    let bare = seen.header("authorization").is_empty();
    bare.then(|| {
        Reply::status(401).header(
            "www-authenticate",
            format!("Bearer realm=\"{realm}\",service=s"),
        )
    })
}

/// CVE-2026-48978: a realm, a redirect and a place for uploads that are plain http.
#[tokio::test]
async fn nothing_leads_from_https_to_plain_http() {
    let identity = Identity::new();
    let certificates = trusting(&identity);
    let plain = ScriptedServer::start(|_, _| Reply::status(200).body(r#"{"token":"t"}"#)).await;
    let there = format!("http://{}", plain.address());
    for credentials in [basic(), Credentials::IdentityToken(Secret::new(IDENTITY))] {
        let realm = format!("{there}/token");
        let registry = ScriptedServer::start_tls(&identity, move |seen, _| {
            challenge(seen, &realm).unwrap_or_else(|| Reply::status(200))
        })
        .await;
        for verify in [None, Some(true), Some(false)] {
            let client = secure(&registry, credentials.clone(), &certificates, verify);
            let error = client.manifest(&latest()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{verify:?}: {error:?}");
        }
        for seen in registry.seen() {
            assert_eq!(seen.header("authorization"), "");
        }
    }
    let place = format!("{there}/x");
    let registry =
        ScriptedServer::start_tls(&identity, move |seen, _| match seen.method.as_str() {
            "POST" => Reply::status(202).header("location", &place),
            _ => Reply::status(307).header("location", &place),
        })
        .await;
    let client = secure(&registry, basic(), &certificates, None);
    let data = blob(b"x");
    let error = client.blob(&data, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let error = match client.start_upload().await {
        Ok(mut upload) => {
            let content = Content::from_bytes(Bytes::from_static(b"x"), Some(data.digest));
            upload.send(content).await.unwrap_err()
        }
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(plain.seen().is_empty());
}

/// CVE-2019-10214: the token service is verified as the registry is, and not less.
#[tokio::test]
async fn a_token_service_that_cannot_be_verified_gets_nothing() {
    let (identity, stranger) = (Identity::new(), Identity::new());
    let certificates = trusting(&identity);
    let image = manifest();
    let issue = |_: &Seen, _| Reply::status(200).body(r#"{"token":"t"}"#);
    for (service, verify, expected) in [
        (
            ScriptedServer::start_tls(&stranger, issue).await,
            None,
            Some(ErrorKind::Untrusted),
        ),
        (
            ScriptedServer::start_tls(&identity, issue).await,
            None,
            None,
        ),
        // Who does not verify the registry does not verify whom it names.
        (
            ScriptedServer::start_tls(&stranger, issue).await,
            Some(false),
            None,
        ),
    ] {
        let realm = format!("https://{}/token", service.address());
        let image = image.clone();
        let registry = ScriptedServer::start_tls(&identity, move |seen, _| {
            let served = Reply::status(200).body(image.bytes().clone());
            challenge(seen, &realm).unwrap_or(served)
        })
        .await;
        let client = secure(&registry, basic(), &certificates, verify);
        let outcome = client.manifest(&latest()).await;
        assert_eq!(
            outcome.err().map(|error| error.kind()),
            expected,
            "{verify:?}"
        );
        assert_eq!(service.seen().is_empty(), expected.is_some());
    }
}

#[tokio::test]
async fn servers_of_either_tls_version_are_spoken_to() {
    for version in [&TLS12, &TLS13] {
        let identity = Identity::speaking(&[version]);
        let certificates = trusting(&identity);
        let registry = ScriptedServer::start_tls(&identity, |_, _| Reply::status(404)).await;
        let client = secure(&registry, basic(), &certificates, None);
        let error = client.manifest(&latest()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{version:?}: {error}");
    }
}

/// Every verb asks the same connection: none of them has a mode of its own.
#[tokio::test]
async fn no_verb_speaks_to_a_registry_that_cannot_be_verified() {
    let (identity, stranger) = (Identity::new(), Identity::new());
    let certificates = trusting(&identity);
    let registry = ScriptedServer::start_tls(&stranger, |_, _| Reply::status(200)).await;
    let client = secure(&registry, basic(), &certificates, None);
    let data = blob(b"x");
    let mut kinds = vec![
        client.manifest(&latest()).await.unwrap_err().kind(),
        client.head_manifest(&latest()).await.unwrap_err().kind(),
        client
            .put_manifest(&latest(), &manifest())
            .await
            .unwrap_err()
            .kind(),
        client.delete_tag(&Tag::latest()).await.unwrap_err().kind(),
        client.head_blob(&data.digest).await.unwrap_err().kind(),
        client.blob(&data, 0).await.unwrap_err().kind(),
        client.start_upload().await.unwrap_err().kind(),
        client
            .mount(&data.digest, &repository(&registry, "c/d"))
            .await
            .unwrap_err()
            .kind(),
        client
            .referrers(&data.digest, None)
            .await
            .unwrap_err()
            .kind(),
    ];
    let tags: Vec<_> = client.tags().collect().await;
    kinds.extend(tags.into_iter().map(|tag| tag.unwrap_err().kind()));
    assert_eq!(kinds, [ErrorKind::Untrusted; 10]);
    assert!(registry.seen().is_empty());
}

/// The redirect matrix: what is shown to whom, with an answer and with another challenge.
#[tokio::test]
async fn credentials_follow_a_redirect_only_within_the_origin() {
    let identity = Identity::new();
    let certificates = trusting(&identity);
    let data = pattern(10);
    for last in [200, 401] {
        let served = data.clone();
        let end = move |_: &Seen, _| match last {
            200 => Reply::status(200).body(served.clone()),
            _ => Reply::status(401).header("www-authenticate", "Basic realm=\"x\""),
        };
        let port = ScriptedServer::start_tls(&identity, end.clone()).await;
        let chained = format!("https://{}/c", port.address());
        let chain = ScriptedServer::start_tls(&identity, move |_, _| {
            Reply::status(307).header("location", &chained)
        })
        .await;
        let other_port = format!("https://{}/b", port.address());
        let other_host = other_port.replace("127.0.0.1", "localhost");
        let three = format!("https://{}/b", chain.address());
        for to in ["/b", &other_port, &other_host, &three] {
            let (place, end) = (to.to_owned(), end.clone());
            let registry = ScriptedServer::start_tls(&identity, move |seen, number| {
                if seen.header("authorization").is_empty() {
                    return Reply::status(401).header("www-authenticate", "Basic realm=\"x\"");
                }
                match seen.path.as_str() {
                    "/b" => end(seen, number),
                    _ => Reply::status(307).header("location", &place),
                }
            })
            .await;
            let before = port.seen().len();
            let client = secure(&registry, basic(), &certificates, None);
            let outcome = client.blob(&blob(&data), 0).await;
            assert_eq!(outcome.is_ok(), last == 200, "{to}");
            let elsewhere = [port.seen().split_off(before), chain.seen()].concat();
            assert_eq!(elsewhere.is_empty(), to == "/b");
            for seen in elsewhere {
                assert_eq!(seen.header("authorization"), "", "{to}: {}", seen.line());
            }
        }
    }
}
