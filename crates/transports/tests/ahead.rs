//! Connections that are there before they are needed.

#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::sync::Arc;
use std::time::Duration;

use dhow_client::{Endpoint, EndpointOptions, Session, SessionOptions};
use dhow_config::{
    Config, ConfigOverrides, CredentialSource, Credentials, EnvSnapshot, FoundCredentials,
    Registries,
};
use dhow_model::{Descriptor, MediaType};
use dhow_testkit::conformance::want;
use dhow_testkit::identity::Identity;
use dhow_testkit::proxy::Proxy;
use dhow_testkit::scripted::{Reply, ScriptedServer};
use dhow_transport::{Sink, Transport as _};
use dhow_transports::docker::Docker;

/// Opens `registry.example/a:v1` behind a proxy: what is behind one is far.
async fn sink_behind(proxy: &Proxy) -> Arc<dyn Sink> {
    let address = format!("http://{}", proxy.address());
    let environment = EnvSnapshot {
        variables: [("HTTPS_PROXY".to_owned(), address)].into(),
        ..EnvSnapshot::default()
    };
    let config = Config::new(Arc::new(environment), ConfigOverrides::default());
    let session = Session::new(SessionOptions {
        config: Arc::new(config.with_registries(Registries::default())),
        retries: 0,
        ..SessionOptions::default()
    });
    let nobody = CredentialSource::Given(FoundCredentials {
        credentials: Credentials::Anonymous,
        origin: "nowhere".to_owned(),
    });
    let options = EndpointOptions {
        tls_verify: Some(false),
        ..EndpointOptions::new(nobody)
    };
    let docker = Docker::new(Endpoint::new(&session.unwrap(), options));
    let location = docker.parse("//registry.example/a:v1").unwrap();
    location.sink().await.unwrap()
}

#[tokio::test]
async fn the_connection_for_a_blob_is_made_while_the_registry_is_asked_for_it() {
    let identity = Identity::new().with_http2();
    let server = ScriptedServer::start_tls(&identity, |seen, _| match seen.method.as_str() {
        "POST" => Reply::status(202).delay(Duration::from_mins(10)),
        _ => Reply::status(404),
    })
    .await;
    let proxy = Proxy::start(None, server.address()).await;
    let sink = sink_behind(&proxy).await;
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
