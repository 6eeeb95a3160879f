//! One error for all verbs.

use dhow_config::ConfigError;
use dhow_transport::{Kind, ParseError, Retry};

/// Why a verb did not succeed. Causes are in [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name is not one of an image.
    #[error("invalid {role} name")]
    Name {
        /// `source`, `destination` or `image`.
        role: &'static str,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A configuration file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client could not be set up.
    #[error(transparent)]
    Client(#[from] dhow_client::Error),
    /// Credentials could not be checked, or were refused.
    #[error("{}", login_words(registry, source))]
    Login {
        /// The registry.
        registry: String,
        /// What it said.
        source: dhow_client::Error,
    },
    /// Work on files was interrupted.
    #[error("reading files was interrupted")]
    Interrupted,
    /// A copy did not succeed.
    #[error(transparent)]
    Copy(#[from] dhow_copy::Error),
    /// The server could not start or go on.
    #[error(transparent)]
    Serve(#[from] dhow_server::Error),
    /// A place could not do its part.
    #[error("cannot {step} `{name}`")]
    Place {
        /// What was being done.
        step: &'static str,
        /// With which place.
        name: String,
        /// Why it did not work.
        source: dhow_transport::Error,
    },
    /// A manifest or config makes no sense.
    #[error("the {what} of `{name}` cannot be used")]
    Manifest {
        /// Which document.
        what: &'static str,
        /// Of which place.
        name: String,
        /// What is wrong with it.
        source: dhow_model::ManifestError,
    },
    /// What was asked for does not exist for this image or place.
    #[error("{message}")]
    Unsupported {
        /// The fact.
        message: String,
        /// What the user can do about it.
        hint: String,
    },
    /// A folder or file of a sync cannot be used.
    #[error("`{}` cannot be used", path.display())]
    Folder {
        /// The folder or file.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What happened cannot be written down.
    #[error("the file of digests or failures cannot be written")]
    Report(#[source] std::io::Error),
    /// There is nothing in a place that could be synced.
    #[error("no images to sync found in {name:?}")]
    NothingToSync {
        /// The place.
        name: String,
    },
    /// An image of a sync could not be copied.
    #[error("cannot copy `{source_name}` to `{destination}`")]
    Image {
        /// Its name at the source.
        source_name: String,
        /// Its name at the destination.
        destination: String,
        /// Why not.
        #[source]
        cause: Box<Error>,
    },
    /// No image of the index fits.
    #[error("no image found in `{name}` for platform {wanted}; it has {available}")]
    NoPlatform {
        /// The place.
        name: String,
        /// The platform wanted.
        wanted: String,
        /// Those there are.
        available: String,
    },
}

/// COMPAT(skopeo): its words.
fn login_words(registry: &str, source: &dhow_client::Error) -> String {
    match source.kind() {
        dhow_client::ErrorKind::Unauthorized => {
            format!("logging into {registry:?}: invalid username/password")
        }
        _ => format!("authenticating creds for {registry:?}"),
    }
}

/// Returns what an error of the client is to a caller.
pub(crate) fn kind_of(kind: dhow_client::ErrorKind) -> Kind {
    use dhow_client::ErrorKind;
    match kind {
        ErrorKind::Unauthorized => Kind::Unauthorized,
        ErrorKind::Denied => Kind::Denied,
        ErrorKind::NotFound => Kind::NotFound,
        ErrorKind::Unreachable => Kind::Unreachable,
        ErrorKind::Timeout => Kind::Timeout,
        ErrorKind::Untrusted => Kind::Untrusted,
        ErrorKind::RateLimited => Kind::RateLimited,
        ErrorKind::Refused => Kind::Rejected,
        ErrorKind::Unavailable => Kind::Io,
        ErrorKind::Unsupported => Kind::Unsupported,
        _ => Kind::Invalid,
    }
}

impl Error {
    /// Returns what went wrong, as far as a caller can act on it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Client(error) | Self::Login { source: error, .. } => kind_of(error.kind()),
            Self::Interrupted => Kind::Bug,
            Self::Copy(error) => error.kind(),
            Self::Image { cause, .. } => cause.kind(),
            Self::Folder { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            Self::Place { source, .. } => source.kind(),
            Self::Manifest {
                source: dhow_model::ManifestError::Digest { .. },
                ..
            } => Kind::DigestMismatch,
            Self::Name { .. }
            | Self::Config(_)
            | Self::Manifest { .. }
            | Self::Serve(
                dhow_server::Error::Htpasswd { .. }
                | dhow_server::Error::Certificate(_)
                | dhow_server::Error::NotALayout(_),
            ) => Kind::Invalid,
            Self::Serve(_) | Self::Folder { .. } | Self::Report(_) => Kind::Io,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::NoPlatform { .. } | Self::NothingToSync { .. } => Kind::NotFound,
        }
    }

    /// Returns whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Place { source, .. } => source.retry(),
            Self::Copy(error) => error.retry(),
            Self::Client(error) if error.is_retryable() => Retry::After(error.retry_after()),
            _ => Retry::Never,
        }
    }

    /// Returns what the user can do about it.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Name { source, .. } => source.hint_text(),
            Self::Copy(error) => error.hint_text(),
            Self::Image { cause, .. } => return cause.hints(),
            Self::NothingToSync { .. } => {
                Some("name a folder with images in the form of `dir:`, each in a folder of its own")
            }
            Self::Client(error) => error.hint_text(),
            Self::Login { source, .. } => match source.kind() {
                dhow_client::ErrorKind::Unauthorized => Some("check user name and password"),
                _ => source.hint_text(),
            },
            Self::Place { source, .. } => source.hint_text(),
            Self::Unsupported { hint, .. } => Some(hint.as_str()),
            Self::NoPlatform { .. } => {
                Some("choose one with `--override-os`, `--override-arch` or `--override-variant`")
            }
            Self::Serve(dhow_server::Error::Listen { .. }) => {
                Some("name another address with `--listen`; port 0 lets the system choose")
            }
            Self::Serve(dhow_server::Error::NotALayout(_)) => {
                Some("name an OCI layout, or a directory that is empty or not there")
            }
            Self::Config(error) => return error.hint().into_iter().collect(),
            Self::Serve(_)
            | Self::Manifest { .. }
            | Self::Folder { .. }
            | Self::Report(_)
            | Self::Interrupted => None,
        };
        hint.map(str::to_owned).into_iter().collect()
    }

    pub(crate) fn place(
        step: &'static str,
        name: &dyn std::fmt::Display,
        source: dhow_transport::Error,
    ) -> Self {
        Self::Place {
            step,
            name: name.to_string(),
            source,
        }
    }
}
