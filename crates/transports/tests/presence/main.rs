//! How few requests it takes to know what a registry has.

#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

mod ahead;
mod unnamed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use dhow_client::{Endpoint, EndpointOptions, Session, SessionOptions};
use dhow_config::{
    Config, ConfigOverrides, CredentialSource, Credentials, EnvSnapshot, FoundCredentials,
    Registries,
};
use dhow_model::{Descriptor, MediaType, Repository};
use dhow_testkit::conformance::want;
use dhow_testkit::image::{ImageSpec, IndexSpec};
use dhow_testkit::scripted::{Reply, ScriptedServer, Seen};
use dhow_transport::{Blob, BlobWant, How, Location, Placed, Sink, Transport as _};
use dhow_transports::docker::Docker;
use futures_util::{StreamExt as _, stream};

/// Opens `a:v1` on the server, for a user whose home is `home`.
async fn sink_of(server: &ScriptedServer, home: Option<&std::path::Path>) -> Arc<dyn Sink> {
    let home = home.map(|home| ("HOME".to_owned(), home.display().to_string()));
    opened(&format!("//{}/a:v1", server.address()), home).await
}

/// Opens a repository for somebody without an account, in a session of its own.
async fn opened(
    name: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Arc<dyn Sink> {
    located(name, variables).sink().await.unwrap()
}

/// Returns a repository as somebody without an account sees it, in a session of its own.
fn located(name: &str, variables: impl IntoIterator<Item = (String, String)>) -> Arc<dyn Location> {
    let environment = EnvSnapshot {
        variables: variables.into_iter().collect(),
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
    docker.parse(name).unwrap()
}

fn layer(length: usize) -> (BlobWant, Bytes) {
    let bytes: Bytes = (0..=252).cycle().take(length).collect();
    let blob = Descriptor::of(MediaType::OCI_LAYER_GZIP, &bytes);
    (want(&blob), bytes)
}

/// Asks for a blob, sends it if it is not there, and returns the methods of the requests.
async fn place(server: &ScriptedServer, sink: &dyn Sink, length: usize) -> (How, Vec<String>) {
    let before = server.seen().len();
    let (want, bytes) = layer(length);
    let placed = match sink.reuse(&want).await.unwrap() {
        Some(placed) => placed,
        None => sink.put_blob(&want, Blob::from_bytes(bytes)).await.unwrap(),
    };
    let Placed { digest, size, how } = placed;
    assert_eq!((Some(digest), Some(size)), (want.digest, want.size));
    let mut methods = methods(server).split_off(before);
    methods.sort();
    (how, methods)
}

/// Returns the methods of all requests, in their order.
fn methods(server: &ScriptedServer) -> Vec<String> {
    server.seen().into_iter().map(|seen| seen.method).collect()
}

/// A registry that has nothing, and says of a blob that it is there when `mounts` says so of the POST.
async fn empty(mounts: impl Fn(&Seen, usize) -> bool + Send + Sync + 'static) -> ScriptedServer {
    ScriptedServer::start(move |seen, number| match seen.method.as_str() {
        "HEAD" => Reply::status(404),
        "POST" if mounts(seen, number) => Reply::status(201),
        "POST" | "PATCH" => Reply::status(202).header("location", "/up/1"),
        "DELETE" => Reply::status(204),
        _ => Reply::status(201),
    })
    .await
}

const SMALL: usize = 10_000;
/// Sent as a stream, and not worth a question of its own.
const MEDIUM: usize = 100_000;
const LARGE: usize = 500_000;

#[tokio::test]
async fn a_registry_that_was_not_reached_yet_is_taken_for_far() {
    let server = empty(|_, _| false).await;
    assert!(!sink_of(&server, None).await.is_near());
}

#[tokio::test]
async fn a_blob_that_is_not_there_is_asked_for_by_beginning_its_upload() {
    let server = empty(|_, _| false).await;
    let sink = sink_of(&server, None).await;
    let (how, methods) = place(&server, &*sink, SMALL).await;
    assert_eq!(
        (how, methods),
        (How::Sent, vec!["POST".into(), "PUT".into()])
    );
    let (want, _) = layer(SMALL);
    let post = &server.seen()[0];
    assert_eq!(
        post.query,
        format!("from=a&mount={}", want.digest.unwrap()),
        "from the very repository"
    );
    // A large blob is worth a question of its own.
    let (how, methods) = place(&server, &*sink, LARGE).await;
    assert_eq!(how, How::Sent);
    assert_eq!(methods, ["HEAD", "POST", "PUT"]);
}

#[tokio::test]
async fn large_blobs_wait_a_moment_for_what_a_small_one_shows() {
    // The config is there once it was put: the question for it is answered with 201 then.
    let server = empty(move |_, number| number > 2).await;
    let sink = sink_of(&server, None).await;
    let ((large, _), (small, bytes)) = (layer(LARGE), layer(SMALL));
    assert_eq!(sink.reuse(&small).await.unwrap(), None);
    let (asked, sent) = tokio::join!(sink.reuse(&large), async {
        // The large blob has been asked for, and waits.
        while server.seen().len() < 2 {
            tokio::task::yield_now().await;
        }
        sink.put_blob(&small, Blob::from_bytes(bytes)).await
    });
    assert_eq!(asked.unwrap(), None);
    sent.unwrap();
    assert_eq!(methods(&server), ["POST", "POST", "PUT", "POST"]);
}

#[tokio::test]
async fn a_host_that_mounts_from_the_same_repository_is_asked_with_one_request() {
    let server = empty(|_, _| true).await;
    let sink = sink_of(&server, None).await;
    let (how, methods) = place(&server, &*sink, SMALL).await;
    assert_eq!((how, methods), (How::Present, vec!["POST".into()]));
    let (how, methods) = place(&server, &*sink, LARGE).await;
    assert_eq!((how, methods), (How::Present, vec!["POST".into()]));
}

#[tokio::test]
async fn an_upload_of_a_blob_that_is_there_is_given_up() {
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "HEAD" => Reply::status(200).header("content-length", LARGE.to_string()),
        "POST" => Reply::status(202).header("location", "/up/1"),
        _ => Reply::status(204),
    })
    .await;
    let sink = sink_of(&server, None).await;
    let (how, methods) = place(&server, &*sink, LARGE).await;
    assert_eq!(how, How::Present);
    assert_eq!(methods, ["DELETE", "HEAD", "POST"]);
}

#[tokio::test]
async fn a_host_that_refuses_such_mounts_is_asked_with_head() {
    let server = ScriptedServer::start(|seen, _| match seen.method.as_str() {
        "HEAD" => Reply::status(404),
        "POST" if seen.query.contains("mount") => Reply::status(400),
        "POST" => Reply::status(202).header("location", "/up/1"),
        _ => Reply::status(201),
    })
    .await;
    let sink = sink_of(&server, None).await;
    let (how, methods) = place(&server, &*sink, SMALL).await;
    assert_eq!(how, How::Sent);
    assert_eq!(methods, ["POST", "POST", "PUT"]);
    for length in [SMALL, LARGE] {
        let (how, methods) = place(&server, &*sink, length).await;
        assert_eq!(how, How::Sent);
        assert_eq!(methods, ["HEAD", "POST", "PUT"], "{length}");
    }
}

/// Copies a layer, and a smaller one that takes longer, in a process of its own; returns the methods of
/// the requests.
async fn copy(server: &ScriptedServer, home: &std::path::Path, length: usize) -> Vec<String> {
    let before = server.seen().len();
    let sink = sink_of(server, Some(home)).await;
    let ((want, bytes), (slow, slow_bytes)) = (layer(length), layer(MEDIUM));
    assert_eq!(sink.reuse(&want).await.unwrap(), None);
    assert_eq!(sink.reuse(&slow).await.unwrap(), None);
    let (done, is_done) = tokio::sync::oneshot::channel::<()>();
    let slow_bytes = stream::once(async {
        is_done.await.unwrap();
        Ok(slow_bytes)
    });
    let slow_blob = Blob::from_stream(slow.size, slow_bytes.boxed());
    let (slow, placed) = tokio::join!(sink.put_blob(&slow, slow_blob), async {
        let placed = sink.put_blob(&want, Blob::from_bytes(bytes)).await;
        done.send(()).unwrap();
        placed
    });
    assert_eq!(slow.unwrap().how, How::Sent);
    assert_eq!(placed.unwrap().how, How::Sent);
    sink.commit(&ImageSpec::oci(1).build().root).await.unwrap();
    let mut methods = methods(server).split_off(before);
    methods.sort();
    methods
}

/// What two layers and a manifest cost, beside these.
fn and_no_more(others: &[&str]) -> Vec<String> {
    let mut all = [others, &["POST", "POST", "PUT", "PUT", "PUT"]].concat();
    all.sort_unstable();
    all.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_a_host_answers_is_found_out_once_and_known_to_later_processes() {
    let (there, _) = layer(LARGE);
    let there = format!("mount={}", there.digest.unwrap());
    let server = empty(move |seen, number| number > 2 && seen.query.ends_with(&there)).await;
    let home = tempfile::tempdir().unwrap();
    let first = copy(&server, home.path(), LARGE).await;
    assert_eq!(first, and_no_more(&["HEAD", "POST"]));
    for length in [LARGE + 1, LARGE + 2] {
        let next = copy(&server, home.path(), length).await;
        assert_eq!(next, and_no_more(&[]), "no HEAD, and no question");
    }
}

#[tokio::test]
async fn a_host_that_never_mounts_is_asked_with_head_and_found_out_once() {
    let server = empty(|_, _| false).await;
    let home = tempfile::tempdir().unwrap();
    let first = copy(&server, home.path(), LARGE).await;
    assert_eq!(first, and_no_more(&["DELETE", "HEAD", "POST"]));
    let next = copy(&server, home.path(), LARGE + 1).await;
    assert_eq!(next, and_no_more(&["HEAD"]));
    // A small image is no reason to find it out.
    let other = tempfile::tempdir().unwrap();
    let small = copy(&server, other.path(), SMALL).await;
    assert_eq!(small, and_no_more(&[]));
}

#[tokio::test]
async fn what_is_known_of_a_host_that_was_replaced_is_corrected() {
    const MUCH: usize = 16 * 1024 * 1024;
    let mounts = Arc::new(AtomicBool::new(true));
    let answers = Arc::clone(&mounts);
    let server = empty(move |_, number| number > 2 && answers.load(Ordering::Relaxed)).await;
    let home = tempfile::tempdir().unwrap();
    let first = copy(&server, home.path(), LARGE).await;
    assert_eq!(first, and_no_more(&["HEAD", "POST"]));
    mounts.store(false, Ordering::Relaxed);
    let relying = copy(&server, home.path(), MUCH).await;
    assert_eq!(relying, and_no_more(&["DELETE", "POST"]));
    let corrected = copy(&server, home.path(), LARGE + 1).await;
    assert_eq!(corrected, and_no_more(&["HEAD"]));
}

#[tokio::test]
async fn a_manifest_that_is_checked_while_a_link_is_written_is_sent_again() {
    let torn =
        r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#;
    for (refused, puts) in [(1, 2), (usize::MAX, 3)] {
        let server = ScriptedServer::start(move |_, number| {
            if number < refused {
                Reply::status(400)
                    .header("content-type", "application/json")
                    .body(torn.as_bytes().to_vec())
            } else {
                Reply::status(201)
            }
        })
        .await;
        let sink = sink_of(&server, None).await;
        let stored = sink.commit(&ImageSpec::oci(1).build().root).await;
        assert_eq!(stored.is_ok(), refused == 1);
        assert_eq!(server.seen().len(), puts);
    }
}

#[tokio::test]
async fn what_the_present_manifest_lists_is_not_asked_for() {
    let image = ImageSpec::oci(1).layers(3).build();
    let index = IndexSpec::oci(2, &["linux/amd64", "linux/arm64"]).build();
    for held in [image, index] {
        let served = held.clone();
        let server = ScriptedServer::start(move |seen, _| {
            let name = seen.path.rsplit('/').next().unwrap();
            let manifest = std::iter::once(&served.root)
                .chain(&served.manifests)
                .find(|one| name == "v1" || one.digest().to_string() == name);
            match manifest {
                Some(manifest) if seen.method == "GET" => Reply::status(200)
                    .header("content-type", manifest.media_type().as_str())
                    .body(manifest.bytes().to_vec()),
                _ => Reply::status(404),
            }
        })
        .await;
        let sink = sink_of(&server, None).await;
        sink.recall().await.unwrap();
        let before = server.seen().len();
        assert_eq!(before, 1 + held.manifests.len());
        for (blob, _) in &held.blobs {
            let want = want(blob);
            let placed = sink.reuse(&want).await.unwrap().unwrap();
            assert_eq!((placed.how, placed.size), (How::Present, blob.size));
        }
        assert_eq!(server.seen().len(), before);
    }
}

#[tokio::test]
async fn no_upload_begins_for_a_blob_that_will_not_come() {
    let server = empty(|_, _| false).await;
    let sink = sink_of(&server, None).await;
    let (mut want, _) = layer(SMALL);
    want.comes = false;
    assert_eq!(sink.reuse(&want).await.unwrap(), None);
    want.mount_from = vec![Repository::parse(&format!("{}/b", server.address())).unwrap()];
    assert_eq!(sink.reuse(&want).await.unwrap(), None);
    assert_eq!(methods(&server), ["HEAD", "POST", "DELETE", "HEAD"]);
}

/// A registry that keeps 8 MB of a PUT that breaks, and takes the rest.
async fn forgetful(kept: u64) -> ScriptedServer {
    ScriptedServer::start(move |seen, _| match seen.method.as_str() {
        "HEAD" => Reply::status(404),
        "POST" | "PATCH" => Reply::status(202).header("location", "/up/1"),
        "PUT" if seen.header("content-length") != "0" => Reply::hang_up().reading(kept),
        "GET" => Reply::status(204).header("range", format!("0-{}", kept - 1)),
        _ => Reply::status(201),
    })
    .await
}

#[tokio::test]
async fn a_large_upload_goes_on_in_the_next_process() {
    const SIZE: usize = 17 * 1024 * 1024;
    const KEPT: usize = 8_000_000;
    let server = forgetful(KEPT as u64).await;
    let home = tempfile::tempdir().unwrap();
    let (want, bytes) = layer(SIZE);
    let pieces = |from: usize| {
        let pieces: Vec<_> = bytes[from..]
            .chunks(100_000)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let stream = futures_util::stream::iter(pieces).boxed();
        Blob::from_stream(Some((SIZE - from) as u64), stream).starting_at(from as u64)
    };
    let first = sink_of(&server, Some(home.path())).await;
    assert_eq!(first.kept(&want).await.unwrap(), 0);
    assert!(first.put_blob(&want, pieces(0)).await.is_err());
    // In the same process, and in another one.
    assert_eq!(first.kept(&want).await.unwrap(), KEPT as u64);
    drop(first);
    let next = sink_of(&server, Some(home.path())).await;
    assert_eq!(next.reuse(&want).await.unwrap(), None);
    assert_eq!(next.kept(&want).await.unwrap(), KEPT as u64);
    next.put_blob(&want, pieces(KEPT)).await.unwrap();
    let seen = server.seen();
    let posts = seen.iter().filter(|seen| seen.method == "POST").count();
    assert_eq!(posts, 1);
    let patch = seen.iter().find(|seen| seen.method == "PATCH").unwrap();
    assert_eq!(
        patch.header("content-range"),
        format!("{KEPT}-{}", SIZE - 1)
    );
    assert_eq!(patch.body_length, (SIZE - KEPT) as u64);
    // It is done: the next one begins anew.
    let last = sink_of(&server, Some(home.path())).await;
    assert_eq!(last.reuse(&want).await.unwrap(), None);
    assert_eq!(last.kept(&want).await.unwrap(), 0);
}
