//! Why a request got no answer. The causes are kept as they were, for
//! [`fault::find`](crate::fault::find); no error here shows a URL or a proxy's password.

use std::error::Error as StdError;
use std::io;

use hyper_util::client::legacy;
use thiserror::Error;

use crate::fault::{self, causes};

/// Any error, as hyper takes it from connectors.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// A request that got no answer.
#[derive(Debug, Error)]
pub(crate) enum WireError {
    /// The address is none that a request can go to.
    #[error("the address is not one for http")]
    Address(#[source] BoxError),
    /// No connection was made, or it broke.
    #[error("there was no answer")]
    NoAnswer(#[source] legacy::Error),
}

/// A name for which there is no address.
#[derive(Debug, Error)]
#[error("the name has no address")]
pub(crate) struct Unresolved(#[source] pub(crate) io::Error);

impl WireError {
    /// Returns whether the request could not be made.
    pub(crate) const fn is_builder(&self) -> bool {
        matches!(self, Self::Address(_))
    }

    /// Returns whether no connection was made: the server has seen nothing of the request.
    pub(crate) fn is_connect(&self) -> bool {
        matches!(self, Self::NoAnswer(error) if error.is_connect())
    }

    /// Returns whether a name was not found, the host's or the proxy's.
    pub(crate) fn is_dns(&self) -> bool {
        fault::find::<Unresolved>(self).is_some()
    }

    /// Returns whether something took too long.
    pub(crate) fn is_timeout(&self) -> bool {
        causes(self).any(|cause| {
            let io = cause.downcast_ref::<io::Error>();
            let hyper = cause.downcast_ref::<hyper::Error>();
            io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
                || hyper.is_some_and(hyper::Error::is_timeout)
        })
    }

    /// Returns whether the server said that it has not looked at the request, and will not on
    /// this connection (RFC 9113 §8.7).
    pub(super) fn is_unprocessed(&self) -> bool {
        fault::find::<h2::Error>(self).is_some_and(|error| {
            let leaves = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            let refuses = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            error.is_remote() && (leaves || refuses)
        })
    }
}
