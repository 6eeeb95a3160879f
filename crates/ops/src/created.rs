//! When images were made, and which of them are new: their manifests and configs are read for it, so
//! that it comes last of all filters.

use dhow_copy::Select;
use dhow_model::manifest::Docker1Manifest;
use dhow_model::{
    Admitted, Descriptor, ImageConfig, ImageManifest, Index, ManifestError, PlatformWish,
    RawManifest,
};
use dhow_transport::{Location, Source};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;

use crate::Error;

/// Which images of an index count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen<'a> {
    pub(crate) select: &'a Select,
    pub(crate) platform: &'a PlatformWish,
}

/// Lets tags through, in their order, for which `is_new` holds; many are asked at once.
pub(crate) fn later<'a>(
    tags: Vec<String>,
    is_new: impl Fn(&str) -> BoxFuture<'a, bool> + Send + 'a,
) -> BoxStream<'a, String> {
    let asked = stream::iter(tags).map(move |tag| {
        let asked = is_new(&tag);
        async move { asked.await.then_some(tag) }
    });
    let answers = asked.buffered(AT_ONCE);
    answers.filter_map(std::future::ready).boxed()
}

/// Returns whether an image was made at this moment or later. One whose date cannot be told counts as
/// new: what is missing is noticed when it is needed.
pub(crate) async fn is_new(location: &dyn Location, chosen: Chosen<'_>, since: Timestamp) -> bool {
    let image = location.to_string();
    match created(location, chosen).await {
        Ok(Some(created)) if created < since => {
            tracing::debug!(image, %created, "older than what is wanted");
            false
        }
        Ok(Some(_)) => true,
        Ok(None) => {
            tracing::warn!(image, "it has no date, and is kept as if it were new");
            true
        }
        Err(error) => {
            tracing::warn!(image, %error, "its date cannot be read, it is kept as if it were new");
            true
        }
    }
}

/// Returns when an image was made, if it says so; of an index, the newest of the images that are
/// chosen.
async fn created(location: &dyn Location, chosen: Chosen<'_>) -> Result<Option<Timestamp>, Error> {
    let source = location.source().await;
    let source = source.map_err(|error| Error::place("open", &location, error))?;
    let root = source.root().await;
    let root = root.map_err(|error| Error::place("read the manifest of", &location, error))?;
    let look = Look {
        location,
        source: &*source,
        chosen,
    };
    look.newest(root, 0).await
}

struct Look<'a> {
    location: &'a dyn Location,
    source: &'a dyn Source,
    chosen: Chosen<'a>,
}

impl Look<'_> {
    fn newest(
        &self,
        raw: RawManifest,
        depth: usize,
    ) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        Box::pin(async move {
            if !raw.kind().is_index() {
                return self.image(raw).await;
            }
            if depth >= MAX_DEPTH {
                return Ok(None);
            }
            let index = Index::parse(&raw).map_err(|error| self.malformed("index", error))?;
            let mut newest = None;
            for entry in self.taken(&index, depth) {
                let child = self.source.manifest(&entry.digest).await;
                let child = child
                    .map_err(|error| Error::place("read the manifest of", &self.location, error))?;
                newest = newest.max(self.newest(child, depth + 1).await?);
            }
            Ok(newest)
        })
    }

    /// Returns the entries of an index that are copied.
    fn taken<'i>(&self, index: &'i Index, depth: usize) -> Vec<&'i Descriptor> {
        match self.chosen.select {
            Select::System => index.choose(self.chosen.platform).into_iter().collect(),
            Select::Platforms(wanted) if depth == 0 => {
                let is_wanted = |entry: &&Descriptor| {
                    let platform = entry.platform.as_ref();
                    platform.is_some_and(|has| wanted.iter().any(|wanted| has.matches(wanted)))
                };
                index.entries.iter().filter(is_wanted).collect()
            }
            _ => index.entries.iter().take(MOST).collect(),
        }
    }

    async fn image(&self, raw: RawManifest) -> Result<Option<Timestamp>, Error> {
        let is_docker1 = raw.kind().is_docker1();
        // Policy governs what is copied, not what is looked at.
        let raw = Admitted::by_policy(raw);
        if is_docker1 {
            let manifest =
                Docker1Manifest::parse(&raw).map_err(|error| self.malformed("manifest", error))?;
            let top = manifest.history.last();
            return Ok(top.and_then(|top| date(top.created.as_ref())));
        }
        let image =
            ImageManifest::parse(&raw).map_err(|error| self.malformed("manifest", error))?;
        if !image.has_image_config() {
            return Ok(None);
        }
        let bytes = dhow_copy::read_config(self.source, &image.config).await;
        let bytes =
            bytes.map_err(|error| Error::place("read the config of", &self.location, error))?;
        let config = ImageConfig::parse(&bytes).map_err(|error| self.malformed("config", error))?;
        Ok(date(config.created.as_ref()))
    }

    fn malformed(&self, what: &'static str, source: ManifestError) -> Error {
        Error::Manifest {
            what,
            name: self.location.to_string(),
            source,
        }
    }
}

/// Returns a date that can be one. Builds that are to be reproducible write 1970 or 1980.
fn date(written: Option<&dhow_model::Timestamp>) -> Option<Timestamp> {
    let date = written?.as_str().parse::<Timestamp>().ok()?;
    (date.as_second() >= FIRST_IMAGES).then_some(date)
}

/// The year in which there were images for the first time: 2013.
const FIRST_IMAGES: i64 = 1_356_998_400;
/// How many images are asked for their dates at once.
const AT_ONCE: usize = 12;
/// How deep indexes may lie in each other.
const MAX_DEPTH: usize = 4;
/// How many images of one index are asked.
const MOST: usize = 100;
