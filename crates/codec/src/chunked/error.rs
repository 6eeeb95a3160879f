//! Why a zstd:chunked layer cannot be read file by file.

/// What is wrong with the description of a layer. Nothing is wrong with the layer itself then: whoever
/// decompresses the whole gets its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkedError {
    /// An annotation of the descriptor makes no sense.
    #[error("annotation `{key}` makes no sense: `{}`", value.escape_debug())]
    Annotation {
        /// Its name.
        key: &'static str,
        /// What it says.
        value: String,
    },
    /// More is described than is ever read.
    #[error("the {what} has {size} bytes, more than the {most} allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// The table of contents is not the one that the descriptor speaks of, or makes no sense.
    #[error("table of contents: {0}")]
    Table(String),
    /// The same of the tar-split.
    #[error("tar-split: {0}")]
    TarSplit(String),
}
