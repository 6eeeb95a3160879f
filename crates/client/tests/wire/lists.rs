//! Tags, repositories and referrers, page by page.

use dhow_client::ErrorKind;
use dhow_model::Digest;
use dhow_testkit::scripted::{Reply, ScriptedServer};
use futures_util::TryStreamExt as _;

use crate::*;

async fn tags(server: &ScriptedServer) -> Result<Vec<String>, ErrorKind> {
    let all: Result<Vec<_>, _> = anonymous(server).tags().try_collect().await;
    all.map(|tags| tags.iter().map(ToString::to_string).collect())
        .map_err(|error| error.kind())
}

#[tokio::test]
async fn pages_are_followed() {
    for link in [
        r#"</v2/a/b/tags/list?last=y&n=2>; rel="next""#,
        r"<?last=y&n=2>;rel=next",
        r#"<list?last=y&n=2>; rel="next""#,
        r#"<http://elsewhere.example/v2/a/b/tags/list?last=y&n=2>; rel="next""#,
    ] {
        let server = ScriptedServer::start(move |seen, _| match seen.query.as_str() {
            "" => Reply::status(200)
                .header("link", link)
                .body(r#"{"tags":["x","",null,"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","y"]}"#),
            "last=y&n=2" => Reply::status(200).body(r#"{"tags":["z"]}"#),
            _ => Reply::status(400),
        })
        .await;
        assert_eq!(tags(&server).await.unwrap(), ["x", "y", "z"], "{link}");
    }
}

#[tokio::test]
async fn odd_lists_are_read_or_refused() {
    for (body, expected) in [
        (r#"{"tags":null}"#, Ok(vec![])),
        (r#"{"name":"a/b"}"#, Ok(vec![])),
        (r#"{"tags":["a b"]}"#, Err(ErrorKind::Protocol)),
        (r#"{"tags":{}}"#, Err(ErrorKind::Protocol)),
        ("[", Err(ErrorKind::Protocol)),
    ] {
        let server = ScriptedServer::start(move |_, _| Reply::status(200).body(body)).await;
        assert_eq!(tags(&server).await, expected, "{body}");
    }
}

#[tokio::test]
async fn pages_that_go_in_circles_end() {
    let server = ScriptedServer::start(|_, _| {
        Reply::status(200)
            .header("link", r#"</v2/a/b/tags/list?last=x>; rel="next""#)
            .body(r#"{"tags":["x"]}"#)
    })
    .await;
    assert_eq!(tags(&server).await, Err(ErrorKind::Protocol));
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn repositories_are_listed() {
    let server = ScriptedServer::start(|seen, _| match seen.line().as_str() {
        "GET /v2/_catalog" => Reply::status(200)
            .header("link", r#"</v2/_catalog?last=b>; rel="next""#)
            .body(r#"{"repositories":["a","b"]}"#),
        "GET /v2/_catalog?last=b" => Reply::status(200).body(r#"{"repositories":["c/d"]}"#),
        _ => Reply::status(400),
    })
    .await;
    let session = session();
    let endpoint = endpoint(&session, Credentials::Anonymous);
    let all: Vec<_> = endpoint
        .catalog(&server.address())
        .map_ok(|one| one.path().to_owned())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(all, ["a", "b", "c/d"]);
}

#[tokio::test]
async fn referrers_come_from_the_api_or_from_the_tag() {
    let subject = Digest::sha256(b"subject");
    let mut one = blob(b"one");
    one.artifact_type = Some("application/x".to_owned());
    let mut two = blob(b"two");
    two.artifact_type = Some("application/y".to_owned());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{{"digest":"bad"}},{}]}}"#,
        serde_json::to_string(&one).unwrap(),
        serde_json::to_string(&two).unwrap()
    );
    let by_tag = format!(
        "/v2/a/b/manifests/{}",
        subject.to_string().replace(':', "-")
    );
    for has_api in [true, false] {
        let (index, by_tag) = (index.clone(), by_tag.clone());
        let server = ScriptedServer::start(move |seen, _| {
            let api = seen.path.contains("/referrers/");
            if api == has_api && (api || seen.path == by_tag) {
                Reply::status(200).body(index.clone())
            } else {
                Reply::status(404)
            }
        })
        .await;
        let client = anonymous(&server);
        assert_eq!(client.referrers(&subject, None).await.unwrap().len(), 2);
        let filtered = client
            .referrers(&subject, Some("application/y"))
            .await
            .unwrap();
        assert_eq!(filtered, std::slice::from_ref(&two));
        let none = client.referrers(&Digest::sha256(b"x"), None).await;
        assert_eq!(none.unwrap().len(), if has_api { 2 } else { 0 });
    }
}
