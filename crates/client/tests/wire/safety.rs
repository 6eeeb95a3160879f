//! Where credentials go, and where nothing goes.

use std::io;
use std::sync::{Arc, Mutex};

use dhow_client::{Content, ErrorKind, ManifestRef};
use dhow_model::Tag;
use dhow_testkit::scripted::{Reply, ScriptedServer};

use crate::*;

fn asks(seen: &dhow_testkit::scripted::Seen) -> Option<Reply> {
    seen.header("authorization")
        .is_empty()
        .then(|| Reply::status(401).header("www-authenticate", "Basic realm=\"x\""))
}

#[tokio::test]
async fn redirects_take_credentials_nowhere_else() {
    let data = pattern(100);
    for status in [301, 302, 303, 307, 308] {
        let served = data.clone();
        let other =
            ScriptedServer::start(move |_, _| Reply::status(200).body(served.clone())).await;
        let elsewhere = other.address();
        let server = ScriptedServer::start(move |seen, _| {
            asks(seen).unwrap_or_else(|| match seen.path.as_str() {
                "/here" => Reply::status(status)
                    .header("location", format!("http://{elsewhere}/signed?secret=1")),
                _ => Reply::status(status).header("location", "/here"),
            })
        })
        .await;
        let client = client(&server, basic(), Access::Pull);
        let stream = client.blob(&blob(&data), 0).await.unwrap();
        assert_eq!(read(stream).await.unwrap(), data, "{status}");
        assert!(
            server.seen()[2]
                .header("authorization")
                .starts_with("Basic ")
        );
        assert_eq!(other.seen()[0].header("authorization"), "", "{status}");
    }
}

#[tokio::test]
async fn a_challenge_of_another_host_is_not_answered() {
    let other = ScriptedServer::start(|_, _| {
        Reply::status(401).header("www-authenticate", "Basic realm=\"x\"")
    })
    .await;
    let elsewhere = other.address();
    let server = ScriptedServer::start(move |seen, _| {
        asks(seen).unwrap_or_else(|| {
            Reply::status(307).header("location", format!("http://{elsewhere}/x"))
        })
    })
    .await;
    let client = client(&server, basic(), Access::Pull);
    let error = client.blob(&blob(b"x"), 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(other.seen().len(), 1);
    assert_eq!(other.seen()[0].header("authorization"), "");
}

#[tokio::test]
async fn who_sends_away_and_back_gets_nothing() {
    let back = Arc::new(Mutex::new(String::new()));
    let target = back.clone();
    let other = ScriptedServer::start(move |_, _| {
        Reply::status(307).header(
            "location",
            format!("http://{}/back", target.lock().unwrap()),
        )
    })
    .await;
    let elsewhere = other.address();
    let server = ScriptedServer::start(move |seen, _| match seen.path.as_str() {
        "/back" => Reply::status(200).body("x"),
        _ => asks(seen).unwrap_or_else(|| {
            Reply::status(307).header("location", format!("http://{elsewhere}/x"))
        }),
    })
    .await;
    *back.lock().unwrap() = server.address();
    let client = client(&server, basic(), Access::Pull);
    let stream = client.blob(&blob(b"x"), 0).await.unwrap();
    assert_eq!(read(stream).await.unwrap(), b"x");
    assert_eq!(server.seen().last().unwrap().header("authorization"), "");
}

#[tokio::test]
async fn redirects_that_lead_nowhere_good_are_refused() {
    for (location, kind) in [
        ("/again", ErrorKind::Protocol), // for ever
        ("http://169.254.169.254/x", ErrorKind::Refused),
        ("http://u:p@127.0.0.1/x", ErrorKind::Refused),
        ("file:///etc/passwd", ErrorKind::Refused),
    ] {
        let server =
            ScriptedServer::start(move |_, _| Reply::status(307).header("location", location))
                .await;
        let error = anonymous(&server).blob(&blob(b"x"), 0).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{location}");
        assert!(server.lines().len() <= 11);
    }
}

#[tokio::test]
async fn an_upload_elsewhere_gets_no_credentials() {
    let data = pattern(1000);
    let other = ScriptedServer::start(|_, _| Reply::status(201)).await;
    let elsewhere = other.address();
    let server = ScriptedServer::start(move |seen, _| {
        asks(seen).unwrap_or_else(|| {
            Reply::status(202).header("location", format!("http://{elsewhere}/up?state=1"))
        })
    })
    .await;
    let client = client(&server, basic(), Access::Push);
    let mut upload = client.start_upload().await.unwrap();
    let digest = blob(&data).digest;
    upload
        .send(Content::from_bytes(data, Some(digest)))
        .await
        .unwrap();
    assert!(
        server.seen()[1]
            .header("authorization")
            .starts_with("Basic ")
    );
    let seen = &other.seen()[0];
    assert_eq!(seen.header("authorization"), "");
    assert_eq!(seen.method, "PUT");
    assert_eq!(seen.body_length, 1000);
}

#[tokio::test]
async fn a_proxy_gets_its_own_password_and_no_more() {
    let proxy = ScriptedServer::start(|seen, _| {
        if seen.method == "CONNECT" {
            return Reply::status(502);
        }
        let manifest = manifest();
        asks(seen).unwrap_or_else(|| Reply::status(200).body(manifest.bytes().clone()))
    })
    .await;
    let mut environment = dhow_config::EnvSnapshot::default();
    let address = format!("http://me:proxy-word@{}", proxy.address());
    environment
        .variables
        .insert("HTTP_PROXY".to_owned(), address);
    let session = dhow_client::Session::new(dhow_client::SessionOptions {
        config: Arc::new(
            Config::new(
                Arc::new(environment),
                dhow_config::ConfigOverrides::default(),
            )
            .with_registries(Registries::default()),
        ),
        ..dhow_client::SessionOptions::default()
    });
    let repository = dhow_model::Repository::parse("registry.invalid/a/b").unwrap();
    let client = reach(
        &endpoint(&session.unwrap(), basic()),
        &repository,
        Access::Pull,
    );
    client
        .manifest(&ManifestRef::Tag(Tag::latest()))
        .await
        .unwrap();
    let seen = proxy.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].header("host"), "registry.invalid");
    assert_eq!(
        seen[1].header("proxy-authorization"),
        "Basic bWU6cHJveHktd29yZA=="
    );
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_are_neither_logged_nor_told() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = ScriptedServer::start(|seen, number| {
        let host = seen.header("host");
        match (seen.path.as_str(), seen.header("authorization")) {
            ("/token", _) => Reply::status(200).body(format!(r#"{{"token":"{TOKEN}"}}"#)),
            (_, "") => Reply::status(401).header(
                "www-authenticate",
                format!("Bearer realm=\"http://{host}/token?q=canary-query\""),
            ),
            _ if number < 3 => Reply::status(307).header("location", "/x?sig=canary-query"),
            _ => Reply::status(500).header("retry-after", "0").body("no"),
        }
    })
    .await;
    for credentials in [
        basic(),
        dhow_config::Credentials::IdentityToken(dhow_config::Secret::new(IDENTITY)),
        dhow_config::Credentials::RegistryToken(dhow_config::Secret::new(TOKEN)),
    ] {
        let client = client(&server, credentials, Access::Pull);
        let error = client
            .manifest(&ManifestRef::Tag(Tag::latest()))
            .await
            .unwrap_err();
        log.0.lock().unwrap().extend(everything(&error).bytes());
        log.0.lock().unwrap().extend(format!("{client:?}").bytes());
    }
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(text.contains("/v2/a/b/manifests/latest"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}
