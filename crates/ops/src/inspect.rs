//! Inspect: what an image is, without copying it.

use std::collections::BTreeMap;

use bytes::Bytes;
use dhow_model::manifest::Docker1Manifest;
use dhow_model::{
    Admitted, Annotations, Descriptor, Digest, ImageConfig, ImageManifest, Index, Platform,
    RawManifest, Timestamp,
};
use dhow_transport::{Catalog, Kind, Location, Source};
use futures_util::TryStreamExt as _;
use serde::Serialize;

use crate::{Error, ImageName, RetryOptions, Session};

/// What to inspect.
#[derive(Clone, Debug)]
pub struct InspectRequest {
    /// The image.
    pub image: ImageName,
    /// What of it.
    pub mode: InspectMode,
    /// Trying again.
    pub retry: RetryOptions,
}

/// What of an image is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InspectMode {
    /// The summary.
    Summary {
        /// With all tags of the repository.
        tags: bool,
    },
    /// The config, as OCI has it.
    Config,
    /// The manifest as it is; an index is not followed.
    Raw,
    /// The config as it is.
    RawConfig,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub enum Inspection {
    /// The summary.
    Summary(Box<ImageSummary>),
    /// The config.
    Config(Box<ImageConfig>),
    /// Bytes as they are stored.
    Bytes(Bytes),
}

/// The summary of an image, in skopeo's shape and order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageSummary {
    /// The repository, when the image's name has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The tag inside a schema 1 manifest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// The digest of what the name stands for: of the index, if it is one.
    pub digest: Digest,
    /// All tags of the repository; `null` when it does not tell.
    pub repo_tags: Option<Vec<String>>,
    /// When the image was made.
    pub created: Option<Timestamp>,
    /// The version of Docker that made it.
    pub docker_version: String,
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Its architecture.
    pub architecture: String,
    /// Its operating system.
    pub os: String,
    /// Its layers, base first.
    pub layers: Vec<Digest>,
    /// More on its layers.
    pub layers_data: Vec<LayerData>,
    /// The environment of its containers.
    pub env: Option<Vec<String>>,
}

/// A layer in a summary.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LayerData {
    /// The media type; empty when the manifest does not say.
    #[serde(rename = "MIMEType")]
    pub mime_type: String,
    /// The digest.
    pub digest: Digest,
    /// The size in bytes; -1 when the manifest does not say.
    pub size: i64,
    /// The annotations of the descriptor.
    pub annotations: Option<Annotations>,
}

/// Inspects.
pub async fn inspect(session: &Session, request: &InspectRequest) -> Result<Inspection, Error> {
    let location = session.location(&request.image, "image")?;
    request
        .retry
        .run(async || once(session, &*location, request).await)
        .await
}

async fn once(
    session: &Session,
    location: &dyn Location,
    request: &InspectRequest,
) -> Result<Inspection, Error> {
    let look = Look {
        session,
        location,
        image: &request.image,
    };
    let source = location
        .source()
        .await
        .map_err(|source| Error::place("open", &location, source))?;
    let root = source
        .root()
        .await
        .map_err(|source| Error::place("read the manifest of", &location, source))?;
    match request.mode {
        InspectMode::Raw => Ok(Inspection::Bytes(root.bytes().clone())),
        InspectMode::RawConfig => {
            let image = look.follow(&*source, root).await?;
            Ok(Inspection::Bytes(
                look.config_bytes(&*source, &image.config).await?,
            ))
        }
        InspectMode::Config => {
            let image = look.follow(&*source, root).await?;
            Ok(Inspection::Config(Box::new(
                look.config(&*source, &image).await?,
            )))
        }
        InspectMode::Summary { tags } => {
            let summary = look.summary(&*source, root);
            let (mut summary, tags) =
                tokio::try_join!(summary, async { Ok(look.tags(tags).await) })?;
            summary.repo_tags = tags?;
            Ok(Inspection::Summary(Box::new(summary)))
        }
    }
}

struct Look<'a> {
    session: &'a Session,
    location: &'a dyn Location,
    image: &'a ImageName,
}

impl Look<'_> {
    async fn summary(&self, source: &dyn Source, root: RawManifest) -> Result<ImageSummary, Error> {
        let digest = root.digest();
        let raw = self.descend(source, root).await?;
        let name = self
            .location
            .reference()
            .map(|reference| reference.repository.to_string());
        let mut summary = ImageSummary {
            name: name.unwrap_or_default(),
            tag: String::new(),
            digest,
            repo_tags: Some(Vec::new()),
            created: None,
            docker_version: String::new(),
            labels: None,
            architecture: String::new(),
            os: String::new(),
            layers: Vec::new(),
            layers_data: Vec::new(),
            env: None,
        };
        if raw.kind().is_docker1() {
            let manifest = Docker1Manifest::parse(&Admitted::by_policy(raw))
                .map_err(|source| self.malformed("manifest", source))?;
            summary.take_docker1(&manifest);
            return Ok(summary);
        }
        let image = self.parse(raw)?;
        let config = self.config(source, &image).await?;
        summary.take(&image, config);
        Ok(summary)
    }

    /// Follows an index to the image for the session's platform.
    async fn descend(&self, source: &dyn Source, root: RawManifest) -> Result<RawManifest, Error> {
        let mut raw = root;
        for _ in 0..MAX_DEPTH {
            if !raw.kind().is_index() {
                return Ok(raw);
            }
            let index = Index::parse(&raw).map_err(|source| self.malformed("index", source))?;
            let chosen = index
                .choose(&self.session.platform)
                .ok_or_else(|| self.no_platform(&index))?;
            raw = source
                .manifest(&chosen.digest)
                .await
                .map_err(|source| Error::place("read the manifest of", &self.location, source))?;
        }
        Err(Error::Unsupported {
            message: format!(
                "indexes in `{}` are nested more than {MAX_DEPTH} deep",
                self.location
            ),
            hint: "look at it with `--raw`".to_owned(),
        })
    }

    async fn follow(&self, source: &dyn Source, root: RawManifest) -> Result<ImageManifest, Error> {
        let raw = self.descend(source, root).await?;
        self.parse(raw)
    }

    fn parse(&self, raw: RawManifest) -> Result<ImageManifest, Error> {
        // Policy governs what is copied, not what is looked at.
        ImageManifest::parse(&Admitted::by_policy(raw))
            .map_err(|source| self.malformed("manifest", source))
    }

    async fn config(
        &self,
        source: &dyn Source,
        image: &ImageManifest,
    ) -> Result<ImageConfig, Error> {
        if !image.has_image_config() {
            let kind = image
                .artifact_type
                .as_deref()
                .unwrap_or(image.config.media_type.as_str());
            return Err(Error::Unsupported {
                message: format!(
                    "unsupported image-specific operation on artifact with type `{kind}`"
                ),
                hint: "look at it with `--raw`".to_owned(),
            });
        }
        let bytes = self.config_bytes(source, &image.config).await?;
        ImageConfig::parse(&bytes).map_err(|source| self.malformed("config", source))
    }

    async fn config_bytes(&self, source: &dyn Source, config: &Descriptor) -> Result<Bytes, Error> {
        dhow_copy::read_config(source, config)
            .await
            .map_err(|source| Error::place("read the config of", &self.location, source))
    }

    /// Lists the tags, where there are any. A registry that does not let us is no failure.
    async fn tags(&self, wanted: bool) -> Result<Option<Vec<String>>, Error> {
        let wanted = wanted && self.location.is_in_registry();
        let catalog = self.location.catalog().filter(|_| wanted);
        let Some(repository) = catalog.and_then(Catalog::repository) else {
            return Ok(Some(Vec::new()));
        };
        let name = ImageName {
            name: format!("{}://{repository}", self.location.transport()),
            endpoint: self.image.endpoint.clone(),
        };
        let location = self.session.location(&name, "image")?;
        let Some(catalog) = location.catalog() else {
            return Ok(Some(Vec::new()));
        };
        match catalog.tags().try_collect().await {
            Ok(tags) => Ok(Some(tags)),
            Err(error) => match error.kind() {
                Kind::Denied | Kind::Unauthorized | Kind::NotFound | Kind::Unsupported => {
                    tracing::warn!(%error, "registry disallows tag list retrieval; skipping");
                    Ok(None)
                }
                _ => Err(Error::place("list the tags of", &location, error)),
            },
        }
    }

    fn malformed(&self, what: &'static str, source: dhow_model::ManifestError) -> Error {
        Error::Manifest {
            what,
            name: self.location.to_string(),
            source,
        }
    }

    fn no_platform(&self, index: &Index) -> Error {
        let wish = &self.session.platform;
        let wanted = Platform {
            os: wish.os.clone(),
            architecture: wish.architecture.clone(),
            variant: wish.variant.clone(),
            ..Platform::default()
        };
        let mut available: Vec<String> = index
            .entries
            .iter()
            .filter_map(|entry| entry.platform.as_ref().map(ToString::to_string))
            .collect();
        available.dedup();
        Error::NoPlatform {
            name: self.location.to_string(),
            wanted: wanted.to_string(),
            available: available.join(", "),
        }
    }
}

impl ImageSummary {
    fn take(&mut self, image: &ImageManifest, config: ImageConfig) {
        self.created = config.created;
        self.docker_version = config.docker_version.unwrap_or_default();
        self.architecture = config.architecture;
        self.os = config.os;
        if let Some(container) = config.container {
            self.labels = (!container.labels.is_empty()).then_some(container.labels);
            self.env = (!container.env.is_empty()).then_some(container.env);
        }
        for layer in &image.layers {
            self.layers.push(layer.digest);
            self.layers_data.push(LayerData {
                mime_type: layer.media_type.to_string(),
                digest: layer.digest,
                size: i64::try_from(layer.size).unwrap_or(i64::MAX),
                annotations: (!layer.annotations.is_empty()).then(|| layer.annotations.clone()),
            });
        }
    }

    fn take_docker1(&mut self, manifest: &Docker1Manifest) {
        self.tag.clone_from(&manifest.tag);
        self.architecture.clone_from(&manifest.architecture);
        if let Some(top) = manifest.history.last() {
            self.created.clone_from(&top.created);
            self.docker_version = top.docker_version.clone().unwrap_or_default();
            self.os = top.os.clone().unwrap_or_default();
        }
        self.layers.clone_from(&manifest.layers);
        self.layers_data = manifest
            .layers
            .iter()
            .map(|digest| LayerData {
                mime_type: String::new(),
                digest: *digest,
                size: -1,
                annotations: None,
            })
            .collect();
    }
}

/// How deep indexes may list indexes.
const MAX_DEPTH: usize = 8;
