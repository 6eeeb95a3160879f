//! Where a registry may lead: the rows of "credentials and where they go" that need a registry on
//! the internet. It is played by a proxy: whatever is reached through one counts as public.

use std::sync::Arc;

use dhow_client::{
    Access, Content, ErrorKind, ManifestRef, RepositoryClient, Session, SessionOptions,
};
use dhow_config::{Config, ConfigOverrides, Credentials, EnvSnapshot, Registries, Secret};
use dhow_model::{Digest, Repository, Tag};
use dhow_testkit::scripted::{Reply, ScriptedServer};

use crate::*;

/// Returns a client of `registry.example/a/b`, which `proxy` plays.
fn public(proxy: &ScriptedServer, credentials: Credentials) -> RepositoryClient {
    let mut environment = EnvSnapshot::default();
    for (name, value) in [
        ("HTTP_PROXY", proxy.address()),
        // Nobody listens: https is found out not to work at once.
        ("HTTPS_PROXY", "127.0.0.1:1".to_owned()),
    ] {
        environment.variables.insert(name.to_owned(), value);
    }
    let config = Config::new(Arc::new(environment), ConfigOverrides::default());
    let session = Session::new(SessionOptions {
        config: Arc::new(config.with_registries(Registries::default())),
        retries: 1,
        ..SessionOptions::default()
    });
    let repository = Repository::parse("registry.example/a/b").unwrap();
    reach(
        &endpoint(&session.unwrap(), credentials),
        &repository,
        Access::Push,
    )
}

fn latest() -> ManifestRef {
    ManifestRef::Tag(Tag::latest())
}

/// CVE-2026-48978, ggcr#2193 and #2440: by literal, in all notations, and by a name that leads
/// there, which no look at the string can see.
#[tokio::test]
async fn a_realm_inside_gets_neither_password_nor_refresh_token() {
    let inside = ScriptedServer::start(|_, _| Reply::status(200).body(r#"{"token":"t"}"#)).await;
    let port = inside.address().rsplit_once(':').unwrap().1.to_owned();
    for host in [
        "127.0.0.1",
        "localhost", // by name: this one resolves on every machine
        "LOCALHOST.",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.0.1",
        "metadata.google.internal",
        "[fd00:ec2::254]",
    ] {
        for credentials in [basic(), Credentials::IdentityToken(Secret::new(IDENTITY))] {
            let realm = format!("http://{host}:{port}/token");
            let registry = ScriptedServer::start(move |_, _| {
                Reply::status(401).header(
                    "www-authenticate",
                    format!("Bearer realm=\"{realm}\",service=s"),
                )
            })
            .await;
            let client = public(&registry, credentials);
            let error = client.manifest(&latest()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{host}: {error:?}");
            for seen in registry.seen() {
                assert_eq!(seen.header("authorization"), "", "{host}");
            }
        }
    }
    assert!(inside.seen().is_empty());
}

/// GHSA-vh4v-2xq2-g5cg and its kin: a redirect, an upload's place and a foreign layer.
#[tokio::test]
async fn redirects_uploads_and_foreign_layers_do_not_lead_inside() {
    let inside = ScriptedServer::start(|_, _| Reply::status(200).body("inside")).await;
    let port = inside.address().rsplit_once(':').unwrap().1.to_owned();
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let to = format!("http://{host}:{port}/x");
        let place = to.clone();
        let registry = ScriptedServer::start(move |seen, _| match seen.method.as_str() {
            "POST" => Reply::status(202).header("location", &place),
            _ if seen.path.contains("/blobs/") => Reply::status(307).header("location", &place),
            _ => Reply::status(404),
        })
        .await;
        let client = public(&registry, basic());
        let data = blob(b"inside");
        let error = client.blob(&data, 0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{host}: {error:?}");
        let mut upload = client.start_upload().await.unwrap();
        let content = Content::from_bytes(Bytes::from_static(b"inside"), Some(data.digest));
        let error = upload.send(content).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{host}: {error:?}");
        let mut foreign = data.clone();
        foreign.urls = vec![to];
        assert!(client.blob(&foreign, 0).await.is_err());
    }
    assert!(inside.seen().is_empty());
}

/// ggcr PR#2302: who has everything at home must not be locked out.
#[tokio::test]
async fn private_registries_use_what_is_in_their_network() {
    let image = manifest();
    let service = ScriptedServer::start(|_, _| Reply::status(200).body(r#"{"token":"t"}"#)).await;
    // By another name and another port than the registry's.
    let realm = service.address().replace("127.0.0.1", "localhost");
    let registry = ScriptedServer::start(move |seen, _| match seen.header("authorization") {
        "Bearer t" => Reply::status(200).body(image.bytes().clone()),
        _ => Reply::status(401).header(
            "www-authenticate",
            format!("Bearer realm=\"http://{realm}/token\",service=s"),
        ),
    })
    .await;
    let client = client(&registry, basic(), Access::Pull);
    client.manifest(&latest()).await.unwrap();
    assert!(
        service.seen()[0]
            .header("authorization")
            .starts_with("Basic ")
    );
}

/// A token service that sends away what it was shown: the password stays with it.
#[tokio::test]
async fn a_token_service_that_redirects_takes_the_password_nowhere() {
    let other = ScriptedServer::start(|_, _| Reply::status(200).body(r#"{"token":"t"}"#)).await;
    let elsewhere = other.address();
    for credentials in [basic(), Credentials::IdentityToken(Secret::new(IDENTITY))] {
        let elsewhere = elsewhere.clone();
        let registry = ScriptedServer::start(move |seen, _| match seen.path.as_str() {
            "/token" => Reply::status(307).header("location", format!("http://{elsewhere}/token")),
            _ => Reply::status(401).header(
                "www-authenticate",
                format!(
                    "Bearer realm=\"http://{}/token\",service=s",
                    seen.header("host")
                ),
            ),
        })
        .await;
        let client = client(&registry, credentials, Access::Pull);
        drop(client.manifest(&latest()).await);
    }
    for seen in other.seen() {
        assert_eq!(seen.header("authorization"), "", "{}", seen.line());
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        assert!(!body.contains(IDENTITY), "{body}");
    }
}

/// GHSA-h7vf-4x9w-h99v: pages are read from the registry, whatever `Link` says.
#[tokio::test]
async fn the_next_page_is_asked_for_at_the_registry() {
    let other = ScriptedServer::start(|_, _| Reply::status(200).body(r#"{"tags":["evil"]}"#)).await;
    let elsewhere = other.address();
    let registry = ScriptedServer::start(move |seen, _| {
        if seen.header("authorization").is_empty() {
            return Reply::status(401).header("www-authenticate", "Basic realm=\"x\"");
        }
        let body = r#"{"tags":["t"],"repositories":["r"],"manifests":[]}"#;
        let reply = Reply::status(200).body(body);
        if !seen.query.is_empty() {
            return reply;
        }
        let next = format!("<http://{elsewhere}{}?n=2>; rel=\"next\"", seen.path);
        reply.header("link", next)
    })
    .await;
    let session = session();
    let endpoint = endpoint(&session, basic());
    let client = reach(&endpoint, &repository(&registry, "a/b"), Access::Pull);
    let tags: Vec<_> = client.tags().collect().await;
    assert_eq!(tags.len(), 2);
    let catalog: Vec<_> = endpoint.catalog(&registry.address()).collect().await;
    assert_eq!(catalog.len(), 2);
    let subject = Digest::sha256(b"x");
    client.referrers(&subject, None).await.unwrap();
    assert!(other.seen().is_empty());
    let lines = registry.lines();
    for page in [
        "a/b/tags/list".to_owned(),
        "_catalog".to_owned(),
        format!("a/b/referrers/{subject}"),
    ] {
        let next = format!("GET /v2/{page}?n=2");
        assert!(lines.contains(&next), "{next}: {lines:?}");
    }
}

/// One budget for the whole process: what one request is told, all others heed.
#[tokio::test]
async fn everybody_waits_when_one_is_told_to() {
    let image = manifest();
    let registry = ScriptedServer::start(move |_, number| match number {
        0 => Reply::status(429).header("retry-after", "1"),
        _ => Reply::status(200).body(image.bytes().clone()),
    })
    .await;
    let session = session();
    let endpoint = endpoint(&session, Credentials::Anonymous);
    let first = reach(&endpoint, &repository(&registry, "a/b"), Access::Pull);
    let second = reach(&endpoint, &repository(&registry, "c/d"), Access::Pull);
    let start = std::time::Instant::now();
    let tag = latest();
    let told = first.manifest(&tag);
    let later = async {
        while registry.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        // The answer is on its way.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let asked = second.manifest(&latest()).await;
        (asked, start.elapsed())
    };
    let (told, (later, waited)) = tokio::join!(told, later);
    told.unwrap();
    later.unwrap();
    assert!(waited.as_millis() >= 900, "{waited:?}");
}

/// A server that says nothing is an error within a bounded time.
#[tokio::test]
async fn a_server_that_stops_answering_is_tried_again_and_then_an_error() {
    let quick = dhow_client::Timeouts {
        answer: std::time::Duration::from_millis(100),
        stall: std::time::Duration::from_millis(100),
        ..dhow_client::Timeouts::default()
    };
    let data = pattern(1000);
    let (silent, stuck) = (data.clone(), data.clone());
    let servers = [
        ScriptedServer::start(move |_, _| {
            let reply = Reply::status(200).body(silent.clone());
            reply.delay(std::time::Duration::from_mins(5))
        })
        .await,
        // The head comes at once, and then a part of the body at most.
        ScriptedServer::start(move |_, _| Reply::status(200).body(stuck.clone()).stall_after(10))
            .await,
    ];
    for server in servers {
        let session = Session::new(SessionOptions {
            config: Arc::new(config()),
            retries: 1,
            timeouts: quick,
            ..SessionOptions::default()
        });
        let endpoint = endpoint(&session.unwrap(), Credentials::Anonymous);
        let client = reach(&endpoint, &repository(&server, "a/b"), Access::Pull);
        let outcome = match client.blob(&blob(&data), 0).await {
            Ok(stream) => read(stream).await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(server.seen().len(), 2);
    }
}
