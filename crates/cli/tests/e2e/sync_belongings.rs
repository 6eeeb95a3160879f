//! What a sync takes along, leaves and removes besides the images that are named.

use std::collections::BTreeSet;

use dhow_testkit::image::{ImageSpec, write_layout};

use crate::authority::{Authority, Flavour};
use crate::dhow::{Desk, outcome};
use crate::proxies::Proxy;
use crate::registry::{Registry, Wanted};
use crate::sync::{OPEN, layout};

/// Returns the tags of a repository.
fn tags(desk: &Desk, repository: &str) -> BTreeSet<String> {
    let name = format!("docker://{repository}");
    let list = desk
        .dhow(&["list-tags", "--tls-verify=false", &name])
        .json();
    let tags = list["Tags"].as_array().unwrap().iter();
    tags.map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

#[test]
fn nothing_is_removed_for_a_source_that_may_be_a_part_of_what_there_is() {
    let desk = Desk::new();
    layout(&desk.path("source"), &["app:t0".to_owned()]);
    for kind in ["dir", "oci", "oci-archive"] {
        let stderr = desk
            .dhow(&[
                "sync",
                "--src",
                kind,
                "--dest",
                "docker",
                "--delete",
                "source",
                "localhost:1/m",
            ])
            .fails(10);
        assert!(
            stderr.contains(&format!("`{kind}:source` may have only some of them")),
            "{stderr}"
        );
        assert!(stderr.contains("hint: leave out `--delete`"), "{stderr}");
    }
}

#[test]
fn what_is_gone_from_a_repository_with_a_short_name_is_removed() {
    let desk = Desk::new();
    let names = ["library/app:t0", "library/app:t1"].map(str::to_owned);
    layout(&desk.path("source"), &names);
    let hub = ["registry-1.docker.io"];
    let authority = Authority::with(&desk.work(), &hub, Flavour::Server);
    let wanted = Wanted {
        tls: Some(&authority),
        ..Wanted::default()
    };
    let from = Registry::dhow(&desk, "source", wanted);
    let proxy = Proxy::start(&from.address);
    let to = Registry::dhow(&desk, "target", Wanted::default());
    let list = format!(
        "docker.io:\n  cert-dir: {}\n  images: {{app: []}}\n",
        authority.trusted.display()
    );
    std::fs::write(desk.path("list.yaml"), list).unwrap();
    let repository = format!("{}/docker.io/library/app", to.address);
    let sync = |more: &[&str]| {
        let flags = [
            "sync", "--src", "yaml", "--dest", "docker", "--scoped", OPEN[1],
        ];
        let mut command = desk.command();
        command.env("HTTPS_PROXY", format!("http://{}", proxy.address));
        command.args(flags).args(more);
        outcome(command.args(["list.yaml", &to.address])).ok()
    };
    sync(&[]);
    let copy = |tag: &str| format!("docker://{repository}:{tag}");
    desk.dhow(&["copy", OPEN[0], OPEN[1], &copy("t0"), &copy("gone")])
        .ok();
    sync(&["--delete", "--max-delete=1"]);
    let left = tags(&desk, &repository);
    assert_eq!(left, ["t0", "t1"].map(str::to_owned).into());
}

#[test]
fn signatures_come_along_with_the_newest_images_and_with_no_others() {
    let desk = Desk::new();
    let images: Vec<_> = (1..=6)
        .map(|seed| ImageSpec::oci(seed).layers(1).build())
        .collect();
    let signature = |of: usize| format!("sha256-{}.sig", images[of].root.digest().hex());
    // The last one is the signature of a signature.
    let names = [
        "1.0".to_owned(),
        "2.0".to_owned(),
        "3.0".to_owned(),
        signature(0),
        signature(2),
        signature(4),
    ];
    let full = names.each_ref().map(|tag| format!("app:{tag}"));
    let pairs: Vec<_> = full.iter().map(String::as_str).zip(&images).collect();
    write_layout(&desk.path("source"), &pairs);
    let from = Registry::dhow(&desk, "source", Wanted::default());
    let to = Registry::dhow(&desk, "target", Wanted::default());
    for (number, (flags, expected)) in [
        (&["--newest=1"][..], &[2][..]),
        (&["--newest=1", "--digest-tags"], &[2, 4, 5]),
        (&["--newest=2", "--digest-tags"], &[1, 2, 4, 5]),
        (&["--exclude=^[23]", "--digest-tags"], &[0, 3]),
        (&["--digest-tags"], &[0, 1, 2, 3, 4, 5]),
    ]
    .into_iter()
    .enumerate()
    {
        let source = format!("{}/app", from.address);
        let into = format!("{}/m{number}", to.address);
        let sync = [
            "sync", "--src", "docker", "--dest", "docker", OPEN[0], OPEN[1],
        ];
        desk.dhow(&[&sync[..], flags, &[&source, &into]].concat())
            .ok();
        let expected: BTreeSet<_> = expected.iter().map(|place| names[*place].clone()).collect();
        assert_eq!(tags(&desk, &format!("{into}/app")), expected, "{flags:?}");
    }
}
