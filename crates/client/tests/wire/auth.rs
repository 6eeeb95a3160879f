//! Challenges, tokens, and who gets to see what.

use dhow_client::{Access, ErrorKind, ManifestRef, RepositoryClient};
use dhow_config::{Credentials, Secret};
use dhow_model::Tag;
use dhow_testkit::scripted::{Reply, ScriptedServer, Seen};

use crate::*;

fn manifest_reply() -> Reply {
    let manifest = manifest();
    Reply::status(200)
        .header("content-type", manifest.media_type().as_str())
        .body(manifest.bytes().clone())
}

fn challenge(seen: &Seen) -> String {
    format!(
        r#"Bearer realm="http://{}/token?x=1",service="the service""#,
        seen.header("host")
    )
}

/// A registry that wants a bearer token of its own token service.
fn bearer_registry(seen: &Seen, _: usize) -> Reply {
    if seen.path == "/token" {
        return Reply::status(200).body(format!(r#"{{"token":"{TOKEN}"}}"#));
    }
    if seen.header("authorization") == format!("Bearer {TOKEN}") {
        return manifest_reply();
    }
    Reply::status(401).header("www-authenticate", challenge(seen))
}

async fn fetch(client: &RepositoryClient) -> Result<(), ErrorKind> {
    let reference = ManifestRef::Tag(Tag::latest());
    let fetched = client.manifest(&reference).await;
    fetched.map(drop).map_err(|error| error.kind())
}

#[tokio::test]
async fn nothing_is_sent_before_it_is_asked_for_and_challenges_are_remembered() {
    let server = ScriptedServer::start(bearer_registry).await;
    let client = client(&server, basic(), Access::Pull);
    for _ in 0..3 {
        fetch(&client).await.unwrap();
    }
    assert_eq!(
        server.lines(),
        [
            "GET /v2/a/b/manifests/latest",
            "GET /token?account=user&scope=repository%3Aa%2Fb%3Apull&service=the+service&x=1",
            "GET /v2/a/b/manifests/latest",
            "GET /v2/a/b/manifests/latest",
            "GET /v2/a/b/manifests/latest",
        ]
    );
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), "");
    assert!(seen[1].header("authorization").starts_with("Basic "));
    assert_eq!(seen[1].header("user-agent"), "dhow/test");
    assert_eq!(seen[4].header("authorization"), format!("Bearer {TOKEN}"));
    assert_eq!(seen[4].headers.get_all("accept").iter().count(), 6);
}

#[tokio::test]
async fn the_challenge_matrix() {
    let named = |text: &'static str| move |seen: &Seen| text.replace("HOST", seen.header("host"));
    for (header, credentials, requests, outcome) in [
        ("Basic realm=\"x\"", basic(), 2, Ok(())),
        (
            "Basic",
            Credentials::Anonymous,
            1,
            Err(ErrorKind::Unauthorized),
        ),
        ("Digest x=\"y\"", basic(), 1, Err(ErrorKind::Unauthorized)),
        ("", basic(), 1, Err(ErrorKind::Unauthorized)),
        ("Bearer realm=\"http://HOST/token\"", basic(), 3, Ok(())),
        (
            "Bearer realm=\"http://HOST/token\"",
            Credentials::Anonymous,
            3,
            Ok(()),
        ),
        (
            "Negotiate, Basic, Bearer realm=\"http://HOST/token\"",
            basic(),
            2,
            Ok(()),
        ),
        (
            "Basic, Bearer realm=\"http://HOST/token\"",
            Credentials::Anonymous,
            3,
            Ok(()),
        ),
        ("Bearer service=\"x\"", basic(), 1, Err(ErrorKind::Protocol)),
        (
            "Bearer realm=\"/token\"",
            basic(),
            1,
            Err(ErrorKind::Protocol),
        ),
        (
            "Bearer realm=\"http://169.254.169.254/token\"",
            basic(),
            1,
            Err(ErrorKind::Refused),
        ),
        (
            "Bearer realm=\"http://[::ffff:a9fe:a9fe]/t\"",
            basic(),
            1,
            Err(ErrorKind::Refused),
        ),
        (
            "Bearer realm=\"x\"",
            Credentials::RegistryToken(Secret::new(TOKEN)),
            2,
            Ok(()),
        ),
    ] {
        let challenge = named(header);
        let server = ScriptedServer::start(move |seen, _| {
            if seen.path == "/token" {
                return Reply::status(200).body(format!(r#"{{"access_token":"{TOKEN}"}}"#));
            }
            match seen.header("authorization") {
                "" if header.is_empty() => Reply::status(401),
                "" => Reply::status(401).header("www-authenticate", challenge(seen)),
                _ => manifest_reply(),
            }
        })
        .await;
        let got = fetch(&client(&server, credentials, Access::Pull)).await;
        assert_eq!(got, outcome, "{header}");
        assert_eq!(server.lines().len(), requests, "{header}");
    }
}

#[tokio::test]
async fn an_identity_token_is_posted_and_never_in_the_url() {
    let server = ScriptedServer::start(bearer_registry).await;
    let credentials = Credentials::IdentityToken(Secret::new(IDENTITY));
    fetch(&client(&server, credentials, Access::Push))
        .await
        .unwrap();
    let seen = server.seen();
    assert_eq!(seen[1].line(), "POST /token");
    let form = String::from_utf8(seen[1].body.clone()).unwrap();
    for part in [
        "grant_type=refresh_token",
        "refresh_token=canary-identity",
        "scope=repository%3Aa%2Fb%3Apull%2Cpush",
        "service=the+service",
        "x=1",
    ] {
        assert!(form.contains(part), "{form}");
    }
}

#[tokio::test]
async fn one_token_serves_requests_that_come_at_once() {
    let server = ScriptedServer::start(bearer_registry).await;
    let client = client(&server, basic(), Access::Pull);
    let all = (0..20).map(|_| fetch(&client));
    for outcome in futures_util::future::join_all(all).await {
        outcome.unwrap();
    }
    let tokens = server
        .lines()
        .iter()
        .filter(|line| line.contains("/token"))
        .count();
    assert_eq!(tokens, 1);
}

#[tokio::test]
async fn tokens_are_kept_by_repository_and_by_credentials() {
    let server = ScriptedServer::start(bearer_registry).await;
    let session = session();
    for (credentials, path) in [
        (basic(), "a/b"),
        (basic(), "a/b"),
        (basic(), "c/d"),
        (Credentials::Anonymous, "a/b"),
    ] {
        let client = reach(
            &endpoint(&session, credentials),
            &repository(&server, path),
            Access::Pull,
        );
        fetch(&client).await.unwrap();
    }
    let lines = server.lines();
    let tokens: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("/token"))
        .collect();
    assert_eq!(tokens.len(), 3, "{lines:?}");
}

#[tokio::test]
async fn a_repository_may_ask_where_the_registry_did_not() {
    let server = ScriptedServer::start(|seen, number| match seen.path.as_str() {
        "/v2/" | "/v2/open/manifests/latest" => manifest_reply(),
        _ => bearer_registry(seen, number),
    })
    .await;
    let session = session();
    let endpoint = endpoint(&session, basic());
    fetch(&reach(
        &endpoint,
        &repository(&server, "open"),
        Access::Pull,
    ))
    .await
    .unwrap();
    fetch(&reach(&endpoint, &repository(&server, "a/b"), Access::Pull))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_that_ended_is_renewed_once() {
    let server = ScriptedServer::start(|seen, number| match seen.path.as_str() {
        "/token" => Reply::status(200).body(format!(r#"{{"token":"t{number}"}}"#)),
        // The first token (request 1) is good for one request.
        _ => match (seen.header("authorization"), number) {
            ("Bearer t1", 2) | ("Bearer t4", _) => manifest_reply(),
            _ => Reply::status(401).header("www-authenticate", challenge(seen)),
        },
    })
    .await;
    let client = client(&server, basic(), Access::Pull);
    fetch(&client).await.unwrap();
    fetch(&client).await.unwrap();
    assert_eq!(server.lines().len(), 6);
}

#[tokio::test]
async fn a_scope_that_the_registry_misses_is_added() {
    let server = ScriptedServer::start(|seen, _| {
        if seen.path == "/token" {
            let wide = seen.query.contains("repository%3Aother%3Apull");
            return Reply::status(200).body(format!(r#"{{"token":"wide-{wide}"}}"#));
        }
        match seen.header("authorization") {
            "Bearer wide-true" => manifest_reply(),
            "" => Reply::status(401).header("www-authenticate", challenge(seen)),
            _ => Reply::status(401).header(
                "www-authenticate",
                challenge(seen) + r#",error="insufficient_scope",scope="repository:other:pull""#,
            ),
        }
    })
    .await;
    fetch(&client(&server, basic(), Access::Pull))
        .await
        .unwrap();
    assert_eq!(server.lines().len(), 5);
}

#[tokio::test]
async fn refused_credentials_are_named_and_not_shown() {
    let server = ScriptedServer::start(|seen, _| match seen.path.as_str() {
        "/token" => Reply::status(401).body(r#"{"details":"incorrect username or password"}"#),
        _ => Reply::status(401).header("www-authenticate", challenge(seen)),
    })
    .await;
    let client = client(&server, basic(), Access::Pull);
    let error = client
        .manifest(&ManifestRef::Tag(Tag::latest()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let text = everything(&error);
    assert!(text.contains("incorrect username or password"), "{text}");
    assert!(error.hint_text().unwrap().contains("`--creds`"), "{text}");
    assert!(!text.contains(PASSWORD), "{text}");
}
