//! What places can do, as data.

use std::num::NonZeroU16;

use dhow_model::ManifestKind;

/// What a source can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceCaps {
    /// Parts of a blob can be read.
    pub ranges: bool,
    /// How many blobs may be read at once.
    pub concurrency: NonZeroU16,
    /// Every manifest that is read counts against a limit, and asking for the root's digest does
    /// not: it is worth to ask first.
    pub counted: bool,
    /// How many places hold the blobs: a blob that is asked for again comes from the next of them.
    pub places: NonZeroU16,
    /// Parts of a blob can be read ([`crate::Source::part`]), and it is worth to leave the others
    /// away.
    pub parts: bool,
}

impl SourceCaps {
    /// Returns what a source on this machine can do: parts are read, and nobody counts.
    pub const fn local(concurrency: NonZeroU16) -> Self {
        Self {
            ranges: true,
            concurrency,
            counted: false,
            places: NonZeroU16::MIN,
            parts: false,
        }
    }
}

/// What a sink takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkCaps {
    /// The kinds of manifest it takes, the preferred first. Empty: any.
    pub manifests: Vec<ManifestKind>,
    /// In which form it wants layers.
    pub layers: LayerForm,
    /// How many blobs may be written at once.
    pub concurrency: NonZeroU16,
    /// It takes no manifests but those, not even when they are asked for.
    pub strict: bool,
    /// It writes layers in the order of the manifest, so that one that comes early has to wait.
    pub in_order: bool,
    /// It wants to see the config before the first layer ([`crate::Sink::prepare`]).
    pub config_first: bool,
    /// It takes manifests whose foreign layers are not stored with it.
    pub foreign_layers: bool,
    /// It takes an index that lists manifests which are not stored with it.
    pub sparse_index: bool,
    /// It checks digest and size of what it stores itself, so that nobody else need hash it.
    pub verifies: bool,
    /// Where blobs that are placed once can be reused.
    pub scope: ReuseScope,
}

impl SinkCaps {
    /// Returns whether a manifest of this kind is taken.
    pub fn accepts(&self, kind: ManifestKind) -> bool {
        self.manifests.is_empty() || self.manifests.contains(&kind)
    }

    /// Returns whether an index of any kind is taken.
    pub fn accepts_indexes(&self) -> bool {
        self.manifests.is_empty() || self.manifests.iter().any(|kind| kind.is_index())
    }
}

/// In which form a sink wants layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerForm {
    /// As the source has them.
    Keep,
    /// Compressed; uncompressed layers are compressed on the way.
    Compressed,
    /// Uncompressed; compressed layers are unpacked on the way.
    Uncompressed,
}

/// A group of locations that share their blobs: a repository, or a layout directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReuseScope(pub String);
