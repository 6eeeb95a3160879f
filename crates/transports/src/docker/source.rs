//! Reading images from registries: from the first place that has the image, mirrors before the
//! registry itself.
//!
//! The place that gave the manifest gives the blobs. A blob that it does not give, or that is asked
//! for again because it was not what it should be, comes from the next place: blobs are named by
//! their digest, so that it does not matter who has them.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::{Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use dhow_client::{ManifestRef, Place, RepositoryClient};
use dhow_model::{Descriptor, Digest, RawManifest};
use dhow_transport::{
    Blob, BlobPart, ByteRange, Error, Kind, Location, Result, RootHead, Source, SourceCaps,
};
use futures_util::StreamExt as _;
use tokio::sync::OnceCell;

use super::error::{convert, into_io};
use super::location::DockerLocation;

/// How many blobs of one image are read at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(64).expect("64 is not 0");

/// The registry that counts manifests which are read, and not the question for their digest.
const COUNTS: &str = "docker.io";

/// An image in a registry, opened for reading.
#[derive(Debug)]
pub(super) struct DockerSource {
    location: DockerLocation,
    /// Never empty; the last is the registry itself.
    places: Vec<Place>,
    /// The place that serves the image, once one has shown that it has it.
    chosen: OnceLock<usize>,
    /// Held by the request that chooses.
    choosing: tokio::sync::Mutex<()>,
    /// A tag can move: what it named first is what this source reads.
    root: OnceCell<RawManifest>,
    /// What else a name without a registry may stand for.
    other_meanings: Option<String>,
    /// How often each blob was asked for.
    asked: Mutex<HashMap<Digest, usize>>,
}

impl DockerSource {
    pub(super) fn new(
        location: DockerLocation,
        places: Vec<Place>,
        other_meanings: Option<String>,
    ) -> Self {
        Self {
            location,
            places,
            chosen: OnceLock::new(),
            choosing: tokio::sync::Mutex::new(()),
            root: OnceCell::new(),
            other_meanings,
            asked: Mutex::default(),
        }
    }

    /// Returns the place that serves the image, once that is known.
    fn serving(&self) -> Option<&Place> {
        self.places.get(*self.chosen.get()?)
    }

    /// Asks the place that serves the image. The first time, all places in their order, until one
    /// has what is asked for.
    async fn ask<T, F>(
        &self,
        question: impl Fn(RepositoryClient, ManifestRef) -> F + Send + Sync,
    ) -> Result<Option<T>>
    where
        T: Send,
        F: Future<Output = Result<Option<T>, dhow_client::Error>> + Send,
    {
        let _guard = match self.chosen.get() {
            Some(_) => None,
            None => Some(self.choosing.lock().await),
        };
        if let Some(place) = self.serving() {
            return question(place.client.clone(), place.manifest.clone())
                .await
                .map_err(convert);
        }
        let Some((last, before)) = self.places.split_last() else {
            return Err(bug("an image has no place to be read from"));
        };
        let mut skipped = Vec::new();
        for (at, place) in before.iter().enumerate() {
            log_try(place);
            let why = match question(place.client.hasty(), place.manifest.clone()).await {
                Ok(Some(answer)) => {
                    self.choose(at);
                    return Ok(Some(answer));
                }
                Ok(None) => "it does not have the image".to_owned(),
                Err(error) => one_line(&error),
            };
            let mirror = place.client.repository();
            tracing::warn!(%mirror, why, "mirror skipped");
            skipped.push(format!("`{mirror}`: {why}"));
        }
        log_try(last);
        match question(last.client.clone(), last.manifest.clone()).await {
            Ok(answer) => {
                if answer.is_some() {
                    self.choose(self.places.len() - 1);
                }
                Ok(answer)
            }
            Err(error) => Err(self.with_meanings(with_mirrors(convert(error), &skipped))),
        }
    }

    /// Adds what else the name may stand for.
    fn with_meanings(&self, error: Error) -> Error {
        let unknown = matches!(
            error.kind(),
            Kind::NotFound | Kind::Unauthorized | Kind::Denied
        );
        match (&self.other_meanings, unknown) {
            (Some(meant), true) => error.hint(meant),
            _ => error,
        }
    }

    fn choose(&self, at: usize) {
        let place = &self.places[at];
        tracing::debug!(
            repository = %place.client.repository(),
            mirror = place.mirror,
            "serves the image"
        );
        self.chosen.get_or_init(|| at);
    }

    /// Asks the places one after the other for something that is named by its digest, and for that
    /// reason the same everywhere.
    async fn anywhere<T, F>(
        &self,
        digest: &Digest,
        question: impl Fn(RepositoryClient) -> F + Send + Sync,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T, dhow_client::Error>> + Send,
    {
        let places = self.places_of(digest);
        let Some((last, before)) = places.split_last() else {
            return Err(bug("an image has no place to be read from"));
        };
        let mut skipped = Vec::new();
        for client in before {
            match question(client.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let (why, place) = (one_line(&error), client.repository());
                    tracing::warn!(%place, %digest, why, "asking elsewhere");
                    skipped.push(format!("`{place}`: {why}"));
                }
            }
        }
        let answer = question(last.clone()).await;
        answer.map_err(|error| with_mirrors(convert(error), &skipped))
    }

    /// Returns the places to ask for a blob, in order: the one that serves the image first; after
    /// it has given the blob wrong, the others first.
    fn places_of(&self, digest: &Digest) -> Vec<RepositoryClient> {
        let first = self.chosen.get().copied().unwrap_or_default();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let times = asked.entry(*digest).or_default();
        let turn = *times % self.places.len();
        *times += 1;
        let mut places: Vec<_> = self.places[first..]
            .iter()
            .chain(&self.places[..first])
            .map(|place| place.client.clone())
            .collect();
        places.rotate_left(turn);
        places
    }
}

#[async_trait]
impl Source for DockerSource {
    fn location(&self) -> &dyn Location {
        &self.location
    }

    fn caps(&self) -> SourceCaps {
        SourceCaps {
            ranges: true,
            concurrency: CONCURRENCY,
            counted: self.location.repository().registry() == COUNTS,
            places: u16::try_from(self.places.len())
                .ok()
                .and_then(NonZeroU16::new)
                .unwrap_or(NonZeroU16::MIN),
            // Parts come from one place: what a mirror sends is not put together with what another
            // one does.
            parts: true,
        }
    }

    fn served_by(&self) -> Option<String> {
        let repository = self.serving()?.client.repository();
        (repository != self.location.repository()).then(|| repository.to_string())
    }

    fn is_near(&self) -> bool {
        self.serving().is_some_and(|place| place.client.is_near())
    }

    fn expect_blob(&self, at_once: usize) {
        if let Some(place) = self.serving() {
            place.client.connect_ahead(at_once);
        }
    }

    async fn root(&self) -> Result<RawManifest> {
        let fetching = self.root.get_or_try_init(|| async {
            let asked = self
                .ask(|client, manifest| async move { client.manifest(&manifest).await.map(Some) });
            asked.await?.ok_or_else(|| bug("an answer was lost"))
        });
        fetching.await.cloned()
    }

    async fn root_head(&self) -> Result<RootHead> {
        if self.root.get().is_none() {
            let asked = self
                .ask(|client, manifest| async move { client.head_manifest(&manifest).await })
                .await?;
            // A registry that does not say the digest has to send the manifest.
            let named = self.location.reference.digest;
            if let Some(head) = asked
                && let Some(digest) = named.or(head.digest)
            {
                let kind = head.media_type.and_then(|kind| kind.manifest_kind());
                return Ok(RootHead { digest, kind });
            }
        }
        let root = self.root().await?;
        Ok(RootHead {
            digest: root.digest(),
            kind: Some(root.kind()),
        })
    }

    async fn manifest(&self, digest: &Digest) -> Result<RawManifest> {
        if let Some(root) = self.root.get().filter(|root| root.digest() == *digest) {
            return Ok(root.clone());
        }
        let reference = ManifestRef::Digest(*digest);
        self.anywhere(digest, |client| {
            let reference = reference.clone();
            async move { client.manifest(&reference).await }
        })
        .await
    }

    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob> {
        let offset = match range {
            ByteRange::All => 0,
            ByteRange::From(offset) => offset,
        };
        let stream = self
            .anywhere(&blob.digest, |client| {
                let blob = blob.clone();
                async move { client.blob(&blob, offset).await }
            })
            .await?;
        Ok(Blob::from_stream(
            stream.size,
            stream.bytes.map(|piece| piece.map_err(into_io)).boxed(),
        ))
    }

    async fn part(&self, blob: &Descriptor, part: BlobPart) -> Result<Blob> {
        if !blob.urls.is_empty() {
            let message = format!("blob `{}` comes from elsewhere, and whole", blob.digest);
            return Err(Error::unsupported(message));
        }
        let chosen = self.chosen.get().copied().unwrap_or_default();
        let place = self.places.get(chosen);
        let place = place.ok_or_else(|| bug("an image has no place to be read from"))?;
        let opened = place.client.blob_part(blob, part.offset, part.length);
        let stream = opened.await.map_err(convert)?;
        let bytes = stream.bytes.map(|piece| piece.map_err(into_io)).boxed();
        Ok(Blob::from_stream(stream.size, bytes).starting_at(part.offset))
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let asked = self.ask(|client, _| {
            let subject = *subject;
            async move { client.referrers(&subject, None).await.map(Some) }
        });
        Ok(asked.await?.unwrap_or_default())
    }
}

fn log_try(place: &Place) {
    let repository = place.client.repository();
    let place = match &place.manifest {
        ManifestRef::Tag(tag) => format!("{repository}:{tag}"),
        ManifestRef::Digest(digest) => format!("{repository}@{digest}"),
    };
    tracing::debug!(place, "trying");
}

fn bug(what: &str) -> Error {
    Error::new(Kind::Bug, what)
}

/// Adds what the other places said.
fn with_mirrors(error: Error, skipped: &[String]) -> Error {
    if skipped.is_empty() {
        return error;
    }
    let error = match error.hint_text() {
        Some(_) => error,
        None => error.hint("look at the mirrors in registries.conf with `dhow doctor`"),
    };
    error.noted(&format!("and from elsewhere: {}", skipped.join("; ")))
}

fn one_line(error: &dhow_client::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
