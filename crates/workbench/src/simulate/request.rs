//! Requests and what they are counted as.

use super::workload::Blob;

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    /// A page of the tags at the source.
    SourcePage,
    /// A page of the tags at the destination.
    DestinationPage,
    /// The digest of a tag at the source.
    SourceHead,
    /// The digest of a tag at the destination.
    DestinationHead,
    /// A manifest at the source.
    GetManifest,
    /// A blob at the source.
    GetBlob(Blob),
    /// The question for a blob, which mounts it or begins its upload.
    Post(Blob),
    /// The bytes of a blob.
    PutBlob(Blob),
    /// A manifest under its tag.
    PutManifest,
}

/// What requests are counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    SourcePage,
    SourceHead,
    GetManifest,
    GetBlob,
    /// Answered with 429.
    Refused,
    DestinationPage,
    DestinationHead,
    /// A POST that found the blob, or mounted it.
    Mount,
    /// A POST that began an upload.
    Post,
    PutBlob,
    PutManifest,
}

impl Kind {
    /// How many kinds there are.
    pub(super) const COUNT: usize = 11;
}

impl Request {
    /// Returns what the request is counted as when it is served. Of a POST, the answer decides.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::SourcePage => Kind::SourcePage,
            Self::DestinationPage => Kind::DestinationPage,
            Self::SourceHead => Kind::SourceHead,
            Self::DestinationHead => Kind::DestinationHead,
            Self::GetManifest => Kind::GetManifest,
            Self::GetBlob(_) => Kind::GetBlob,
            Self::Post(_) => Kind::Post,
            Self::PutBlob(_) => Kind::PutBlob,
            Self::PutManifest => Kind::PutManifest,
        }
    }

    /// Returns whether the source is asked, which has limits.
    pub(super) const fn is_at_source(self) -> bool {
        matches!(
            self,
            Self::SourcePage | Self::SourceHead | Self::GetManifest | Self::GetBlob(_)
        )
    }
}
