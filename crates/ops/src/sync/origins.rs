//! Where images come from: each source as a stream of repositories, folders and layouts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhow_config::Secret;
use dhow_model::Reference;
use dhow_transport::ParseError;
use dhow_transports::Transports;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::request::SyncSource;
use crate::list_repositories::{is_below, registry_and_path};
use crate::select::{TagFilter, YamlRegistry, YamlRepository, YamlSource, YamlWants};
use crate::{CredentialsOption, EndpointOptions, Error, Session};

/// A repository, a folder or a layout with images.
#[derive(Debug)]
pub(super) struct Origin {
    /// Its name, as it is shown.
    pub(super) name: String,
    pub(super) side: Arc<Transports>,
    pub(super) images: Images,
}

/// The images of an origin.
#[derive(Debug)]
pub(super) enum Images {
    /// These.
    Given(Vec<Image>),
    /// All tags of a repository that the filters let through.
    Tags {
        repository: String,
        filters: Vec<TagFilter>,
    },
    /// All names in a layout or an archive.
    Names { place: String, stem: String },
    /// None: something is wrong with what describes them.
    Wrong(String),
}

/// One image to be synced.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) side: Arc<Transports>,
    /// The transport-qualified name.
    pub(super) source: String,
    /// The name from which the one at the destination is made.
    pub(super) name: String,
    /// The part of the name before the tag or digest.
    pub(super) repository: String,
    /// The tag, or what stands in its place.
    pub(super) tag: String,
}

impl Image {
    /// Returns the image of a repository with a tag or a digest.
    pub(super) fn tagged(side: &Arc<Transports>, repository: &str, tag: &str) -> Self {
        let joint = if tag.contains(':') { '@' } else { ':' };
        let name = format!("{repository}{joint}{tag}");
        Self {
            side: Arc::clone(side),
            source: format!("docker://{name}"),
            name,
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        }
    }

    /// Returns the image with this name in a layout.
    pub(super) fn named(side: &Arc<Transports>, place: &str, stem: &str, name: &str) -> Self {
        let full = if name.contains([':', '/']) {
            name.to_owned()
        } else {
            // A tag alone is one of the image that the layout is called by.
            format!("{stem}:{name}")
        };
        let (repository, tag) = apart(&full);
        Self {
            side: Arc::clone(side),
            source: format!("{place}:{name}"),
            repository,
            tag,
            name: full,
        }
    }
}

/// Takes a name apart at its tag or digest.
pub(super) fn apart(name: &str) -> (String, String) {
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[last..].split_once([':', '@']) {
        Some((_, tag)) => (
            name[..name.len() - tag.len() - 1].to_owned(),
            tag.to_owned(),
        ),
        None => (name.to_owned(), "latest".to_owned()),
    }
}

type Origins = BoxStream<'static, Result<Origin, Error>>;

/// Returns the origins of a source.
pub(super) async fn of(
    session: &Session,
    source: &SyncSource,
    filter: &TagFilter,
) -> Result<Origins, Error> {
    let local = || {
        Arc::new(dhow_transports::standard(
            &EndpointOptions::default().parts(session),
        ))
    };
    let origin = match source {
        SyncSource::Docker { name, endpoint } => {
            let side = Arc::new(dhow_transports::standard(&endpoint.parts(session)));
            docker(&side, name, filter)?
        }
        SyncSource::Registry { name, endpoint } => {
            return registry(session, name, endpoint, filter);
        }
        SyncSource::Dir(path) => {
            let (side, path) = (local(), path.clone());
            let walk = tokio::task::spawn_blocking(move || folder(&side, &path));
            walk.await.map_err(|_| Error::Interrupted)??
        }
        SyncSource::Oci(path) => names(&local(), "oci", path),
        SyncSource::OciArchive(path) => names(&local(), "oci-archive", path),
        SyncSource::ContainersStorage(name) => stored(&local(), name)?,
        SyncSource::Yaml { yaml, endpoint } => {
            return Ok(from_yaml(session, yaml, endpoint, filter));
        }
    };
    Ok(stream::iter([Ok(origin)]).boxed())
}

/// Returns a repository of Podman's storage, or one image of it.
fn stored(side: &Arc<Transports>, name: &str) -> Result<Origin, Error> {
    let bare = name.strip_prefix("containers-storage:").unwrap_or(name);
    let cut = bare.find(']').filter(|_| bare.starts_with('['));
    let (store, bare) = bare.split_at(cut.map_or(0, |cut| cut + 1));
    let reference = repository(bare)?;
    let repository = reference.repository.to_string();
    let place = format!("containers-storage:{store}{repository}");
    let images = match &reference.tag {
        Some(tag) => Images::Given(vec![Image::named(side, &place, &repository, tag.as_str())]),
        None => Images::Names {
            place,
            stem: repository.clone(),
        },
    };
    Ok(Origin {
        name: repository,
        side: Arc::clone(side),
        images,
    })
}

/// Parses a repository, or an image of it.
fn repository(name: &str) -> Result<Reference, Error> {
    Reference::parse(name).map_err(|error| Error::Name {
        role: "source",
        source: ParseError::new(error.to_string())
            .hint("write a repository, such as `quay.io/podman/stable`, or an image of it"),
    })
}

fn docker(side: &Arc<Transports>, name: &str, filter: &TagFilter) -> Result<Origin, Error> {
    let bare = name.strip_prefix("docker://").unwrap_or(name);
    let reference = repository(bare)?;
    let repository = reference.repository.to_string();
    let tag = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => Some(digest.to_string()),
        (None, tag) => tag.as_ref().map(ToString::to_string),
    };
    let images = match tag {
        Some(tag) => Images::Given(vec![Image::tagged(side, &repository, &tag)]),
        None => Images::Tags {
            repository: repository.clone(),
            filters: vec![filter.clone()],
        },
    };
    Ok(Origin {
        name: repository,
        side: Arc::clone(side),
        images,
    })
}

/// Returns all repositories of a registry, or those below a path.
fn registry(
    session: &Session,
    name: &str,
    endpoint: &EndpointOptions,
    filter: &TagFilter,
) -> Result<Origins, Error> {
    let (host, below) = registry_and_path(name);
    if host.is_empty() {
        return Err(Error::Name {
            role: "source",
            source: ParseError::new("the name of a registry is missing")
                .hint("write `HOST:PORT`, or `HOST:PORT/PATH` for a part of it"),
        });
    }
    let parts = endpoint.parts(session);
    let catalog = parts.endpoint.catalog(host);
    let side = Arc::new(dhow_transports::standard(&parts));
    let (below, filter) = (below.to_owned(), filter.clone());
    Ok(catalog
        .filter_map(move |listed| {
            let origin = match listed {
                Ok(repository) if is_below(repository.path(), &below) => Some(Ok(Origin {
                    name: repository.to_string(),
                    side: Arc::clone(&side),
                    images: Images::Tags {
                        repository: repository.to_string(),
                        filters: vec![filter.clone()],
                    },
                })),
                Ok(_) => None,
                Err(error) => Some(Err(Error::Client(error))),
            };
            std::future::ready(origin)
        })
        .boxed())
}

/// Finds the images in folders below a path, in the form of `dir:`. Blocks.
fn folder(side: &Arc<Transports>, path: &Path) -> Result<Origin, Error> {
    let shown = path.display().to_string();
    let problem = |error: std::io::Error| Error::Folder {
        path: path.to_owned(),
        source: error,
    };
    if !fs::metadata(path).map_err(problem)?.is_dir() {
        return Err(problem(std::io::Error::from(
            std::io::ErrorKind::NotADirectory,
        )));
    }
    let mut found = Vec::new();
    walk(path, 0, &mut found).map_err(problem)?;
    let images = found.into_iter().map(|folder| {
        let name = match folder.strip_prefix(path) {
            Ok(below) if !below.as_os_str().is_empty() => below.display().to_string(),
            _ => base_name(&folder),
        };
        let (repository, tag) = apart(&name);
        Image {
            side: Arc::clone(side),
            source: format!("dir:{}", folder.display()),
            name,
            repository,
            tag,
        }
    });
    let images: Vec<_> = images.collect();
    if images.is_empty() {
        return Err(Error::NothingToSync { name: shown });
    }
    Ok(Origin {
        name: shown,
        side: Arc::clone(side),
        images: Images::Given(images),
    })
}

/// How deep folders are looked into.
const DEEPEST: usize = 64;

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if folder.join("manifest.json").is_file() {
        found.push(folder.to_owned());
    }
    if depth == DEEPEST {
        return Ok(());
    }
    let mut below = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            below.push(entry.path());
        }
    }
    below.sort();
    below
        .iter()
        .try_for_each(|folder| walk(folder, depth + 1, found))
}

fn base_name(path: &Path) -> String {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = whole.file_name().unwrap_or(whole.as_os_str());
    name.to_string_lossy().into_owned()
}

fn names(side: &Arc<Transports>, transport: &str, path: &Path) -> Origin {
    let stem = base_name(path);
    let stem = stem.strip_suffix(".tar").unwrap_or(&stem);
    Origin {
        name: format!("{transport}:{}", path.display()),
        side: Arc::clone(side),
        images: Images::Names {
            place: format!("{transport}:{}", path.display()),
            stem: stem.to_owned(),
        },
    }
}

fn from_yaml(
    session: &Session,
    yaml: &YamlSource,
    endpoint: &EndpointOptions,
    filter: &TagFilter,
) -> Origins {
    let mut origins = Vec::new();
    for registry in &yaml.registries {
        let options = yaml_endpoint(registry, endpoint);
        let side = Arc::new(dhow_transports::standard(&options.parts(session)));
        for problem in &registry.problems {
            origins.push(Ok(Origin {
                name: registry.name.clone(),
                side: Arc::clone(&side),
                images: Images::Wrong(problem.clone()),
            }));
        }
        if registry.repositories.is_empty() {
            tracing::warn!(registry = registry.name, "no images specified for registry");
        }
        for repository in &registry.repositories {
            origins.push(Ok(yaml_origin(&side, &registry.name, repository, filter)));
        }
    }
    stream::iter(origins).boxed()
}

fn yaml_origin(
    side: &Arc<Transports>,
    registry: &str,
    repository: &YamlRepository,
    filter: &TagFilter,
) -> Origin {
    let name = format!("{registry}/{}", repository.path);
    let images = match Reference::parse(&name) {
        Err(error) => Images::Wrong(format!("`{name}` is not the name of a repository: {error}")),
        Ok(reference) => {
            let repository_name = reference.repository.to_string();
            match &repository.wants {
                YamlWants::All => Images::Tags {
                    repository: repository_name,
                    filters: vec![filter.clone()],
                },
                YamlWants::Filter(own) => Images::Tags {
                    repository: repository_name,
                    filters: vec![own.clone(), filter.clone()],
                },
                YamlWants::Listed(tags) => {
                    let images = tags
                        .iter()
                        .map(|tag| Image::tagged(side, &repository_name, tag));
                    Images::Given(images.collect())
                }
            }
        }
    };
    Origin {
        name,
        side: Arc::clone(side),
        images,
    }
}

fn yaml_endpoint(registry: &YamlRegistry, endpoint: &EndpointOptions) -> EndpointOptions {
    let credentials = match (&registry.username, &registry.password) {
        (Some(username), password) if !username.is_empty() => CredentialsOption::Basic {
            username: username.clone(),
            password: password.clone().unwrap_or_else(|| Secret::new("")),
            flag: format!("`credentials` of `{}` in the YAML file", registry.name),
        },
        _ => endpoint.credentials.clone(),
    };
    EndpointOptions {
        credentials,
        tls_verify: registry.tls_verify.or(endpoint.tls_verify),
        cert_dir: registry
            .cert_dir
            .clone()
            .or_else(|| endpoint.cert_dir.clone()),
        ..endpoint.clone()
    }
}
