//! Connections that are there before they are needed.

use std::time::Duration;

use dhow_testkit::identity::Identity;
use dhow_testkit::proxy::Proxy;

use crate::*;

#[tokio::test]
async fn the_connection_for_a_blob_is_made_while_the_registry_is_asked_for_it() {
    let identity = Identity::new().with_http2();
    let server = ScriptedServer::start_tls(&identity, |seen, _| match seen.method.as_str() {
        "POST" => Reply::status(202).delay(Duration::from_mins(10)),
        _ => Reply::status(404),
    })
    .await;
    let proxy = Proxy::start(None, server.address()).await;
    // What is behind a proxy is far.
    let far = format!("http://{}", proxy.address());
    let sink = opened("//registry.example/a:v1", [("HTTPS_PROXY".to_owned(), far)]).await;
    assert_eq!(sink.present_root().await.unwrap(), None);
    sink.expect_blobs(2);
    let blobs = [b"a", b"b", b"c"].map(|bytes| Descriptor::of(MediaType::OCI_LAYER_GZIP, bytes));
    let wants = blobs.each_ref().map(want);
    let asking = futures_util::future::join_all(wants.iter().map(|want| sink.reuse(want)));
    let all_there = async {
        while server.connections() < 3 || server.seen().len() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        biased;
        answers = asking => panic!("{answers:?}"),
        () = all_there => {}
    }
    assert_eq!(server.connections(), 3, "{:?}", server.lines());
}
