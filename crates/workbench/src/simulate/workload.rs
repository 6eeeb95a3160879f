//! What is mirrored: which tags there are, which of them are new, and which blobs they have.
//!
//! Everything follows from the number of a tag and a seed. An image has a config and a layer of its
//! own; its other layers are those of a base image, which 20 tags in succession share, and which
//! other repositories of the same family share, too.

use super::arguments::Arguments;

/// The tags of a mirror.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    tags: u64,
    repositories: u64,
    shards: u64,
    /// Of how many in ten thousand the destination has nothing.
    new: u64,
    base_layers: u64,
    layer: u64,
}

/// A blob that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    /// The same for the same blob in other images; `None`: no other image has it.
    pub(super) shared: Option<u64>,
    /// Bytes.
    pub(super) size: u64,
}

impl Workload {
    /// Returns what the arguments describe.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the arguments are checked: small and not negative"
    )]
    pub(super) fn new(arguments: &Arguments) -> Self {
        Self {
            tags: arguments.tags,
            repositories: arguments.repositories,
            shards: arguments.shards as u64,
            new: (arguments.changed * 100.0).round() as u64,
            base_layers: arguments.layers - 1,
            layer: (arguments.layer_mib * MIB).round() as u64,
        }
    }

    /// Returns how many repositories there are.
    pub(super) const fn repositories(&self) -> u64 {
        self.repositories
    }

    /// Returns the numbers of a repository's tags.
    pub(super) fn tags(&self, repository: u64) -> std::ops::Range<u64> {
        let start = |place: u64| {
            self.tags / self.repositories * place + (self.tags % self.repositories).min(place)
        };
        start(repository)..start(repository + 1)
    }

    /// Returns the shard that takes a tag. dhow takes SHA-256 of the names, which is as even.
    pub(super) const fn shard(&self, tag: u64) -> u64 {
        mix(tag ^ SHARD_SEED) % self.shards
    }

    /// Returns whether the destination does not have a tag.
    pub(super) const fn is_new(&self, tag: u64) -> bool {
        mix(tag ^ NEW_SEED) % 10_000 < self.new
    }

    /// Returns whether the destination has the base of a tag already, because another tag has it.
    pub(super) fn base_stands(&self, repository: u64, tag: u64) -> bool {
        let tags = self.tags(repository);
        let first = tag - (tag - tags.start) % GENERATION;
        (first..tags.end.min(first + GENERATION)).any(|tag| !self.is_new(tag))
    }

    /// Returns the blobs of an image, in the order in which they are asked for.
    pub(super) fn blobs(&self, repository: u64, tag: u64) -> impl Iterator<Item = Blob> + use<> {
        let family = mix(repository ^ FAMILY_SEED) % FAMILIES;
        let generation = (tag - self.tags(repository).start) / GENERATION;
        let base = mix((family << 40) | generation);
        let layer = self.layer;
        let shared = (0..self.base_layers).map(move |place| Blob {
            shared: Some(mix(base ^ (place << 56))),
            size: layer,
        });
        let own = [layer, CONFIG].map(|size| Blob { shared: None, size });
        shared.chain(own)
    }
}

/// SplitMix64: numbers that look random, and are the same every time.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

const SHARD_SEED: u64 = 0x5eed_0001;
const NEW_SEED: u64 = 0x5eed_0002;
const FAMILY_SEED: u64 = 0x5eed_0003;
/// How many lines of base images there are.
const FAMILIES: u64 = 50;
/// How many tags in succession have the same base image.
const GENERATION: u64 = 20;
/// The size of a config, in bytes.
const CONFIG: u64 = 8 * 1024;
const MIB: f64 = 1024.0 * 1024.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(line: &str) -> Workload {
        Workload::new(&Arguments::of(line))
    }

    #[test]
    fn every_tag_is_in_one_repository() {
        let workload = workload("--tags 1003 --repositories 10");
        let all: Vec<u64> = (0..10).flat_map(|place| workload.tags(place)).collect();
        assert_eq!(all, (0..1003).collect::<Vec<_>>());
    }

    #[test]
    fn shards_and_shares_come_out_about_even() {
        let workload = workload("--tags 100000 --repositories 10 --shards 8 --changed 5%");
        let mut shards = [0_u64; 8];
        let mut new = 0;
        for tag in 0..100_000 {
            shards[usize::try_from(workload.shard(tag)).unwrap()] += 1;
            new += u64::from(workload.is_new(tag));
        }
        assert!(
            shards.iter().all(|tags| (12_000..13_000).contains(tags)),
            "{shards:?}"
        );
        assert!((4_700..5_300).contains(&new), "{new}");
    }

    #[test]
    fn neighbours_share_their_base() {
        let workload = workload("--tags 1000 --repositories 10 --layers 5");
        let blobs = |tag| workload.blobs(0, tag).collect::<Vec<_>>();
        assert_eq!(blobs(0).len(), 6);
        assert_eq!(blobs(0), blobs(19));
        assert_ne!(blobs(0), blobs(20));
    }
}
