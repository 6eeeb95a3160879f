//! Why a registry did not do what it was asked.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::answer::Refusal;

/// Why a request did not succeed. `Display` says one thing; the cause is in
/// [`source`](StdError::source).
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    retryable: bool,
    retry_after: Option<Duration>,
    resume_offset: Option<u64>,
    hint: Option<String>,
    refusal: Option<Refusal>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection could be made, or it broke.
    Unreachable,
    /// The certificate of the server is not trusted.
    Untrusted,
    /// Nothing arrived for too long.
    Timeout,
    /// The server does not know who asks.
    Unauthorized,
    /// The server knows who asks and says no.
    Denied,
    /// The thing named does not exist.
    NotFound,
    /// The server asks to slow down.
    RateLimited,
    /// The server is in trouble (408, 5xx).
    Unavailable,
    /// The server does not take what was sent (other 4xx).
    Rejected,
    /// The server does not take this manifest: its format, or its tag.
    ManifestRejected,
    /// The server cannot do this.
    Unsupported,
    /// The answer is not what the protocol allows, or larger than it may be.
    Protocol,
    /// Content does not have its digest.
    DigestMismatch,
    /// Content does not have its size.
    SizeMismatch,
    /// The server led to a place where dhow does not follow.
    Refused,
    /// The settings of this side are wrong: credentials, certificates, proxies.
    Settings,
    /// The bytes that were to be sent could not be read.
    Content,
    /// dhow itself is wrong.
    Bug,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            retryable: false,
            retry_after: None,
            resume_offset: None,
            hint: None,
            refusal: None,
            source: None,
        }))
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    #[must_use]
    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns the error for what a registry said no to; its words are the message.
    pub(crate) fn refused(kind: ErrorKind, message: String, refusal: Refusal) -> Self {
        let mut error = Self::new(kind, message);
        error.0.refusal = Some(refusal);
        error
    }

    /// Returns what the registry said, if that is the cause.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        let below = || StdError::source(self)?.downcast_ref::<Self>()?.refusal();
        self.0.refusal.as_ref().or_else(below)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn retryable(mut self, after: Option<Duration>) -> Self {
        self.0.retryable = true;
        self.0.retry_after = after;
        self
    }

    #[must_use]
    pub(crate) fn resume_at(mut self, offset: u64) -> Self {
        self.0.resume_offset = Some(offset);
        self
    }

    /// Puts what was being done above this error, keeping what it says about retries and hints.
    #[must_use]
    pub(crate) fn during(self, message: impl Into<String>) -> Self {
        let mut outer = Self::new(self.kind(), message);
        outer.0.retryable = self.0.retryable;
        outer.0.retry_after = self.0.retry_after;
        outer.0.resume_offset = self.0.resume_offset;
        outer.0.hint.clone_from(&self.0.hint);
        outer.0.source = Some(Box::new(self));
        outer
    }

    /// Returns the same error under another kind.
    #[must_use]
    pub(crate) fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Returns what went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Returns how long the server asked to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns how many bytes of an interrupted upload the server has kept.
    pub fn resume_offset(&self) -> Option<u64> {
        self.0.resume_offset
    }

    /// Returns what the user can do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Takes the error of the content stream out, when that is the cause.
    pub fn take_content_error(&mut self) -> Option<std::io::Error> {
        if self.0.kind != ErrorKind::Content {
            return None;
        }
        match self.0.source.take()?.downcast::<std::io::Error>() {
            Ok(source) => Some(*source),
            Err(source) => {
                self.0.source = Some(source);
                None
            }
        }
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
