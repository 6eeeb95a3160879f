//! One error for everything that opens, reads or writes; classified by data, not by type.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// Why an operation did not succeed. `Display` says one thing; the cause is in
/// [`source`](StdError::source).
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    retry: Retry,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// dhow itself is wrong.
    Bug,
    /// The operation was cancelled.
    Cancelled,
    /// The server knows who asks and says no.
    Denied,
    /// Content does not have its digest.
    DigestMismatch,
    /// Something is there that must not be overwritten.
    Exists,
    /// Data from outside is malformed.
    Invalid,
    /// The file system or a connection broke.
    Io,
    /// The place does not take this format of manifest.
    ManifestRejected,
    /// The thing named does not exist.
    NotFound,
    /// The server asks to slow down.
    RateLimited,
    /// Content does not have its size.
    SizeMismatch,
    /// The time allowed is over.
    Timeout,
    /// The server does not know who asks.
    Unauthorized,
    /// The server cannot be reached, or is not who it should be.
    Unreachable,
    /// The certificate of the server is not trusted.
    Untrusted,
    /// The transport cannot do this.
    Unsupported,
    /// Policy says no.
    Rejected,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No.
    Never,
    /// Yes, after the time that the server named, if it did.
    After(Option<Duration>),
}

impl Error {
    /// Returns an error. `message` is a lower-case fragment that states the fact, the thing first.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            retry: Retry::Never,
            hint: None,
            source: None,
        }))
    }

    /// Returns an error about an operation that a transport does not have.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, message)
    }

    /// Returns an error about a file, classified by what the operating system said.
    pub fn file(what: &str, path: &std::path::Path, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            _ => Kind::Io,
        };
        let hint = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Some("free space there, or name another place")
            }
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Some("name a place that you may use, or change its permissions")
            }
            _ => None,
        };
        let error =
            Self::new(kind, format!("cannot {what} `{}`", path.display())).caused_by(source);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// Returns the error that a stream of bytes carried: an [`Error`] that travelled inside an
    /// [`std::io::Error`], or a broken transfer that may succeed when tried again.
    pub fn from_stream(error: std::io::Error) -> Self {
        let kind = error.kind();
        match error
            .into_inner()
            .map(<dyn StdError + Send + Sync>::downcast::<Self>)
        {
            Some(Ok(error)) => *error,
            Some(Err(other)) if kind == std::io::ErrorKind::InvalidData => {
                Self::new(Kind::Invalid, other.to_string())
            }
            Some(Err(other)) => Self::new(Kind::Io, other.to_string()).retryable(None),
            None => Self::new(Kind::Io, std::io::Error::from(kind).to_string()).retryable(None),
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds a fact to the message.
    #[must_use]
    pub fn noted(mut self, note: &str) -> Self {
        self.0.message = format!("{} ({note})", self.0.message);
        self
    }

    /// Adds what the user can do about it: an action, lower case.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says that trying again can help.
    #[must_use]
    pub fn retryable(mut self, after: Option<Duration>) -> Self {
        self.0.retry = Retry::After(after);
        self
    }

    /// Returns what went wrong.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns whether trying again can help.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Returns what the user can do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// A name that is not one of its transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    message: String,
    hint: Option<String>,
}

impl ParseError {
    /// Returns an error. `message` is a lower-case fragment that states the fact.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns what the user can do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
