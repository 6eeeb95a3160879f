//! What goes over the wire: how many requests a copy costs, as the registry counts them.

use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage};

use crate::dhow::Desk;
use crate::registry::{Registry, Wanted};
use crate::{samples, tools};

const INSECURE: &str = "--src-tls-verify=false";
const INSECURE_TOO: &str = "--dest-tls-verify=false";

/// The requests about blobs.
fn about_blobs(registry: &Registry) -> Vec<String> {
    // The last lines of the log may still be on their way through the pipe.
    std::thread::sleep(std::time::Duration::from_millis(200));
    registry
        .requests()
        .into_iter()
        .filter(|line| line.contains("/blobs/"))
        .collect()
}

fn copy(desk: &Desk, from: &str, to: &str) {
    let flags = ["copy", "--all", INSECURE, INSECURE_TOO];
    desk.dhow(&[&flags[..], &[from, to]].concat()).ok();
}

#[test]
fn a_fresh_copy_makes_two_requests_per_small_blob_and_the_next_one_none() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let source = Registry::debian(&desk, "source", Wanted::default());
    let target = Registry::debian(&desk, "target", Wanted::default());
    let image = IndexSpec::new(ImageSpec::oci(1).layers(4), &samples::PLATFORMS).build();
    let images = [("origin", "1", image)];
    samples::publish(&desk, &source.address, &images, &[INSECURE_TOO]);
    let from = format!("docker://{}/origin:1", source.address);
    let to = format!("docker://{}/copied:1", target.address);
    source.forget();

    copy(&desk, &from, &to);
    let blobs = blobs(&images[0].2);
    let received = about_blobs(&target);
    // POST, which is the question too, and PUT.
    assert_eq!(received.len(), 2 * blobs, "{received:#?}");
    let sent = about_blobs(&source);
    assert!(sent.len() <= blobs, "{blobs} blobs, {sent:#?}");

    source.forget();
    target.forget();
    copy(&desk, &from, &to);
    let moved: Vec<String> = [about_blobs(&source), about_blobs(&target)]
        .concat()
        .into_iter()
        .filter(|line| !line.starts_with("HEAD "))
        .collect();
    assert!(moved.is_empty(), "{moved:#?}");
}

#[test]
fn an_unchanged_image_costs_one_request_on_each_side() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let source = Registry::debian(&desk, "source", Wanted::default());
    let target = Registry::debian(&desk, "target", Wanted::default());
    let platforms = &samples::PLATFORMS;
    let images = [
        ("one", "1", ImageSpec::oci(4).layers(4).build()),
        (
            "all",
            "1",
            IndexSpec::new(ImageSpec::oci(5), platforms).build(),
        ),
    ];
    samples::publish(&desk, &source.address, &images, &[INSECURE_TOO]);
    for name in ["one", "all"] {
        let from = format!("docker://{}/{name}:1", source.address);
        let to = format!("docker://{}/{name}:1", target.address);
        copy(&desk, &from, &to);
        source.forget();
        target.forget();
        copy(&desk, &from, &to);
        std::thread::sleep(std::time::Duration::from_millis(200));
        let (read, asked) = (source.requests(), target.requests());
        assert_eq!((read.len(), asked.len()), (1, 1), "{read:?} {asked:?}");
        assert!(asked[0].starts_with("HEAD "), "{asked:?}");
    }
}

#[test]
fn a_copy_within_a_registry_makes_one_request_per_blob() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let registry = Registry::debian(&desk, "registry", Wanted::default());
    let images = [("origin", "1", ImageSpec::oci(2).layers(5).build())];
    samples::publish(&desk, &registry.address, &images, &[INSECURE_TOO]);
    registry.forget();
    let name = |name: &str| format!("docker://{}/{name}:1", registry.address);
    copy(&desk, &name("origin"), &name("mounted"));
    let requests = about_blobs(&registry);
    assert!(requests.len() <= blobs(&images[0].2), "{requests:#?}");
    assert!(
        requests.iter().all(|line| line.contains("mount=")),
        "{requests:#?}"
    );
}

#[test]
fn a_blob_that_the_layout_has_is_not_fetched_again() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let registry = Registry::debian(&desk, "registry", Wanted::default());
    let images = [("origin", "1", ImageSpec::oci(3).layers(3).build())];
    samples::publish(&desk, &registry.address, &images, &[INSECURE_TOO]);
    let from = format!("docker://{}/origin:1", registry.address);
    desk.dhow(&["copy", INSECURE, &from, "oci:./target:one"])
        .ok();
    registry.forget();
    desk.dhow(&["copy", INSECURE, &from, "oci:./target:two"])
        .ok();
    let requests = about_blobs(&registry);
    assert!(requests.is_empty(), "{requests:#?}");
}

fn blobs(image: &SampleImage) -> usize {
    image.blobs.len()
}
