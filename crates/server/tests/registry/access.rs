//! Who may do what: passwords, tokens, read-only, encryption.

use dhow_model::Digest;
use dhow_server::{AuthConfig, Htpasswd, StoreConfig, TlsConfig};
use serde_json::Value;
use tempfile::TempDir;

use crate::world::{World, code, header};

#[tokio::test]
async fn a_password_is_asked_for() {
    let users = Htpasswd::for_user("ann", "secret");
    let world = World::with(StoreConfig::Memory, |config| {
        config.auth = AuthConfig::Basic(users);
    })
    .await;
    let answer = world.send("GET", "/v2/").await;
    assert_eq!(answer.status(), 401);
    assert!(header(&answer, "www-authenticate").starts_with("Basic realm="));
    assert_eq!(code(answer).await, "UNAUTHORIZED");
    for (password, status) in [("secret", 200), ("wrong", 401), ("secret", 200)] {
        let request = world
            .request("GET", "/v2/")
            .basic_auth("ann", Some(password));
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    let lines = world.lines.0.lock().unwrap();
    assert_eq!(lines[1].user.as_deref(), Some("ann"));
    assert_eq!(lines[0].user, None);
}

#[tokio::test]
async fn pulling_may_be_free_while_pushing_is_not() {
    let users = Htpasswd::for_user("ann", "secret");
    let world = World::with(StoreConfig::Memory, |config| {
        config.auth = AuthConfig::Basic(users);
        config.anonymous_pull = true;
    })
    .await;
    assert_eq!(world.status("GET", "/v2/").await, 401);
    assert_eq!(world.status("GET", "/v2/a/tags/list").await, 404);
    assert_eq!(world.status("POST", "/v2/a/blobs/uploads/").await, 401);
    assert_eq!(world.status("GET", "/v2/_catalog").await, 401);
}

async fn token(world: &World, scope: &str) -> String {
    let path = format!("/openshift/token?service=x&scope={scope}");
    let request = world
        .request("GET", &path)
        .basic_auth("builder", Some("secret"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let document: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    document["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tokens_hold_for_what_they_were_asked_for() {
    // Any name goes with the service account's token.
    let users = Htpasswd::for_user("*", "secret");
    let world = World::with(StoreConfig::Memory, |config| {
        config.auth = AuthConfig::Token(users);
    })
    .await;
    let host = world.base.strip_prefix("http://").unwrap().to_owned();
    let answer = world.send("POST", "/v2/a/b/blobs/uploads/").await;
    assert_eq!(answer.status(), 401);
    assert_eq!(
        header(&answer, "www-authenticate"),
        format!(
            "Bearer realm=\"http://{host}/openshift/token\",service=\"{host}\",\
             scope=\"repository:a/b:pull,push\""
        )
    );
    assert_eq!(world.status("GET", "/openshift/token").await, 401);
    let pull = token(&world, "repository:a/b:pull").await;
    let push = token(&world, "repository:a/b:pull,push&scope=repository:c:pull").await;
    let none = token(&world, "").await;
    for (token, method, path, status) in [
        (&none, "GET", "/v2/", 200),
        (&none, "GET", "/v2/a/b/tags/list", 401),
        (&pull, "GET", "/v2/a/b/tags/list", 404),
        (&pull, "GET", "/v2/a/tags/list", 401),
        (&pull, "POST", "/v2/a/b/blobs/uploads/", 401),
        (&push, "POST", "/v2/a/b/blobs/uploads/", 202),
        (&push, "GET", "/v2/c/tags/list", 404),
        (&push, "POST", "/v2/c/blobs/uploads/", 401),
        (&push, "DELETE", "/v2/a/b/manifests/x", 401),
        (&push, "GET", "/v2/_catalog", 401),
        (&"x.y".to_owned(), "GET", "/v2/", 401),
    ] {
        let answer = world
            .request(method, path)
            .bearer_auth(token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        if status == 401 {
            let expected = if token == "x.y" {
                "invalid_token"
            } else {
                "insufficient_scope"
            };
            assert!(header(&answer, "www-authenticate").contains(expected));
        }
    }
    let all = token_of(&world, "registry:catalog:*").await;
    let answer = world.request("GET", "/v2/_catalog").bearer_auth(all);
    assert_eq!(answer.send().await.unwrap().status(), 200);
}

/// Asks with a form, as OAuth2 has it.
async fn token_of(world: &World, scope: &str) -> String {
    let form = format!("grant_type=password&service=x&username=u&password=secret&scope={scope}");
    let answer = world.request("POST", "/openshift/token").body(form);
    let text = answer.send().await.unwrap().text().await.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    document["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_read_only_registry_changes_nothing() {
    let place = TempDir::new().unwrap();
    let world = World::on(place.path()).await;
    let digest = world.push_image("a", "v1", b"layer").await;
    world.stop().await;
    let store = StoreConfig::Directory(place.path().join("target"));
    let world = World::with(store, |config| config.read_only = true).await;
    for (method, path, status) in [
        ("GET", "/v2/a/manifests/v1".to_owned(), 200),
        ("PUT", "/v2/a/manifests/v2".to_owned(), 405),
        ("DELETE", "/v2/a/manifests/v1".to_owned(), 405),
        ("DELETE", format!("/v2/a/blobs/{digest}"), 405),
        ("POST", "/v2/a/blobs/uploads/".to_owned(), 405),
        ("PATCH", "/v2/a/blobs/uploads/x".to_owned(), 405),
        ("GET", "/v2/a/manifests/v1".to_owned(), 200),
    ] {
        let answer = world.send(method, &path).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        if status == 405 {
            assert_eq!(code(answer).await, "UNSUPPORTED");
        }
    }
}

#[tokio::test]
async fn connections_are_encrypted_with_a_made_up_certificate() {
    let world = World::with(StoreConfig::Memory, |config| {
        config.tls = TlsConfig::SelfSigned {
            names: vec!["registry.example".to_owned()],
        };
    })
    .await;
    assert!(world.certificate.is_some());
    let answer = world.send("GET", "/v2/").await;
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, reqwest::Version::HTTP_2)
    );
    let digest = world.push_image("a", "v1", b"layer").await;
    let path = format!("/v2/a/manifests/{digest}");
    assert_eq!(world.status("GET", &path).await, 200);
    let blob = format!("/v2/a/blobs/{}", Digest::sha256(b"layer"));
    assert_eq!(
        world.send("GET", &blob).await.text().await.unwrap(),
        "layer"
    );
    world.stop().await;
}

#[tokio::test]
async fn unknown_endpoints_and_methods_are_refused() {
    let world = World::start(StoreConfig::Memory).await;
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/v3/", 404),
        ("GET", "/v2/a", 404),
        ("POST", "/v2/", 405),
        ("POST", "/v2/a/tags/list", 405),
        ("PUT", "/v2/A/manifests/v1", 400),
        ("GET", "/v2/%2e%2e%2fetc/tags/list", 400),
        ("GET", "/v2/a/manifests/.INVALID", 404),
        ("GET", "/openshift/token", 404),
    ] {
        assert_eq!(world.status(method, path).await, status, "{method} {path}");
    }
}
