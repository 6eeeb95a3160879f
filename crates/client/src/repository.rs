//! A client of one repository: the requests themselves are in the files of what they are about.

use std::collections::BTreeSet;

use dhow_model::{Digest, Repository, Tag};
use http::Method;

use crate::answer::Answer;
use crate::channel::Channel;
use crate::request::Request;
use crate::{Access, Error};

/// A client of one repository of a registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RepositoryClient {
    pub(crate) channel: Channel,
    pub(crate) repository: Repository,
    access: Access,
}

/// How a manifest is named in its repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ManifestRef {
    /// By tag.
    Tag(Tag),
    /// By digest.
    Digest(Digest),
}

impl std::fmt::Display for ManifestRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl RepositoryClient {
    pub(crate) const fn new(channel: Channel, repository: Repository, access: Access) -> Self {
        Self {
            channel,
            repository,
            access,
        }
    }

    /// Returns a client that gives up early, for places beside which there are others.
    #[must_use]
    pub fn hasty(&self) -> Self {
        Self {
            channel: self.channel.hasty(),
            repository: self.repository.clone(),
            access: self.access,
        }
    }

    /// Returns the repository.
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns whether a request to the registry costs more work than time, as far as that is known.
    pub fn is_near(&self) -> bool {
        self.channel.host().is_near()
    }

    /// Begins to make a connection for a blob that will soon be on its way, if there are fewer than
    /// `most`, and if it would not be there by then.
    pub fn connect_ahead(&self, most: usize) {
        self.channel.host().connect_ahead(most);
    }

    /// Returns a request to a path below the repository.
    pub(crate) fn request(&self, method: Method, below: &str) -> Request {
        self.request_to(method, self.path(below))
    }

    /// Returns a request to an absolute path, on behalf of the repository.
    pub(crate) fn request_to(&self, method: Method, path: String) -> Request {
        let mut request = Request::to_path(method, path);
        request.scopes = self.scopes();
        request
    }

    pub(crate) fn path(&self, below: &str) -> String {
        format!("/v2/{}/{below}", self.repository.path())
    }

    pub(crate) fn scopes(&self) -> BTreeSet<String> {
        BTreeSet::from([scope(&self.repository, self.access)])
    }

    /// Returns the error that an answer means.
    pub(crate) async fn refusal(&self, answer: Answer, what: impl Into<String>) -> Error {
        self.channel.refusal(answer, what.into()).await
    }
}

/// Returns the scope of a token (distribution's *Token Scope Documentation*).
pub(crate) fn scope(repository: &Repository, access: Access) -> String {
    format!("repository:{}:{}", repository.path(), access.actions())
}
