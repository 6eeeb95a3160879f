//! One request, as the parts of this crate hand it to [`Channel`](crate::channel::Channel).

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Method};
use url::Url;

use crate::feed::Part;
use crate::host::Lane;
use crate::wire::Outgoing;

/// A request that has not been sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RequestBody,
    pub(crate) lane: Lane,
    /// The body holds a secret, which goes to the origin it was made for and nowhere else.
    pub(crate) confidential: bool,
    /// What a token must allow: `repository:a/b:pull`.
    pub(crate) scopes: BTreeSet<String>,
}

/// Where a request goes.
pub(crate) enum Target {
    /// To the registry: an absolute path, with its query.
    Path(String),
    /// To an address that a server gave.
    Url(Url),
}

/// What a request carries.
pub(crate) enum RequestBody {
    /// Nothing.
    Empty,
    /// Bytes that can be sent again.
    Bytes(Bytes),
    /// A body that can be sent once; `None` when that has happened.
    Once(Option<Part>),
}

impl Request {
    pub(crate) fn to_path(method: Method, path: String) -> Self {
        Self::new(method, Target::Path(path), Lane::Small)
    }

    pub(crate) fn to_url(method: Method, url: Url, lane: Lane) -> Self {
        Self::new(method, Target::Url(url), lane)
    }

    fn new(method: Method, target: Target, lane: Lane) -> Self {
        Self {
            method,
            target,
            headers: HeaderMap::new(),
            body: RequestBody::Empty,
            lane,
            confidential: false,
            scopes: BTreeSet::new(),
        }
    }
}

impl RequestBody {
    pub(crate) const fn is_replayable(&self) -> bool {
        !matches!(self, Self::Once(_))
    }

    /// Returns the body for the next try, which is empty when there is none left to be sent.
    pub(crate) fn take(&mut self) -> Outgoing {
        match self {
            Self::Empty => Outgoing::Bytes(Bytes::new()),
            Self::Bytes(bytes) => Outgoing::Bytes(bytes.clone()),
            Self::Once(body) => body
                .take()
                .map_or_else(|| Outgoing::Bytes(Bytes::new()), Outgoing::Part),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path.split('?').next().unwrap_or_default()),
            Self::Url(url) => f.write_str(&crate::origin::redacted(url)),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Once(_) => f.write_str("Once"),
        }
    }
}
