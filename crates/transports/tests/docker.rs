//! `docker://`: the conformance suite against Debian's `docker-registry`, and what goes over the
//! wire, against a scripted server.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhow_client::{Endpoint, EndpointOptions, Session, SessionOptions};
use dhow_config::{CredentialSource, Credentials, FoundCredentials};
use dhow_model::{Descriptor, MediaType, Repository};
use dhow_testkit::conformance::{Place, pieces, want};
use dhow_testkit::scripted::{Reply, ScriptedServer};
use dhow_transport::{Blob, Deletion, How, Kind, Location, Retry, Transport};
use dhow_transports::docker::Docker;
use futures_util::TryStreamExt as _;

fn docker() -> Docker {
    let session = Session::new(SessionOptions::default()).expect("the defaults are right");
    Docker::new(Endpoint::new(
        &session,
        EndpointOptions {
            tls_verify: Some(false),
            ..EndpointOptions::new(CredentialSource::Given(FoundCredentials {
                credentials: Credentials::Anonymous,
                origin: "`--no-creds`".to_owned(),
            }))
        },
    ))
}

fn located(name: &str) -> Arc<dyn Location> {
    docker().parse(name).expect("the test names a place")
}

struct Registry {
    process: Child,
    _directory: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn registry() -> (Registry, u16) {
    let directory = tempfile::tempdir().expect("there is a place for files");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = free.expect("loopback has ports").port();
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: 127.0.0.1:{port}}}\n\
         validation: {{manifests: {{urls: {{allow: ['.*']}}}}}}\n",
        directory.path().join("data").display()
    );
    let path = directory.path().join("config.yml");
    fs::write(&path, config).expect("temporary files can be written");
    let process = Command::new("docker-registry")
        .arg("serve")
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Debian's docker-registry is installed");
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the registry does not start"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let registry = Registry {
        process,
        _directory: directory,
    };
    (registry, port)
}

mod in_a_registry {
    use super::*;

    async fn place() -> Place {
        let (registry, port) = registry();
        let docker = docker();
        Place::named(
            move |name| {
                let name = format!("//localhost:{port}/some/place:{name}");
                docker.parse(&name).expect("the test names a place")
            },
            registry,
        )
    }

    dhow_testkit::conformance_tests!(place);
}

#[test]
fn names_are_parsed_as_skopeo_parses_them() {
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (rest, expected) in [
        ("//centos", Some("docker://docker.io/library/centos:latest")),
        ("//quay.io/a/b:c", Some("docker://quay.io/a/b:c")),
        (
            "//localhost:5000/a",
            Some("docker://localhost:5000/a:latest"),
        ),
        (
            "//a/b@@unknown-digest@@",
            Some("docker://docker.io/a/b@@unknown-digest@@"),
        ),
        ("centos", None),
        ("//", None),
        ("//A/b:c:d", None),
        ("//a/b:c@@unknown-digest@@", None),
    ] {
        let parsed = docker().parse(rest).map(|location| location.to_string());
        assert_eq!(parsed.ok().as_deref(), expected, "{rest}");
    }
    assert!(docker().parse(&format!("//a/b@sha256:{hex}")).is_ok());
    assert!(docker().parse(&format!("//a/b:t@sha256:{hex}")).is_err());
}

#[test]
fn policy_is_searched_from_the_image_to_the_wildcards() {
    let scopes = located("//reg.example.com:5000/team/app:v1").policy_scopes();
    assert_eq!(
        scopes.identity.as_deref(),
        Some("reg.example.com:5000/team/app:v1")
    );
    assert_eq!(
        scopes.parents,
        [
            "reg.example.com:5000/team/app",
            "reg.example.com:5000/team",
            "reg.example.com:5000",
            "*.example.com",
            "*.com",
        ]
    );
}

fn layer(length: usize) -> (Descriptor, Bytes) {
    let bytes: Bytes = (0..length)
        .map(|at| u8::try_from(at % 253).expect("253 is small"))
        .collect();
    (Descriptor::of(MediaType::OCI_LAYER_GZIP, &bytes), bytes)
}

/// A registry that has nothing, and takes everything.
async fn empty_registry() -> ScriptedServer {
    ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "HEAD" => Reply::status(404),
        "POST" => Reply::status(202).header("location", "/up/1"),
        _ => Reply::status(201),
    })
    .await
}

#[tokio::test]
async fn a_fresh_blob_costs_three_requests() {
    let server = empty_registry().await;
    let (descriptor, bytes) = layer(500_000);
    let sink = located(&format!("//{}/a", server.address())).sink().await;
    let sink = sink.expect("opening costs nothing");
    let from = Repository::parse(&format!("{}/b", server.address())).expect("a name");
    let elsewhere = Repository::parse("quay.io/b").expect("a name");
    for mount_from in [vec![], vec![elsewhere.clone()], vec![elsewhere, from]] {
        let before = server.lines().len();
        let mut wanted = want(&descriptor);
        wanted.mount_from = mount_from;
        assert_eq!(sink.reuse(&wanted).await.expect("it answers"), None);
        let placed = sink.put_blob(&wanted, pieces(&bytes)).await;
        assert_eq!(placed.expect("it is taken").how, How::Sent);
        let lines = server.lines();
        assert_eq!(lines.len() - before, 3, "{lines:?}");
    }
}

#[tokio::test]
async fn a_mount_costs_one_request() {
    let server = ScriptedServer::start(|_, _| Reply::status(201)).await;
    let (descriptor, _) = layer(10);
    let sink = located(&format!("//{}/a", server.address())).sink().await;
    let mut wanted = want(&descriptor);
    wanted.mount_from =
        vec![Repository::parse(&format!("{}/b", server.address())).expect("a name")];
    let placed = sink.expect("opening costs nothing").reuse(&wanted).await;
    assert_eq!(
        placed.expect("it answers").expect("it is there").how,
        How::Mounted
    );
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn an_upload_that_broke_sends_only_the_rest() {
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "HEAD" => Reply::status(404),
        "POST" | "PATCH" => Reply::status(202).header("location", "/up/1"),
        "PUT" if seen.header("content-length") != "0" => Reply::hang_up().reading(200_000),
        "GET" => Reply::status(204).header("range", "0-199999"),
        _ => Reply::status(201),
    })
    .await;
    let (descriptor, bytes) = layer(500_000);
    let sink = located(&format!("//{}/a", server.address())).sink().await;
    let sink = sink.expect("opening costs nothing");
    let wanted = want(&descriptor);
    let error = sink
        .put_blob(&wanted, pieces(&bytes))
        .await
        .expect_err("the connection breaks");
    assert!(matches!(error.retry(), Retry::After(_)));
    sink.put_blob(&wanted, pieces(&bytes))
        .await
        .expect("the rest is taken");
    let seen = server.seen();
    let patch = seen
        .iter()
        .find(|seen| seen.method == "PATCH")
        .expect("it goes on");
    assert_eq!(patch.header("content-range"), "200000-499999");
    assert_eq!(patch.body_length, 300_000);
    let posts = seen.iter().filter(|seen| seen.method == "POST").count();
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn an_upload_that_broke_without_a_trace_begins_anew_with_patch() {
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "POST" | "PATCH" => Reply::status(202).header("location", "/up/1"),
        "PUT" if seen.header("content-length") != "0" => Reply::hang_up().reading(1000),
        "GET" => Reply::status(404),
        _ => Reply::status(201),
    })
    .await;
    let (descriptor, bytes) = layer(500_000);
    let sink = located(&format!("//{}/a", server.address())).sink().await;
    let sink = sink.expect("opening costs nothing");
    let wanted = want(&descriptor);
    assert!(sink.put_blob(&wanted, pieces(&bytes)).await.is_err());
    sink.put_blob(&wanted, pieces(&bytes))
        .await
        .expect("it is taken");
    let seen = server.seen();
    let patch = seen
        .iter()
        .find(|seen| seen.method == "PATCH")
        .expect("it goes on");
    assert_eq!(patch.body_length, 500_000);
}

#[tokio::test]
async fn a_small_blob_gets_through_a_registry_that_refuses_put_at_once() {
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "POST" | "PATCH" => Reply::status(202).header("location", "/up/1"),
        "PUT" if seen.header("content-length") == "0" => Reply::status(201),
        "PUT" => Reply::status(405),
        _ => Reply::status(204),
    })
    .await;
    let (descriptor, bytes) = layer(500);
    let sink = located(&format!("//{}/a", server.address())).sink().await;
    let sink = sink.expect("opening costs nothing");
    for blob in [Blob::from_bytes(bytes.clone()), pieces(&bytes)] {
        let placed = sink.put_blob(&want(&descriptor), blob).await;
        assert_eq!(placed.expect("it is taken").size, 500);
    }
}

#[tokio::test]
async fn tags_are_listed_and_images_deleted() {
    let (_registry, port) = registry();
    let image = dhow_testkit::image::ImageSpec::oci(1).build();
    for tag in ["v1", "v2"] {
        let location = located(&format!("//localhost:{port}/a:{tag}"));
        let sink = location.sink().await.expect("it opens");
        dhow_testkit::conformance::store(&*sink, &image)
            .await
            .expect("it is taken");
        let present = sink.present_root().await.expect("it answers");
        assert_eq!(present, Some(image.root.digest()));
    }
    let bare = located(&format!("//localhost:{port}/a"));
    let catalog = bare.catalog().expect("registries have one");
    let tags: Vec<String> = catalog.tags().try_collect().await.expect("it lists");
    assert_eq!(tags.len(), 2);
    let tagged = located(&format!("//localhost:{port}/a:v1"));
    let catalog = tagged.catalog().expect("registries have one");
    let listed: Result<Vec<_>, _> = catalog.tags().try_collect().await;
    assert_eq!(listed.expect_err("a tag is named").kind(), Kind::Invalid);
    catalog
        .delete(Deletion::Named)
        .await
        .expect("it is deleted");
    // COMPAT(skopeo): with all its tags.
    let other = located(&format!("//localhost:{port}/a:v2"));
    let gone = other.source().await.expect("it opens").root().await;
    assert_eq!(gone.expect_err("it is gone").kind(), Kind::NotFound);
}
