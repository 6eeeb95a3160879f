//! `containers-storage:[[DRIVER@GRAPHROOT+RUNROOT:OPTIONS]]NAME[:TAG][@DIGEST][@ID]`: the images of
//! Podman, Buildah and CRI-O.
//!
//! Writing, layers are unpacked aside as they come, several at once, and become visible together
//! with the image. Reading, each layer is put together again from its files; manifests are the ones
//! that were stored, while layers come uncompressed.

mod layers;
mod name;
mod parts;
mod pending;
mod piece_reader;
mod reading;
mod schema1;
mod sink;
mod source;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use dhow_config::{EnvSnapshot, StorageSettings};
use dhow_model::{Digest, Reference, Repository};
use dhow_storage::{Found, ImageName, ImageRecord, Options, Store};
use dhow_transport::{
    Catalog, Deletion, Error, Kind, Location, ParseError, PolicyScopes, Result, Sink, Source,
    Transport,
};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};

use self::name::{Name, Specifier};
use self::sink::StorageSink;
use self::source::StorageSource;
use crate::docker::scopes;
use crate::file_blob::blocking;

/// The `containers-storage` transport.
#[derive(Debug)]
pub struct ContainersStorage {
    environment: Arc<EnvSnapshot>,
    tmp: PathBuf,
}

impl ContainersStorage {
    /// Returns the transport. Where the store is, is read when it is opened; layers that have to
    /// wait go into `tmp`.
    pub const fn new(environment: Arc<EnvSnapshot>, tmp: PathBuf) -> Self {
        Self { environment, tmp }
    }
}

impl Transport for ContainersStorage {
    fn name(&self) -> &'static str {
        "containers-storage"
    }

    fn parse(&self, rest: &str) -> Result<Arc<dyn Location>, ParseError> {
        let (specifier, name) = name::parse(rest)?;
        Ok(Arc::new(StorageLocation {
            given: rest.to_owned(),
            specifier,
            name,
            environment: Arc::clone(&self.environment),
            tmp: self.tmp.clone(),
        }))
    }

    fn validate_policy_scope(&self, scope: &str) -> Result<(), ParseError> {
        // COMPAT(skopeo): a scope begins with the store it is for.
        if scope.starts_with('[') && scope.contains(']') {
            return Ok(());
        }
        Err(ParseError::new(format!(
            "containers-storage: scope `{}` does not begin with a store in brackets",
            scope.escape_debug()
        )))
    }
}

#[derive(Clone, Debug)]
struct StorageLocation {
    given: String,
    specifier: Specifier,
    name: Name,
    environment: Arc<EnvSnapshot>,
    tmp: PathBuf,
}

impl StorageLocation {
    /// Opens the store. Blocks.
    fn store(&self) -> Result<Store> {
        let uid = StorageSettings::owner(&self.environment);
        let settings = StorageSettings::load(&self.environment, uid).map_err(|error| {
            Error::new(Kind::Invalid, "the settings of the store cannot be read").caused_by(error)
        })?;
        let options = self.options(settings)?;
        Store::open(&options).map_err(store_error)
    }

    fn options(&self, settings: StorageSettings) -> Result<Options> {
        let given = &self.specifier;
        if settings.force_mask.is_some()
            || settings.transient_store
            || settings.image_store.is_some()
        {
            let error = Error::unsupported(
                "a store with `force_mask`, `transient_store` or `imagestore` is not supported",
            );
            return Err(error.hint("remove the setting from storage.conf, or name another store"));
        }
        let harmless = ["mount_program=", "mountopt=", "ignore_chown_errors="];
        let is_known = |option: &&String| harmless.iter().any(|known| option.contains(known));
        if let Some(option) = given.options.iter().find(|option| !is_known(option)) {
            let message = format!("the store option `{}` is unknown", option.escape_debug());
            let hint =
                "leave it out; `mount_program`, `mountopt` and `ignore_chown_errors` are known";
            return Err(Error::unsupported(message).hint(hint));
        }
        let ignored = given.options.iter().chain(&settings.options);
        let mut ignored = ignored.filter(|option| option.contains("ignore_chown_errors"));
        Ok(Options {
            driver: given.driver.clone().or(settings.driver),
            graph_root: given.graph_root.clone().unwrap_or(settings.graph_root),
            run_root: given.run_root.clone().unwrap_or(settings.run_root),
            additional_image_stores: settings.additional_image_stores,
            ignore_chown_errors: settings.ignore_chown_errors
                || ignored.any(|option| option.ends_with("true")),
            in_user_namespace: dhow_storage::in_user_namespace(),
        })
    }

    /// Finds the image. Blocks.
    fn find(&self, store: &Store) -> Result<Found> {
        let name = self.name.in_store(store)?;
        let found = store.find(&name).map_err(store_error)?;
        found.ok_or_else(|| {
            // COMPAT(skopeo): its words.
            let message = format!(
                "reference `{}{}` does not resolve to an image ID",
                store.specifier(),
                self.name
            );
            Error::new(Kind::NotFound, message).hint("`podman images` lists what the store has")
        })
    }
}

impl fmt::Display for StorageLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "containers-storage:{}", self.given)
    }
}

#[async_trait]
impl Location for StorageLocation {
    fn transport(&self) -> &'static str {
        "containers-storage"
    }

    fn reference(&self) -> Option<&Reference> {
        self.name.reference()
    }

    fn is_in_registry(&self) -> bool {
        false
    }

    fn policy_scopes(&self) -> PolicyScopes {
        let Ok(store) = self.store() else {
            return PolicyScopes::default();
        };
        let root = store.graph_root().display();
        let short = format!("[{}@{root}]", store.driver());
        let name = self.name.reference().map(scopes).unwrap_or_default();
        let parents = name
            .parents
            .iter()
            .filter(|parent| !parent.starts_with("*."));
        let mut parents: Vec<String> = parents.map(|parent| format!("{short}{parent}")).collect();
        parents.extend([short.clone(), format!("[{root}]")]);
        PolicyScopes {
            identity: Some(format!("{short}{}", self.name)),
            parents,
        }
    }

    async fn source(&self) -> Result<Arc<dyn Source>> {
        let location = self.clone();
        blocking(move || {
            let source = StorageSource::open(location)?;
            Ok(Arc::new(source) as Arc<dyn Source>)
        })
        .await?
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        let location = self.clone();
        blocking(move || {
            let sink = StorageSink::open(location)?;
            Ok(Arc::new(sink) as Arc<dyn Sink>)
        })
        .await?
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

#[async_trait]
impl Catalog for StorageLocation {
    fn repository(&self) -> Option<&Repository> {
        self.name.reference().map(|reference| &reference.repository)
    }

    fn tags(&self) -> BoxStream<'_, Result<String>> {
        let tags = async move {
            let location = self.clone();
            let listed = blocking(move || location.list()).await.flatten();
            match listed {
                Ok(tags) => stream::iter(tags.into_iter().map(Ok)).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        stream::once(tags).flatten().boxed()
    }

    /// Takes the name away from the image; the image goes with its last name, or when it is named
    /// by its ID.
    async fn delete(&self, _what: Deletion) -> Result<()> {
        let location = self.clone();
        blocking(move || {
            let store = location.store()?;
            let found = location.find(&store)?;
            let name = match location.name.in_store(&store)? {
                // What was found by the start of an ID, or by a digest, is that image.
                ImageName { tagged: None, .. } => ImageName {
                    id: Some(found.record.id),
                    ..ImageName::default()
                },
                name => name,
            };
            store.delete(&name).map_err(store_error)
        })
        .await?
    }
}

impl StorageLocation {
    /// Lists the tags of the repository. Blocks.
    fn list(&self) -> Result<Vec<String>> {
        let Some(reference) = self.name.reference() else {
            let error = Error::unsupported("an image ID has no tags");
            return Err(error.hint("name a repository: `containers-storage:NAME`"));
        };
        let images = self.store()?.images().map_err(store_error)?;
        let prefix = format!("{}:", reference.repository);
        let names = images.iter().flat_map(ImageRecord::names);
        let tags = names.filter_map(|name| name.strip_prefix(&prefix));
        let mut tags: Vec<String> = tags.map(str::to_owned).collect();
        tags.sort();
        tags.dedup();
        Ok(tags)
    }
}

/// Classifies what a store says.
fn store_error(error: dhow_storage::Error) -> Error {
    use dhow_storage::Error as Said;
    let message = error.to_string();
    match error {
        Said::File { what, path, source } => Error::file(what, &path, source),
        Said::Stream(source) => Error::from_stream(source),
        Said::NotFound(_) => Error::new(Kind::NotFound, message),
        Said::InUse(_) => Error::new(Kind::Exists, message)
            .hint("remove the container, or unmount the image, and try again"),
        Said::Unsupported(_) => Error::unsupported(message),
        Said::Changed(_) => Error::new(Kind::Io, message).hint("try again"),
        _ => Error::new(Kind::Invalid, message),
    }
}

/// Parses a digest that the store has noted.
fn noted_digest(text: &str) -> Result<Digest> {
    Digest::parse(text).map_err(|error| {
        let message = format!("the store has a malformed digest `{}`", text.escape_debug());
        Error::new(Kind::Invalid, message).caused_by(error)
    })
}
