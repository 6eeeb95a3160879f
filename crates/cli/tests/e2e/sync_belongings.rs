//! What a sync takes along, leaves and removes besides the images that are named.

use std::collections::BTreeSet;

use dhow_model::RawManifest;
use dhow_testkit::image::{ImageSpec, IndexSpec, write_layout};

use crate::authority::{Authority, Flavour};
use crate::dhow::{Desk, outcome};
use crate::proxies::Proxy;
use crate::registry::{Registry, Wanted};
use crate::samples;
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
    let sync = ["sync", "--src", "oci", "--dest", "docker", "--referrers"];
    let stderr = desk
        .dhow(&[&sync[..], &["source", "localhost:1/m"]].concat())
        .fails(10);
    assert!(
        stderr.contains("`oci:source`, which is no registry"),
        "{stderr}"
    );
}

#[test]
fn signatures_of_the_images_of_an_index_come_along_out_of_a_layout() {
    let desk = Desk::new();
    let index = IndexSpec::oci(1, &samples::PLATFORMS).build();
    let other = ImageSpec::oci(2).layers(1).build();
    let absent = ImageSpec::oci(3).build();
    let signature = |of: &RawManifest| format!("app:sha256-{}.sig", of.digest().hex());
    let names = [
        "app:1.0".to_owned(),
        signature(&index.manifests[0]),
        signature(&absent.root),
    ];
    let pairs: Vec<_> = names
        .iter()
        .map(String::as_str)
        .zip([&index, &other, &other])
        .collect();
    write_layout(&desk.path("source"), &pairs);
    let to = Registry::dhow(&desk, "target", Wanted::default());
    let into = format!("{}/m", to.address);
    let sync = ["sync", "--all", "--src", "oci", "--dest", "docker", OPEN[1]];
    let chosen = ["--exclude=none", "--digest-tags", "source", &into];
    desk.dhow(&[&sync[..], &chosen].concat()).ok();
    let expected = [0, 1].map(|place: usize| names[place].replacen("app:", "", 1));
    assert_eq!(tags(&desk, &format!("{into}/app")), expected.into());
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

#[test]
fn images_are_chosen_by_their_age_and_those_without_a_date_are_kept() {
    let desk = Desk::new();
    let spec = |seed, date| ImageSpec::oci(seed).layers(1).created(date);
    let many = IndexSpec::new(spec(5, Some("2023-07-01T00:00:00Z")), &samples::PLATFORMS);
    let images = [
        ("app:1.0", spec(1, Some("2022-01-01T00:00:00Z")).build()),
        ("app:2.0", spec(2, Some("2023-01-01T00:00:00Z")).build()),
        ("app:3.0", spec(3, Some("2024-01-01T00:00:00Z")).build()),
        ("app:9.0", spec(4, Some("2021-01-01T00:00:00Z")).build()),
        ("app:multi", many.build()),
        ("app:undated", spec(6, None).build()),
        ("app:zero", spec(7, Some("1970-01-01T00:00:01Z")).build()),
    ];
    let pairs: Vec<_> = images.iter().map(|(name, image)| (*name, image)).collect();
    write_layout(&desk.path("source"), &pairs);
    let from = Registry::dhow(&desk, "source", Wanted::default());
    let to = Registry::dhow(&desk, "target", Wanted::default());
    let app = format!("{}/app", from.address);
    for (number, (flags, expected)) in [
        ("--newer-than=2023-01-01", "2.0 3.0 multi undated zero"),
        (
            "--newer-than=2023-01-01T01:00:00Z",
            "3.0 multi undated zero",
        ),
        ("--newer-than=1h", "undated zero"),
        ("--newer-than=2000w", "1.0 2.0 3.0 9.0 multi undated zero"),
        // The newest by version, of those that are new enough.
        ("--newer-than=2022-06-01 --newest=1", "3.0"),
        ("--newer-than=2022-06-01 --exclude=^[z3u]", "2.0 multi"),
    ]
    .into_iter()
    .enumerate()
    {
        let flags: Vec<_> = flags.split(' ').collect();
        let expected: Vec<_> = expected.split(' ').collect();
        let into = format!("{}/m{number}", to.address);
        let sync = [
            "sync", "--src", "docker", "--dest", "docker", OPEN[0], OPEN[1],
        ];
        desk.dhow(&[&sync[..], &flags, &[&app, &into]].concat())
            .ok();
        let found = tags(&desk, &format!("{into}/app"));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{flags:?}");
        let list = ["list-tags", "--tls-verify=false", "--output=table"];
        let name = format!("docker://{app}");
        let listed = desk.dhow(&[&list[..], &flags, &[&name]].concat()).ok();
        assert_eq!(
            listed.split_whitespace().collect::<Vec<_>>(),
            expected,
            "{flags:?}"
        );
    }
    let list = format!(
        "{}:\n  tls-verify: false\n  newer-than: 2023-06-01\n  images: {{app: []}}\n",
        from.address
    );
    std::fs::write(desk.path("list.yaml"), list).unwrap();
    let into = format!("{}/yaml", to.address);
    let sync = [
        "sync",
        "--src",
        "yaml",
        "--dest",
        "docker",
        OPEN[1],
        "list.yaml",
        &into,
    ];
    let told = desk.dhow(&sync);
    assert!(told.stderr.contains("app:undated"), "{told:?}");
    told.ok();
    let found = tags(&desk, &format!("{into}/app"));
    assert_eq!(
        found,
        ["3.0", "multi", "undated", "zero"]
            .map(str::to_owned)
            .into()
    );
    let wrong = [
        "list-tags",
        "--newer-than=yesterday",
        "docker://localhost:1/a",
    ];
    let stderr = desk.dhow(&wrong).fails(64);
    assert!(stderr.contains("how long ago: `72h`"), "{stderr}");
}
