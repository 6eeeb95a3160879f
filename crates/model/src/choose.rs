//! Choosing the image for one platform from an index.
//!
//! The order of preference is skopeo's (containers/image `internal/manifest`): the wanted variant,
//! then lower ones that run on the same processor, then no variant; in an OCI index, of equal ones
//! the one with zstd layers, and entries without a platform last. Beyond skopeo, amd64 has
//! variants too.

use crate::{Descriptor, Index, ManifestKind, PlatformWish};

impl Index {
    /// Returns the entry that suits `wish` best. Attestations are never chosen.
    pub fn choose(&self, wish: &PlatformWish) -> Option<&Descriptor> {
        let variants = wish.variants();
        let oci = self.kind == ManifestKind::OciIndex;
        self.entries
            .iter()
            .filter(|entry| !is_attestation(entry))
            .filter_map(|entry| Some((rank(entry, wish, &variants, oci)?, entry)))
            // Of equal ranks, `min_by_key` returns the first.
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| entry)
    }
}

impl PlatformWish {
    /// Returns the variants that satisfy the wish, best first; the empty one stands for none.
    fn variants(&self) -> Vec<&str> {
        let known = known_variants(&self.architecture);
        let wanted = self
            .variant
            .as_deref()
            .filter(|variant| !variant.is_empty());
        let Some(wanted) = wanted else {
            // Without a wish, one that says nothing is best. COMPAT(skopeo): then from the
            // highest down; amd64, which it does not know, from the one that runs anywhere up.
            let mut all = vec![""];
            if self.architecture == AMD64 {
                all.extend(known.iter().rev());
            } else {
                all.extend(known);
            }
            return all;
        };
        let mut all = match known.iter().position(|variant| *variant == wanted) {
            Some(at) => known[at..].to_vec(),
            None => vec![wanted],
        };
        all.push("");
        all
    }
}

/// What makes an entry better than another: smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The position of the variant among the wanted ones.
    variant: usize,
    /// Whether an artifact hides behind an entry that names no platform.
    artifact: bool,
    /// Whether the layers are not zstd-compressed.
    not_zstd: bool,
}

fn rank(entry: &Descriptor, wish: &PlatformWish, variants: &[&str], oci: bool) -> Option<Rank> {
    let variant = match &entry.platform {
        Some(platform) => {
            if platform.os != wish.os || platform.architecture != wish.architecture {
                return None;
            }
            let variant = platform.variant.as_deref().unwrap_or_default();
            variants.iter().position(|wanted| *wanted == variant)?
        }
        None if oci => usize::MAX,
        None => return None,
    };
    Some(Rank {
        variant,
        artifact: entry
            .artifact_type
            .as_deref()
            .is_some_and(|kind| !kind.is_empty()),
        not_zstd: oci && entry.annotations.value(ZSTD_ANNOTATION) != Some("true"),
    })
}

/// Returns whether the entry is a statement about another one, as buildkit adds them.
fn is_attestation(entry: &Descriptor) -> bool {
    let unknown = entry
        .platform
        .as_ref()
        .is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown");
    unknown || entry.annotations.value("vnd.docker.reference.type") == Some("attestation-manifest")
}

/// The annotation of an entry whose layers are zstd-compressed.
pub(crate) const ZSTD_ANNOTATION: &str = "io.github.containers.compression.zstd";

const AMD64: &str = "amd64";

/// The variants of an architecture, each able to run what is behind it in the list.
fn known_variants(architecture: &str) -> &'static [&'static str] {
    match architecture {
        "arm" => &["v8", "v7", "v6", "v5"],
        "arm64" => &["v8"],
        AMD64 => &["v4", "v3", "v2", "v1"],
        _ => &[],
    }
}
