//! A place under test, and the small steps that the cases are made of.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use dhow_model::{Admitted, Descriptor, ImageManifest, ManifestKind, RawManifest};
use dhow_transport::{
    Blob, BlobWant, ByteRange, Error, LayerForm, Location, Result, Sink, SinkCaps, Slot, Source,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::image::{ImageSpec, SampleImage};

/// A place that holds nothing at first: a directory, a repository.
pub struct Place {
    locate: Box<Locate>,
    named: bool,
    _keep: Box<dyn Any + Send + Sync>,
}

type Locate = dyn Fn(&str) -> Arc<dyn Location> + Send + Sync;

impl Place {
    /// Returns a place that holds many images, each under a name. `locate` gives the location of
    /// a name; `keep` lives as long as the place.
    pub fn named(
        locate: impl Fn(&str) -> Arc<dyn Location> + Send + Sync + 'static,
        keep: impl Any + Send + Sync,
    ) -> Self {
        Self {
            locate: Box::new(locate),
            named: true,
            _keep: Box::new(keep),
        }
    }

    /// Returns a place that holds one image.
    pub fn single(location: Arc<dyn Location>, keep: impl Any + Send + Sync) -> Self {
        Self {
            locate: Box::new(move |_| location.clone()),
            named: false,
            _keep: Box::new(keep),
        }
    }

    /// Returns whether it holds many images.
    pub fn has_names(&self) -> bool {
        self.named
    }

    /// Returns the location of a name, which is ignored where there are none.
    pub fn location(&self, name: &str) -> Arc<dyn Location> {
        (self.locate)(name)
    }

    /// Opens a name for writing.
    pub async fn sink(&self, name: &str) -> Arc<dyn Sink> {
        self.location(name).sink().await.expect("the place opens")
    }

    /// Opens a name for reading.
    pub async fn source(&self, name: &str) -> Arc<dyn Source> {
        self.location(name).source().await.expect("the place opens")
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.location("name"))
    }
}

/// Returns a spec of a kind that the sink takes.
pub(super) fn taken(caps: &SinkCaps, seed: u64) -> ImageSpec {
    let spec = if caps.accepts(ManifestKind::OciManifest) {
        ImageSpec::oci(seed)
    } else {
        ImageSpec::docker2(seed)
    };
    match caps.layers {
        LayerForm::Uncompressed => spec.uncompressed(),
        LayerForm::Keep | LayerForm::Compressed => spec,
    }
}

/// Returns what to ask a sink for, with digest and size.
pub fn want(blob: &Descriptor) -> BlobWant {
    BlobWant {
        digest: Some(blob.digest),
        size: Some(blob.size),
        made_from: None,
        media_type: blob.media_type.clone(),
        slot: Slot::Other,
        mount_from: Vec::new(),
        comes: true,
        annotations: blob.annotations.clone(),
    }
}

/// Returns `bytes` as a blob that arrives in pieces of uneven size, of known size.
pub fn pieces(bytes: &Bytes) -> Blob {
    let mut rest = bytes.clone();
    let mut cut = Vec::new();
    let mut length = 1;
    while !rest.is_empty() {
        cut.push(Ok::<_, io::Error>(rest.split_to(length.min(rest.len()))));
        length = (length * 7 + 3) % 60_000 + 1;
    }
    Blob::from_stream(Some(bytes.len() as u64), stream::iter(cut).boxed())
}

/// Stores all blobs and members of an image and commits its root.
pub async fn store(sink: &dyn Sink, image: &SampleImage) -> Result<()> {
    for (descriptor, bytes) in &image.blobs {
        sink.put_blob(&want(descriptor), Blob::from_bytes(bytes.clone()))
            .await?;
    }
    for manifest in &image.manifests {
        sink.put_manifest(manifest).await?;
    }
    sink.commit(&image.root).await
}

/// Asserts that a place which has no manifests, and makes one for whoever asks, has made the right
/// one: it says itself how it holds the layers, and they are the image's.
async fn same_parts(source: &dyn Source, root: &RawManifest, image: &SampleImage) {
    let view = |raw: &RawManifest| ImageManifest::parse(&Admitted::by_policy(raw.clone()));
    let made = view(root).expect("it is an image");
    let stored = view(&image.root).expect("it is an image");
    let held = source
        .held_layers(&made)
        .await
        .expect("the layers are told");
    assert_eq!(
        held,
        Some(stored.layers),
        "only such a place may change the manifest"
    );
    assert_eq!(made.config.digest, stored.config.digest);
}

/// Reads a blob to its end.
pub async fn content(source: &dyn Source, blob: &Descriptor, range: ByteRange) -> Result<Bytes> {
    let blob = source.blob(blob, range).await?;
    let mut all = Vec::new();
    let mut body = blob.body.into_stream();
    while let Some(piece) = body.try_next().await.map_err(Error::from_stream)? {
        all.extend_from_slice(&piece);
    }
    if let Some(size) = blob.size {
        assert_eq!(size, all.len() as u64, "the size promised is that received");
    }
    Ok(Bytes::from(all))
}

/// Asserts that the source holds exactly this image.
pub async fn stored(source: &dyn Source, image: &SampleImage) {
    let root = source.root().await.expect("the root is read");
    let head = source.root_head().await.expect("the digest is told");
    assert_eq!(head.digest, root.digest());
    assert!(head.kind.is_none_or(|kind| kind == root.kind()));
    if root != image.root {
        same_parts(source, &root, image).await;
    }
    for manifest in &image.manifests {
        let read = source.manifest(&manifest.digest()).await;
        assert_eq!(read.expect("the member is read"), *manifest);
    }
    for (descriptor, bytes) in &image.blobs {
        let read = content(source, descriptor, ByteRange::All).await;
        assert_eq!(read.expect("the blob is read"), *bytes);
    }
}
