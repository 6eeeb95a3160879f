//! Errors of the client, as the waist has them.

use std::io;

use dhow_client::ErrorKind;
use dhow_transport::{Error, Kind, Retry};

/// Turns an error of the client into one of the waist. What it says moves up, and its cause stays.
pub(super) fn convert(mut error: dhow_client::Error) -> Error {
    if let Some(content) = error.take_content_error() {
        // What the source of the bytes said is what went wrong.
        return Error::from_stream(content);
    }
    let mut converted = Error::new(kind(error.kind()), error.to_string());
    if error.is_retryable() {
        converted = converted.retryable(error.retry_after());
    }
    if let Some(hint) = error.hint_text() {
        converted = converted.hint(hint);
    }
    // Only the cause is kept as such: the error itself has just been said.
    match Chain::below(&error) {
        Some(chain) => converted.caused_by(chain),
        None => converted,
    }
}

/// Turns an error of the client into one of a byte stream.
pub(super) fn into_io(error: dhow_client::Error) -> io::Error {
    io::Error::other(convert(error))
}

/// Returns whether a failure may be gone when the same is tried again.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(error.retry(), Retry::After(_))
}

fn kind(kind: ErrorKind) -> Kind {
    match kind {
        ErrorKind::Unreachable => Kind::Unreachable,
        ErrorKind::Untrusted => Kind::Untrusted,
        ErrorKind::Timeout => Kind::Timeout,
        ErrorKind::Unauthorized => Kind::Unauthorized,
        ErrorKind::Denied => Kind::Denied,
        ErrorKind::NotFound => Kind::NotFound,
        ErrorKind::RateLimited => Kind::RateLimited,
        ErrorKind::Unavailable | ErrorKind::Content => Kind::Io,
        ErrorKind::ManifestRejected => Kind::ManifestRejected,
        ErrorKind::Unsupported => Kind::Unsupported,
        ErrorKind::DigestMismatch => Kind::DigestMismatch,
        ErrorKind::SizeMismatch => Kind::SizeMismatch,
        ErrorKind::Refused => Kind::Rejected,
        ErrorKind::Bug => Kind::Bug,
        // What the server says, or the settings say, makes no sense.
        _ => Kind::Invalid,
    }
}

/// A chain of causes, kept as words: the error it came from is consumed.
#[derive(Debug)]
struct Chain {
    message: String,
    below: Option<Box<Chain>>,
}

impl Chain {
    fn below(error: &dyn std::error::Error) -> Option<Self> {
        let source = error.source()?;
        Some(Self {
            message: source.to_string(),
            below: Self::below(source).map(Box::new),
        })
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Chain {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.below.as_deref().map(|below| below as _)
    }
}
