//! Names of images in registries: `docker://REPOSITORY[:TAG|@DIGEST]`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use dhow_client::{Access, Endpoint, ErrorKind, ManifestRef};
use dhow_model::{Reference, Repository};
use dhow_transport::{
    Catalog, Deletion, Error, Kind, Location, ParseError, PolicyScopes, Result, Sink, Source,
    Transport,
};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, TryFutureExt as _};

use super::error::convert;
use super::sink::DockerSink;
use super::source::DockerSource;
use super::untag::delete_tag;

/// COMPAT(skopeo): stands for "no tag": the image is stored under its digest alone.
const UNKNOWN_DIGEST: &str = "@@unknown-digest@@";

/// The transport `docker`.
#[derive(Clone, Debug)]
pub struct Docker {
    endpoint: Endpoint,
}

/// An image in a registry.
#[derive(Clone, Debug)]
pub(super) struct DockerLocation {
    pub(super) endpoint: Endpoint,
    /// With the default tag, unless the image has no name but its digest.
    pub(super) reference: Reference,
    /// The name as the user wrote it, when it names no registry.
    short: Option<String>,
    /// Whether tag and digest were left out by the user.
    bare: bool,
    /// Whether the image is to be stored without a tag.
    unnamed: bool,
}

impl Docker {
    /// Returns the transport for one side of a command.
    pub const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }
}

impl Transport for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn parse(&self, rest: &str) -> Result<Arc<dyn Location>, ParseError> {
        let Some(name) = rest.strip_prefix("//") else {
            return Err(ParseError::new(format!(
                "docker: image reference {rest} does not start with //"
            ))
            .hint(format!("write `docker://{}`", rest.trim_start_matches('/'))));
        };
        let (name, unnamed) = match name.strip_suffix(UNKNOWN_DIGEST) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let written = Reference::parse(name).map_err(|error| ParseError::new(error.to_string()))?;
        if written.tag.is_some() && written.digest.is_some() {
            return Err(ParseError::new(
                "Docker references with both a tag and digest are currently not supported",
            )
            .hint("leave out the tag: the digest names the image exactly"));
        }
        let bare = written.tag.is_none() && written.digest.is_none();
        if unnamed && !bare {
            return Err(ParseError::new(format!(
                "`{UNKNOWN_DIGEST}` stands behind a name without tag and digest"
            )));
        }
        let reference = if unnamed {
            written
        } else {
            written.with_default_tag()
        };
        Ok(Arc::new(DockerLocation {
            endpoint: self.endpoint.clone(),
            reference,
            short: is_short(name).then(|| name.to_owned()),
            bare,
            unnamed,
        }))
    }

    /// Checks a scope: a registry, a repository or a part of its path, an image, or a wildcard
    /// domain.
    fn validate_policy_scope(&self, scope: &str) -> Result<(), ParseError> {
        // COMPAT(skopeo): anything is taken, because any host and path could be meant.
        let _ = scope;
        Ok(())
    }
}

impl DockerLocation {
    /// Returns how the manifest is named, unless it has no name.
    pub(super) fn manifest(&self) -> Option<ManifestRef> {
        match (&self.reference.digest, &self.reference.tag) {
            (Some(digest), _) => Some(ManifestRef::Digest(*digest)),
            (None, Some(tag)) => Some(ManifestRef::Tag(tag.clone())),
            (None, None) => None,
        }
    }

    /// Returns what to do when a name without a registry is not found on docker.io.
    async fn other_meanings(&self) -> Option<String> {
        let short = self.short.as_deref()?;
        let mut candidates = self.endpoint.short_name_candidates(short).await;
        candidates.retain(|candidate| {
            let known = Reference::parse(candidate).map(Reference::with_default_tag);
            known.is_ok_and(|known| known != self.reference)
        });
        let names: Vec<String> = candidates
            .iter()
            .take(3)
            .map(|name| format!("`docker://{name}`"))
            .collect();
        (!names.is_empty()).then(|| {
            format!(
                "`{short}` was taken for `{}`; by registries.conf it may also be {}: name the one \
                 you mean in full",
                self.reference,
                names.join(" or ")
            )
        })
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.reference.repository
    }
}

/// Returns whether a name has no registry in front (distribution's rule: the first part has a dot
/// or a port, or is `localhost`).
fn is_short(name: &str) -> bool {
    match name.split_once('/') {
        Some((first, _)) => !first.contains(['.', ':']) && first != "localhost",
        None => true,
    }
}

impl fmt::Display for DockerLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker://{}", self.reference)?;
        if self.unnamed {
            f.write_str(UNKNOWN_DIGEST)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Location for DockerLocation {
    fn transport(&self) -> &'static str {
        "docker"
    }

    fn reference(&self) -> Option<&Reference> {
        Some(&self.reference)
    }

    fn policy_scopes(&self) -> PolicyScopes {
        scopes(&self.reference)
    }

    async fn source(&self) -> Result<Arc<dyn Source>> {
        if self.manifest().is_none() {
            return Err(Error::unsupported(
                "Docker reference without a tag or digest cannot be read",
            ));
        }
        let places = self.endpoint.places(&self.reference).await;
        let places = places.map_err(convert)?;
        let meant = self.other_meanings().await;
        Ok(Arc::new(DockerSource::new(self.clone(), places, meant)))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        let client = self
            .endpoint
            .repository(self.repository(), Access::Push)
            .await
            .map_err(convert)?;
        Ok(Arc::new(DockerSink::new(self.clone(), client)))
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

#[async_trait]
impl Catalog for DockerLocation {
    fn repository(&self) -> Option<&Repository> {
        Some(&self.reference.repository)
    }

    fn tags(&self) -> BoxStream<'_, Result<String>> {
        if !self.bare {
            let error = Error::new(Kind::Invalid, "No tag or digest allowed in reference").hint(
                format!("name the repository: docker://{}", self.repository()),
            );
            return futures_util::stream::iter([Err(error)]).boxed();
        }
        // COMPAT(skopeo): tags are those of the place itself, never of a mirror.
        let client = self.endpoint.repository(self.repository(), Access::Pull);
        let tags = client.map_ok(|client| client.tags()).try_flatten_stream();
        tags.map(|tag| tag.map(|tag| tag.to_string()).map_err(convert))
            .boxed()
    }

    async fn delete(&self, what: Deletion) -> Result<()> {
        let Some(manifest) = self.manifest() else {
            return Err(Error::unsupported(
                "Docker reference without a tag or digest cannot be deleted",
            ));
        };
        let client = self
            .endpoint
            .repository(self.repository(), Access::Delete)
            .await
            .map_err(convert)?;
        if let (Deletion::Tag, ManifestRef::Tag(tag)) = (&what, &manifest) {
            return delete_tag(&client, tag).await;
        }
        // COMPAT(skopeo): the digest of what the registry serves is deleted, with all its tags.
        let found = client.manifest(&manifest).await.map_err(|error| {
            let missing = error.kind() == ErrorKind::NotFound;
            let error = convert(error);
            if missing && error.hint_text().is_none() {
                error.hint("list what is there with `list-tags`")
            } else {
                error
            }
        })?;
        client
            .delete_manifest(&found.digest())
            .await
            .map_err(convert)
    }
}

/// Returns the scopes of a name in a registry (containers-policy.json(5), *docker:*).
pub(crate) fn scopes(reference: &Reference) -> PolicyScopes {
    let repository = reference.repository.to_string();
    let mut parents = vec![repository.clone()];
    let mut rest = repository.as_str();
    while let Some((parent, _)) = rest.rsplit_once('/') {
        parents.push(parent.to_owned());
        rest = parent;
    }
    // `*.b.c` for a host `a.b.c`, and `*.c`; without the port.
    let mut host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
    while let Some((_, parent)) = host.split_once('.') {
        parents.push(format!("*.{parent}"));
        host = parent;
    }
    PolicyScopes {
        identity: Some(reference.to_string()),
        parents,
    }
}
