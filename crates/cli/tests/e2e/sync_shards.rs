//! Parts of a sync do together what one run does, whatever the registry has.

use std::collections::BTreeMap;

use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage, write_layout};
use serde_json::Value;

use crate::dhow::Desk;
use crate::registry::{Registry, Wanted};
use crate::samples;
use crate::sync::OPEN;

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap() % bound
    }
}

/// Returns the seed: a given one, or one that is new each time.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever looks for a failure gives its seed"
)]
fn seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let given = std::env::var("DHOW_E2E_SEED").ok();
    let new = || std::hash::RandomState::new().build_hasher().finish();
    given.and_then(|text| text.parse().ok()).unwrap_or_else(new)
}

/// Writes a layout with some repositories, each with some tags, and returns how many tags there are.
fn fill(desk: &Desk, random: &mut Random) -> usize {
    let paths = ["app", "team/app", "team/tools/app", "x", "y-z"];
    let pool: Vec<SampleImage> = (0..6)
        .map(|number| {
            let seed = number + random.below(1000) as u64 * 10;
            match random.below(3) {
                0 => IndexSpec::new(ImageSpec::oci(seed).layers(1), &samples::PLATFORMS).build(),
                1 => ImageSpec::docker2(seed).layers(2).layer_size(300).build(),
                _ => ImageSpec::oci(seed).layers(1).layer_size(300).build(),
            }
        })
        .collect();
    let mut names = BTreeMap::new();
    for _ in 0..=random.below(4) {
        let path = paths[random.below(paths.len())];
        for _ in 0..=random.below(12) {
            let tag = match random.below(3) {
                0 => format!("v{}.{}", random.below(4), random.below(9)),
                1 => format!("build-{}", random.below(100)),
                _ => format!("sha256-{:064x}.sig", random.below(50)),
            };
            names.insert(format!("{path}:{tag}"), random.below(pool.len()));
        }
    }
    let pairs: Vec<_> = names
        .iter()
        .map(|(name, place)| (name.as_str(), &pool[*place]))
        .collect();
    write_layout(&desk.path("source"), &pairs);
    names.len()
}

/// Returns the digest of each tag of a registry.
fn content(desk: &Desk, address: &str) -> BTreeMap<String, String> {
    // A dry run into an empty place names all that there is, with its digest.
    let flags = [
        "sync",
        "--all",
        "--scoped",
        "--dry-run",
        "--output=json",
        "--src",
        "registry",
        "--dest",
        "oci",
    ];
    let arguments = [&flags[..], &[OPEN[0], address, "nowhere"]].concat();
    let report = desk.dhow(&arguments).json();
    let images = report["images"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    images
        .map(|image| {
            let name = text(&image["source"]).replace(address, "");
            (name, text(&image["digest"]))
        })
        .collect()
}

#[test]
fn two_parts_do_together_what_one_run_does_for_ten_random_registries() {
    let seed = seed();
    eprintln!("DHOW_E2E_SEED={seed}");
    let mut random = Random(seed);
    let mut parts_that_did_something = 0;
    for round in 0..10 {
        let desk = Desk::new();
        let tags = fill(&desk, &mut random);
        let from = Registry::dhow(&desk, "source", Wanted::default());
        let [whole, split] =
            ["whole", "split"].map(|name| Registry::dhow(&desk, name, Wanted::default()));
        let rename = format!("--rename=^{}/=", from.address.replace('.', "\\."));
        let sync = |to: &Registry, more: &[&str]| {
            let flags = [
                "sync",
                "--all",
                "--scoped",
                "--output=json",
                "--src",
                "registry",
                "--dest",
                "docker",
                &rename,
            ];
            let places = [from.address.as_str(), to.address.as_str()];
            let arguments = [&flags[..], &OPEN, more, &places].concat();
            let report = desk.dhow(&arguments).json();
            report["report"]["added"].as_u64().unwrap()
        };
        let all = sync(&whole, &[]);
        assert_eq!(all, tags as u64, "seed {seed}, round {round}");
        let parts = ["--shard=1/2", "--shard=2/2"].map(|part| sync(&split, &[part]));
        assert_eq!(parts[0] + parts[1], all, "seed {seed}, round {round}");
        parts_that_did_something += parts.iter().filter(|part| **part > 0).count();
        let (one, two) = (
            content(&desk, &whole.address),
            content(&desk, &split.address),
        );
        assert_eq!(one.len(), tags, "seed {seed}, round {round}");
        assert_eq!(one, two, "seed {seed}, round {round}");
        assert_eq!(
            one,
            content(&desk, &from.address),
            "seed {seed}, round {round}"
        );
    }
    assert!(parts_that_did_something > 10, "seed {seed}");
}
