//! Why a copy did not succeed, and on which side.

use std::fmt;

use dhow_codec::PackFormat;
use dhow_model::convert::ConvertError;
use dhow_model::{Digest, ManifestError, ManifestKind, MediaType};
use dhow_transport::{Kind, Retry};
use dhow_trust::Rejection;

/// Why a copy did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A side could not do its part.
    #[error("{side}: cannot {step}")]
    Transport {
        /// Which side, with its name.
        side: Side,
        /// What was being done.
        step: String,
        /// Why it did not work.
        source: dhow_transport::Error,
    },
    /// The policy does not allow the image.
    #[error("source image rejected")]
    Rejected(#[source] Rejection),
    /// A manifest of the source makes no sense.
    #[error("the manifest of `{name}` cannot be used")]
    Manifest {
        /// Which manifest.
        name: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// What was asked for cannot be done.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A task of the engine was lost.
    #[error("a task of the copy was lost")]
    Lost,
}

/// A side of a copy, with the name of the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the image is.
    Source(String),
    /// Where it is to be.
    Destination(String),
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(name) => write!(f, "source `{name}`"),
            Self::Destination(name) => write!(f, "destination `{name}`"),
        }
    }
}

/// Why there is no plan for what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No image of the index fits.
    #[error("no image found for platform {wanted}; the index has {available}")]
    NoPlatform {
        /// The platform wanted.
        wanted: String,
        /// Those there are.
        available: String,
    },
    /// A single image that is for another platform than those that were named.
    #[error("the image is for platform {actual}, and not for {wanted}")]
    OtherPlatform {
        /// The platforms wanted.
        wanted: String,
        /// The image's.
        actual: String,
    },
    /// The manifest would have to change and may not.
    #[error("the manifest would have to change ({change}), and must not: {frozen}")]
    Frozen {
        /// What would change.
        change: String,
        /// Why it must not.
        frozen: Frozen,
    },
    /// The destination takes no such manifest, and there is no way to make one it takes.
    #[error("the destination does not take manifests of type `{}`", .0.media_type())]
    NotAccepted(ManifestKind),
    /// The destination cannot hold several images as one.
    #[error("the destination cannot hold an index of several images")]
    NoIndexes,
    /// The destination wants every image that an index lists.
    #[error("the destination does not take an index whose images are not all copied")]
    NoSparseIndexes,
    /// An option that needs an index, for a source that is none.
    #[error("{0} needs an index of several images, and the source is a single image")]
    NotAnIndex(&'static str),
    /// Rewriting was asked for where nothing is removed.
    #[error("removed platforms can be stripped only when platforms are chosen")]
    NothingToStrip,
    /// A format was asked for that the destination has no place for.
    #[error("the destination cannot hold manifests of type `{}`, only {}", wanted.media_type(), listed(taken))]
    CannotHold {
        /// The kind that was asked for.
        wanted: ManifestKind,
        /// The kinds that there can be.
        taken: Vec<ManifestKind>,
    },
    /// A compression was asked for that no manifest can name that the destination takes.
    #[error("{}", compression_words(*format, *wanted))]
    Compression {
        /// The compression.
        format: PackFormat,
        /// The kind of manifest that was asked for with it.
        wanted: Option<ManifestKind>,
    },
    /// A layer for which the wanted kind of manifest has no type.
    #[error("a layer of type `{layer}` has no counterpart in `{}`", to.media_type())]
    NoLayerType {
        /// The type it has.
        layer: MediaType,
        /// The kind of manifest.
        to: ManifestKind,
    },
    /// A conversion that does not exist.
    #[error("the image cannot be converted to `{}`", to.media_type())]
    Convert {
        /// The kind wanted.
        to: ManifestKind,
        /// Why not.
        source: ConvertError,
    },
    /// Indexes that list indexes without end.
    #[error("indexes are nested more than {0} deep")]
    TooDeep(usize),
    /// Manifests that contradict each other.
    #[error("the manifests differ about the size of the blob `{0}`")]
    SizesDiffer(Digest),
    /// A blob that has bytes is said to have none, so that nobody knows when to stop reading.
    #[error("the manifest says that blob `{0}` has no bytes, and its digest says that it has")]
    NoSize(Digest),
    /// Indexes that list more than one copy can hold.
    #[error("the index lists more manifests than one copy takes")]
    TooMany,
}

/// COMPAT(skopeo): its words.
fn compression_words(format: PackFormat, wanted: Option<ManifestKind>) -> String {
    match wanted {
        Some(kind) => format!(
            "compression using {format} required together with format {}, which does not support it",
            kind.media_type()
        ),
        None => format!(
            "compression using {format} required but the destination takes no manifests that support it"
        ),
    }
}

fn listed(kinds: &[ManifestKind]) -> String {
    let shown = kinds.iter().map(|kind| format!("`{}`", kind.media_type()));
    shown.collect::<Vec<_>>().join(" and ")
}

/// Why a manifest must not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// `--preserve-digests`.
    PreserveDigests,
    /// The destination is named by digest.
    DigestDestination,
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreserveDigests => "digests are to be preserved",
            Self::DigestDestination => "the destination is named by its digest",
        })
    }
}

impl Error {
    /// Returns what went wrong, as far as a caller can act on it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Transport { source, .. } => source.kind(),
            Self::Rejected(_) => Kind::Rejected,
            Self::Manifest {
                source: ManifestError::Digest { .. },
                ..
            } => Kind::DigestMismatch,
            Self::Manifest { .. } => Kind::Invalid,
            Self::Plan(PlanError::NoPlatform { .. } | PlanError::OtherPlatform { .. }) => {
                Kind::NotFound
            }
            Self::Plan(PlanError::SizesDiffer(_) | PlanError::NoSize(_)) => Kind::SizeMismatch,
            Self::Plan(_) => Kind::Unsupported,
            Self::Lost => Kind::Bug,
        }
    }

    /// Returns whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Transport { source, .. } => source.retry(),
            _ => Retry::Never,
        }
    }

    /// Returns what the user can do about it.
    pub fn hint_text(&self) -> Option<&str> {
        match self {
            Self::Transport { source, .. } => source.hint_text(),
            Self::Rejected(rejection) => Some(rejection.hint_text()),
            Self::Manifest { .. } | Self::Lost => None,
            Self::Plan(error) => error.hint_text(),
        }
    }

    pub(crate) fn source(
        name: &dyn fmt::Display,
        step: &str,
        source: dhow_transport::Error,
    ) -> Self {
        Self::Transport {
            side: Side::Source(name.to_string()),
            step: step.to_owned(),
            source,
        }
    }

    pub(crate) fn destination(
        name: &dyn fmt::Display,
        step: &str,
        source: dhow_transport::Error,
    ) -> Self {
        Self::Transport {
            side: Side::Destination(name.to_string()),
            step: step.to_owned(),
            source,
        }
    }
}

impl PlanError {
    fn hint_text(&self) -> Option<&str> {
        match self {
            Self::NoPlatform { .. } => Some(
                "choose one with `--override-os`, `--override-arch`, `--override-variant` or `--multi-arch`",
            ),
            Self::Frozen {
                frozen: Frozen::PreserveDigests,
                ..
            } => Some("leave out `--preserve-digests`, or the option that asks for the change"),
            Self::Frozen {
                frozen: Frozen::DigestDestination,
                ..
            } => Some(
                "name the destination by a tag, or leave out the option that asks for the change",
            ),
            Self::NoIndexes => Some("copy one image, with `--multi-arch system`"),
            Self::NoSparseIndexes => Some("pass `--strip-removed-platforms`"),
            Self::OtherPlatform { .. } => {
                Some("to copy it as it is, leave out the platforms in `--multi-arch`")
            }
            Self::NotAnIndex(_) => Some("leave the option out"),
            Self::NothingToStrip | Self::TooMany => {
                Some("choose platforms with `--multi-arch linux/amd64,…`")
            }
            Self::CannotHold { .. } => {
                Some("leave out `--format`, or name a destination such as `dir:`, which holds any")
            }
            Self::Compression { .. } => {
                Some("pass `--format oci`, or choose `--dest-compress-format gzip`")
            }
            Self::NoLayerType { .. } | Self::Convert { .. } => {
                Some("leave out `--format`, or name a destination that takes the image as it is")
            }
            Self::NotAccepted(_) | Self::TooDeep(_) | Self::SizesDiffer(_) | Self::NoSize(_) => {
                None
            }
        }
    }
}
