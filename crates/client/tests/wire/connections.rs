//! How connections are made: directly, through each kind of proxy, and when none comes about.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dhow_client::{Content, ErrorKind, ManifestRef, Timeouts, Upload};
use dhow_config::{ConfigOverrides, EnvSnapshot};
use dhow_model::Tag;
use dhow_testkit::identity::Identity;
use dhow_testkit::proxy::{Proxy, head};
use dhow_testkit::scripted::{Reply, ScriptedServer};
use http::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::tls::{secure, trusting};
use crate::*;

/// `me` and `proxy word`, as a URL has them and as Basic has them.
const LOGIN: &str = "me:proxy%20word";
const SHOWN: &str = "Basic bWU6cHJveHkgd29yZA==";

/// Returns a client of `registry.example/a/b` that tries nothing again.
fn reaching(
    variables: &[(&str, String)],
    timeouts: Timeouts,
    tls_verify: Option<bool>,
    registry: &str,
) -> RepositoryClient {
    let mut environment = EnvSnapshot::default();
    for (name, value) in variables {
        environment
            .variables
            .insert((*name).to_owned(), value.clone());
    }
    let config = Config::new(Arc::new(environment), ConfigOverrides::default());
    let session = Session::new(SessionOptions {
        user_agent: "dhow/test".to_owned(),
        config: Arc::new(config.with_registries(Registries::default())),
        retries: 0,
        timeouts,
    });
    let options = EndpointOptions {
        tls_verify,
        ..EndpointOptions::new(given(Credentials::Anonymous))
    };
    let repository = Repository::parse(&format!("{registry}/a/b")).unwrap();
    reach(
        &Endpoint::new(&session.unwrap(), options),
        &repository,
        Access::Pull,
    )
}

fn through(variables: &[(&str, String)]) -> RepositoryClient {
    let timeouts = Timeouts::default();
    reaching(variables, timeouts, Some(false), "registry.example")
}

async fn asked(client: &RepositoryClient) -> Error {
    let latest = ManifestRef::Tag(Tag::latest());
    client.manifest(&latest).await.unwrap_err()
}

/// Nobody listens there.
fn nowhere() -> (&'static str, String) {
    ("HTTPS_PROXY", "127.0.0.1:1".to_owned())
}

#[tokio::test]
async fn every_request_says_who_asks_and_takes_any_answer() {
    let server = ScriptedServer::start(|_, _| Reply::status(404)).await;
    let digest = blob(b"x").digest;
    drop(anonymous(&server).head_blob(&digest).await);
    let seen = server.seen();
    assert_eq!(seen[0].header("user-agent"), "dhow/test");
    assert_eq!(seen[0].header("accept"), "*/*");
    assert_eq!(seen[0].header("host"), server.address());
    assert_eq!(seen[0].header("referer"), "");
    assert_eq!(seen[0].header("proxy-authorization"), "");
}

#[tokio::test]
async fn a_second_request_does_not_wait_for_what_plain_http_answers_to_the_first() {
    let server = ScriptedServer::start(|seen, _| {
        let slow = Duration::from_secs(if seen.method == "GET" { 600 } else { 0 });
        Reply::status(404).delay(slow)
    });
    let server = server.await;
    let client = anonymous(&server);
    let tag = ManifestRef::Tag(Tag::latest());
    tokio::select! {
        biased;
        first = client.manifest(&tag) => panic!("{first:?}"),
        second = client.head_manifest(&tag) => assert!(second.unwrap().is_none()),
    }
    // One that was offered TLS, and one for each request.
    assert_eq!(server.connections(), 3);
}

/// A registry over TLS that has nothing, and takes everything.
async fn empty(identity: &Identity) -> ScriptedServer {
    ScriptedServer::start_tls(identity, |seen, _| match seen.method.as_str() {
        "GET" | "HEAD" => Reply::status(404),
        "POST" => Reply::status(202).header("location", "/up/1"),
        _ => Reply::status(201),
    })
    .await
}

/// Such a registry, and a client that has spoken to it.
async fn spoken_to(identity: &Identity) -> (ScriptedServer, RepositoryClient, tempfile::TempDir) {
    let server = empty(identity).await;
    let certificates = trusting(identity);
    let client = secure(&server, Credentials::Anonymous, &certificates, None);
    let latest = ManifestRef::Tag(Tag::latest());
    assert!(client.head_manifest(&latest).await.unwrap().is_none());
    (server, client, certificates)
}

async fn sent(mut upload: Upload) {
    let content = Content::from_bytes(Bytes::from_static(b"x"), Some(blob(b"x").digest));
    upload.send(content).await.unwrap();
}

/// What blobs come on has a window that blobs have opened.
#[tokio::test]
async fn blobs_have_connections_that_no_small_request_has_taken() {
    let identity = Identity::new().with_http2();
    let (server, client, _certificates) = spoken_to(&identity).await;
    let begun = futures_util::future::try_join_all((0..8).map(|_| client.start_upload()));
    for upload in begun.await.unwrap() {
        sent(upload).await;
    }
    assert_eq!(server.connections(), 2, "{:?}", server.lines());
    for seen in server.seen() {
        let is_blob = seen.method == "PUT";
        let expected = [Version::HTTP_2, Version::HTTP_11][usize::from(is_blob)];
        assert_eq!(seen.version, expected, "{}", seen.line());
    }
}

#[tokio::test]
async fn blobs_share_the_connections_of_a_registry_without_http_2() {
    let (server, client, _certificates) = spoken_to(&Identity::new()).await;
    sent(client.start_upload().await.unwrap()).await;
    assert_eq!(server.connections(), 1, "{:?}", server.lines());
}

/// Behind a proxy every host is far.
#[tokio::test]
async fn connections_for_blobs_are_made_while_their_uploads_begin() {
    let server = empty(&Identity::new().with_http2()).await;
    let proxy = Proxy::start(None, server.address()).await;
    let client = through(&[("HTTPS_PROXY", format!("http://{}", proxy.address()))]);
    client.connect_ahead(2);
    asked(&client).await;
    assert_eq!(server.connections(), 1, "nothing was known of the host");
    for _ in 0..5 {
        client.connect_ahead(2);
    }
    while server.connections() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = futures_util::future::try_join_all((0..2).map(|_| client.start_upload()));
    futures_util::future::join_all(begun.await.unwrap().into_iter().map(sent)).await;
    sent(client.start_upload().await.unwrap()).await;
    assert_eq!(server.connections(), 3, "{:?}", proxy.seen());
}

#[tokio::test]
async fn no_connection_is_made_ahead_to_a_host_that_is_near() {
    let identity = Identity::new().with_http2();
    let (server, client, _certificates) = spoken_to(&identity).await;
    for _ in 0..8 {
        client.connect_ahead(8);
    }
    sent(client.start_upload().await.unwrap()).await;
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_proxy_gets_the_whole_url_of_plain_http() {
    let proxy = Proxy::start(None, String::new()).await;
    let address = format!("http://{LOGIN}@{}", proxy.address());
    let error = asked(&through(&[nowhere(), ("HTTP_PROXY", address)])).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let seen = proxy.seen().concat();
    let line = "GET http://registry.example/v2/a/b/manifests/latest HTTP/1.1\r\n";
    assert!(seen.starts_with(line), "{seen}");
    assert!(seen.contains("host: registry.example\r\n"), "{seen}");
    let shown = format!("proxy-authorization: {SHOWN}\r\n");
    assert!(seen.contains(&shown), "{seen}");
}

/// Also through a proxy that is itself reached over TLS.
#[tokio::test]
async fn a_tunnel_is_paid_for_at_the_proxy_and_not_behind_it() {
    let identity = Identity::new();
    let registry = ScriptedServer::start_tls(&identity, |_, _| Reply::status(404)).await;
    for (scheme, tls) in [("http", None), ("https", Some(identity.acceptor()))] {
        let proxy = Proxy::start(tls, registry.address()).await;
        let address = format!("{scheme}://{LOGIN}@{}", proxy.address());
        let before = registry.seen().len();
        let error = asked(&through(&[("HTTPS_PROXY", address)])).await;
        assert_eq!(error.kind(), ErrorKind::NotFound, "{scheme}: {error:?}");
        let heads = proxy.seen();
        let head = heads[0].to_ascii_lowercase();
        assert!(head.starts_with("connect registry.example:443 http/1.1\r\n"));
        assert!(head.contains("user-agent: dhow/test\r\n"), "{head}");
        let shown = format!("proxy-authorization: {SHOWN}\r\n").to_ascii_lowercase();
        assert!(head.contains(&shown), "{head}");
        let seen = registry.seen().split_off(before);
        assert_eq!(seen[0].path, "/v2/a/b/manifests/latest");
        assert_eq!(seen[0].header("host"), "registry.example");
        assert_eq!(seen[0].header("proxy-authorization"), "");
    }
}

#[tokio::test]
async fn a_socks_proxy_gets_password_name_and_port() {
    let identity = Identity::new();
    let secure = ScriptedServer::start_tls(&identity, |_, _| Reply::status(404)).await;
    let plain = ScriptedServer::start(|_, _| Reply::status(404)).await;
    for (registry, variable, port) in [(secure, "HTTPS_PROXY", 443), (plain, "HTTP_PROXY", 80)] {
        let proxy = Proxy::start(None, registry.address()).await;
        let address = format!("socks5h://{LOGIN}@{}", proxy.address());
        let error = asked(&through(&[nowhere(), (variable, address)])).await;
        assert_eq!(error.kind(), ErrorKind::NotFound, "{variable}: {error:?}");
        let expected = format!("SOCKS5 me proxy word registry.example:{port}");
        assert_eq!(proxy.seen(), [expected]);
        let seen = registry.seen();
        assert_eq!(seen[0].path, "/v2/a/b/manifests/latest");
        assert_eq!(seen[0].header("proxy-authorization"), "");
    }
}

/// A server that promises to stay and leaves is no fault: the client has nothing to try again.
#[tokio::test]
async fn what_a_dead_connection_has_not_taken_goes_to_another() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // The question whether https is spoken here.
            if stream.read_u8().await.unwrap() == 22 {
                continue;
            }
            head(&mut stream).await;
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n";
            stream.write_all(reply).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let client = reaching(&[], Timeouts::default(), Some(false), &address);
    let digest = blob(b"x").digest;
    for round in 1..=3 {
        client.head_blob(&digest).await.unwrap();
        assert_eq!(answered.load(Ordering::Relaxed), round);
        // Lets the end of the connection arrive.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn names_that_do_not_exist_are_not_tried_again() {
    let proxy = ("HTTPS_PROXY", "socks5h://proxy.invalid:1".to_owned());
    for variables in [&[][..], &[proxy]] {
        let timeouts = Timeouts::default();
        let error = asked(&reaching(variables, timeouts, None, "registry.invalid")).await;
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
        assert!(!error.is_retryable(), "{error:?}");
    }
    let refused = asked(&reaching(&[], Timeouts::default(), None, "127.0.0.1:1")).await;
    assert!(refused.is_retryable(), "{refused:?}");
}

/// Whoever takes a connection and then says nothing: the limit is for TLS and proxies, too.
#[tokio::test]
async fn a_connection_is_made_in_time_or_not_at_all() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let timeouts = Timeouts {
        connect: Duration::from_millis(100),
        ..Timeouts::default()
    };
    for scheme in ["", "http://", "https://", "socks5h://"] {
        let proxy = ("HTTPS_PROXY", format!("{scheme}{LOGIN}@{address}"));
        let client = match scheme {
            "" => reaching(&[], timeouts, None, &address),
            _ => reaching(&[proxy], timeouts, None, "registry.example"),
        };
        let error = asked(&client).await;
        assert_eq!(error.kind(), ErrorKind::Timeout, "{scheme}: {error:?}");
        assert!(!everything(&error).contains("word"), "{scheme}: {error:?}");
    }
}
