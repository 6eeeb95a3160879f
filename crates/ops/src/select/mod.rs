//! Which images of many: filters for tags, version ranges, shards, rules for names, and skopeo's YAML
//! files that list images. All of it is pure.

mod error;
mod rename;
mod semver;
mod shard;
mod since;
mod tags;
mod yaml;

pub use error::SelectError;
pub use rename::Rename;
pub use semver::SemverConstraint;
pub use shard::Shard;
pub use since::Since;
pub use tags::{TagFilter, TagRegex, digest_tag_subject};
pub(crate) use tags::{by_version, first};
pub use yaml::{YamlRegistry, YamlRepository, YamlSource, YamlWants};
