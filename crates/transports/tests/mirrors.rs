//! `docker://` with registries.conf: mirrors that do not serve are skipped, what they lack or
//! falsify comes from elsewhere, and what is not a read goes to the place that is named.

use std::sync::Arc;
use std::time::Duration;

use dhow_client::{Endpoint, EndpointOptions, Session, SessionOptions, Timeouts};
use dhow_config::{
    Config, CredentialSource, Credentials, FoundCredentials, Mirror, PullFromMirror, Registries,
    RegistryEntry, Secret,
};
use dhow_testkit::image::{ImageSpec, SampleImage};
use dhow_testkit::scripted::{Reply, ScriptedServer};
use dhow_transport::{ByteRange, Deletion, Kind, Location, Transport};
use dhow_transports::docker::Docker;
use futures_util::TryStreamExt as _;

async fn registry(image: &SampleImage) -> ScriptedServer {
    let image = image.clone();
    ScriptedServer::start(move |seen, _| Reply::from_image(&image, seen)).await
}

/// Returns an image at a name that leads to `origin`, with these mirrors before it.
fn located(origin: &str, mirrors: &[String], rest: &str) -> Arc<dyn Location> {
    let mirrors = mirrors
        .iter()
        .map(|mirror| Mirror {
            location: format!("{mirror}/cache"),
            insecure: true,
            pull: PullFromMirror::All,
        })
        .collect();
    let registries = Registries {
        entries: vec![RegistryEntry {
            prefix: "place.test/team".to_owned(),
            location: Some(format!("{origin}/team")),
            insecure: true,
            blocked: false,
            mirrors,
            file: "/registries.conf".into(),
        }],
        ..Registries::default()
    };
    let session = Session::new(SessionOptions {
        config: Arc::new(Config::default().with_registries(registries)),
        retries: 0,
        timeouts: Timeouts {
            mirror: Duration::from_millis(300),
            ..Timeouts::default()
        },
        ..SessionOptions::default()
    });
    let credentials = CredentialSource::Given(FoundCredentials {
        credentials: Credentials::Basic {
            username: "me".to_owned(),
            password: Secret::new("canary"),
        },
        origin: "`--creds`".to_owned(),
    });
    let endpoint = Endpoint::new(
        &session.expect("the options are right"),
        EndpointOptions::new(credentials),
    );
    Docker::new(endpoint)
        .parse(&format!("//place.test/team/app{rest}"))
        .expect("the test names a place")
}

#[tokio::test]
async fn mirrors_that_do_not_serve_are_skipped() {
    let image = ImageSpec::oci(1).build();
    let other = ImageSpec::oci(2).build();
    let origin = registry(&image).await;
    let wrong = other.root.clone();
    let digest = format!("@{}", image.root.digest());
    let rows: Vec<(&str, ScriptedServer, &str)> = vec![
        (
            "missing",
            ScriptedServer::start(|_, _| Reply::status(404)).await,
            ":1",
        ),
        (
            "broken",
            ScriptedServer::start(|_, _| Reply::status(500)).await,
            ":1",
        ),
        (
            "rude",
            ScriptedServer::start(|_, _| Reply::hang_up()).await,
            ":1",
        ),
        (
            "closed",
            ScriptedServer::start(|_, _| {
                Reply::status(401).header("www-authenticate", "Basic realm=\"x\"")
            })
            .await,
            ":1",
        ),
        (
            "slow",
            ScriptedServer::start(|_, _| Reply::status(200).delay(Duration::from_secs(30))).await,
            ":1",
        ),
        (
            "lying about a digest",
            ScriptedServer::start(move |_, _| {
                Reply::status(200)
                    .header("content-type", wrong.media_type().as_str())
                    .body(wrong.bytes().clone())
            })
            .await,
            &digest,
        ),
        (
            "no registry",
            ScriptedServer::start(|_, _| Reply::status(200).body("<html>hello")).await,
            ":1",
        ),
    ];
    for (name, mirror, rest) in rows {
        let location = located(&origin.address(), &[mirror.address()], rest);
        let source = location.source().await.expect("nothing was asked yet");
        let root = source.root().await;
        let root = root.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(root, image.root, "{name}");
        // The place itself stands behind another name.
        assert_eq!(
            source.served_by(),
            Some(format!("{}/team/app", origin.address()))
        );
        assert!(!mirror.seen().is_empty(), "{name} was not asked");
        for seen in mirror.seen() {
            assert_eq!(seen.header("authorization"), "", "{name}");
        }
    }
}

#[tokio::test]
async fn the_first_mirror_that_has_the_image_serves_all_of_it() {
    let image = ImageSpec::oci(1).layers(2).build();
    let (origin, mirror) = (registry(&image).await, registry(&image).await);
    let dead = "127.0.0.1:1".to_owned();
    let location = located(&origin.address(), &[dead, mirror.address()], ":1");
    let source = location.source().await.expect("nothing was asked yet");
    assert_eq!(source.served_by(), None);
    let head = source.root_head().await.unwrap();
    assert_eq!(head.digest, image.root.digest());
    assert_eq!(source.root().await.unwrap(), image.root);
    for (blob, _) in &image.blobs {
        source.blob(blob, ByteRange::All).await.unwrap();
    }
    assert_eq!(
        source.served_by(),
        Some(format!("{}/cache/app", mirror.address()))
    );
    assert_eq!(origin.lines(), Vec::<String>::new());
    assert_eq!(mirror.lines().len(), 2 + image.blobs.len());
}

#[tokio::test]
async fn a_blob_that_a_mirror_lacks_or_falsifies_comes_from_the_next_place() {
    let image = ImageSpec::oci(1).build();
    let origin = registry(&image).await;
    let (lost, _) = image.blobs[0].clone();
    let (changed, bytes) = image.blobs[1].clone();
    let served = image.clone();
    let names = (lost.digest.to_string(), changed.digest.to_string());
    let size = bytes.len();
    let mirror = ScriptedServer::start(move |seen, _| {
        if seen.path.ends_with(&names.0) {
            Reply::status(404)
        } else if seen.path.ends_with(&names.1) {
            Reply::status(200).body(vec![0; size])
        } else {
            Reply::from_image(&served, seen)
        }
    })
    .await;
    let location = located(&origin.address(), &[mirror.address()], ":1");
    let source = location.source().await.unwrap();
    source.root().await.unwrap();
    let read = async |blob| {
        let body = source.blob(blob, ByteRange::All).await.unwrap().body;
        let pieces: Vec<_> = body.into_stream().try_collect().await.unwrap();
        pieces.concat()
    };
    assert_eq!(read(&lost).await, image.blob(&lost.digest).unwrap()[..]);
    assert_eq!(origin.lines().len(), 1);
    // Whoever reads finds out that this is not it, and asks again.
    assert_ne!(read(&changed).await, bytes[..]);
    assert_eq!(read(&changed).await, bytes[..]);
    assert_eq!(source.caps().places.get(), 2);
}

#[tokio::test]
async fn when_no_place_serves_all_are_named() {
    let gone = ScriptedServer::start(|_, _| Reply::status(404)).await;
    let mirror = ScriptedServer::start(|_, _| Reply::status(500)).await;
    let location = located(&gone.address(), &[mirror.address()], ":1");
    let error = location.source().await.unwrap().root().await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains(&mirror.address()), "{error}");
}

#[tokio::test]
async fn what_is_not_a_read_of_an_image_goes_to_the_place_that_is_named() {
    let image = ImageSpec::oci(1).build();
    let mirror = registry(&image).await;
    let location = located("127.0.0.1:1", &[mirror.address()], "");
    // `place.test` does not exist: everything fails there, and nothing reaches the mirror.
    let tags = location.catalog().unwrap().tags().try_collect::<Vec<_>>();
    assert_eq!(tags.await.unwrap_err().kind(), Kind::Unreachable);
    let deleted = location.catalog().unwrap().delete(Deletion::Named).await;
    assert_eq!(deleted.unwrap_err().kind(), Kind::Unreachable);
    let sink = location.sink().await.unwrap();
    assert_eq!(
        sink.commit(&image.root).await.unwrap_err().kind(),
        Kind::Unreachable
    );
    assert!(mirror.lines().is_empty());
}

#[tokio::test]
async fn a_blocked_registry_is_refused_before_any_request() {
    let origin = ScriptedServer::start(|_, _| Reply::status(200)).await;
    let registries = Registries {
        entries: vec![RegistryEntry {
            prefix: origin.address(),
            location: Some(origin.address()),
            insecure: true,
            blocked: true,
            mirrors: Vec::new(),
            file: "/x/registries.conf".into(),
        }],
        ..Registries::default()
    };
    let session = Session::new(SessionOptions {
        config: Arc::new(Config::default().with_registries(registries)),
        ..SessionOptions::default()
    });
    let nobody = CredentialSource::Given(FoundCredentials {
        credentials: Credentials::Anonymous,
        origin: String::new(),
    });
    let endpoint = Endpoint::new(&session.unwrap(), EndpointOptions::new(nobody));
    let location = Docker::new(endpoint)
        .parse(&format!("//{}/a:1", origin.address()))
        .unwrap();
    let errors = [
        location.source().await.map(drop).unwrap_err(),
        location.sink().await.map(drop).unwrap_err(),
        location
            .catalog()
            .unwrap()
            .delete(Deletion::Named)
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), Kind::Rejected);
        assert!(error.to_string().contains("/x/registries.conf"), "{error}");
    }
    assert!(origin.lines().is_empty());
}
