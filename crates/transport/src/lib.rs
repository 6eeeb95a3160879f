//! The waist of dhow: what every place that can hold images offers, and what the copy engine asks
//! of it.
//!
//! A [`Transport`] is a scheme (`docker`, `oci`, `dir`) and parses names. A [`Location`] is one
//! named place and opens it, as a [`Source`] to read from or a [`Sink`] to write to. A [`Catalog`]
//! lists and deletes, where a transport has the notion. What a place can and cannot do is data
//! ([`SourceCaps`], [`SinkCaps`]), so that all choices are made in one place, by the plan.

mod blob;
mod caps;
mod error;
mod policy;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use dhow_model::{
    Descriptor, Digest, ImageManifest, ManifestKind, RawManifest, Reference, Repository,
};
use futures_core::stream::BoxStream;

pub use blob::{
    Blob, BlobPart, BlobParts, BlobWant, Body, ByteRange, Coming, ComingLayer, FilePart, How,
    Placed, Slot,
};
pub use caps::{LayerForm, ReuseScope, SinkCaps, SourceCaps};
pub use error::{Error, Kind, ParseError, Retry};
pub use policy::PolicyScopes;

/// The result of everything that opens, reads or writes.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A scheme: `docker`, `oci`, `dir`, … Built once per endpoint with everything it needs inside.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Returns the name that stands before the colon.
    fn name(&self) -> &'static str;

    /// Parses what follows `name:`. Does no I/O.
    fn parse(&self, rest: &str) -> Result<Arc<dyn Location>, ParseError>;

    /// Checks one key under `transports.<name>` of policy.json.
    fn validate_policy_scope(&self, scope: &str) -> Result<(), ParseError>;
}

/// A place that can hold an image or an index. `Display` gives the transport-qualified name, such
/// as `docker://quay.io/a/b:c`, without secrets.
#[async_trait]
pub trait Location: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// Returns the name of the transport.
    fn transport(&self) -> &'static str;

    /// Returns the registry reference, for transports whose names are or carry one.
    fn reference(&self) -> Option<&Reference>;

    /// Returns whether the reference names a repository of a registry, whose blobs others can mount
    /// and whose name stands in the manifest; elsewhere it is only a name.
    fn is_in_registry(&self) -> bool {
        self.reference().is_some()
    }

    /// Returns the scopes under which policy.json is searched, the most specific first.
    fn policy_scopes(&self) -> PolicyScopes;

    /// Opens the place for reading.
    async fn source(&self) -> Result<Arc<dyn Source>>;

    /// Opens the place for writing. Nothing that is there already changes before
    /// [`Sink::commit`], except that content-addressed blobs may be added.
    async fn sink(&self) -> Result<Arc<dyn Sink>>;

    /// Returns the catalog, where the transport has the notion.
    fn catalog(&self) -> Option<&dyn Catalog> {
        None
    }
}

/// A place opened for reading.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Returns the location this was opened from.
    fn location(&self) -> &dyn Location;

    /// Returns what this source can do.
    fn caps(&self) -> SourceCaps;

    /// Returns where the image is really read from, when that is not the location itself: a mirror,
    /// or the place that the settings put in its stead. Known once the root was asked for.
    fn served_by(&self) -> Option<String> {
        None
    }

    /// Returns whether requests take work rather than time here: files, and a host that is reached in
    /// hardly any. Known once something was asked for.
    fn is_near(&self) -> bool {
        true
    }

    /// Returns what the location names: bytes as stored, digest verified.
    async fn root(&self) -> Result<RawManifest>;

    /// Returns a manifest by digest, verified.
    async fn manifest(&self, digest: &Digest) -> Result<RawManifest>;

    /// Notes that a blob may be asked for soon, as one of `at_once` at the same time, so that what this
    /// takes can be made ready meanwhile. It may turn out that nobody needs it.
    fn expect_blob(&self, _at_once: usize) {}

    /// Returns the bytes of a blob, or of the part of it in `range`. Not verified: the pipeline
    /// verifies while it reads.
    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob>;

    /// Returns a part of a blob, where the caps say so ([`SourceCaps::parts`]). A place that sends
    /// the whole when it is asked for a part gives an error. Not verified.
    async fn part(&self, blob: &Descriptor, _part: BlobPart) -> Result<Blob> {
        let message = format!("blob `{}` can be read only to its end", blob.digest);
        Err(Error::unsupported(message))
    }

    /// Returns what is known of the root without reading it, where there is a cheaper way. Not
    /// verified.
    async fn root_head(&self) -> Result<RootHead> {
        let root = self.root().await?;
        Ok(RootHead {
            digest: root.digest(),
            kind: Some(root.kind()),
        })
    }

    /// Returns the layers as this place holds them, where they differ from the manifest's.
    async fn held_layers(&self, _manifest: &ImageManifest) -> Result<Option<Vec<Descriptor>>> {
        Ok(None)
    }

    /// Returns the manifests that refer to `subject`.
    async fn referrers(&self, _subject: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}

/// What is known of a root that was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootHead {
    /// The digest.
    pub digest: Digest,
    /// The kind of manifest, where it is told.
    pub kind: Option<ManifestKind>,
}

/// A place opened for writing.
#[async_trait]
pub trait Sink: fmt::Debug + Send + Sync + 'static {
    /// Returns the location this was opened from.
    fn location(&self) -> &dyn Location;

    /// Returns what this sink takes.
    fn caps(&self) -> &SinkCaps;

    /// Returns whether requests take work rather than time here: files, and a host that is reached in
    /// hardly any. Known once something was asked for.
    fn is_near(&self) -> bool {
        true
    }

    /// Returns the digest of what stands under the location's name at present, if that can be
    /// known cheaply.
    async fn present_root(&self) -> Result<Option<Digest>> {
        Ok(None)
    }

    /// Learns which blobs are here from what stands under the location's name at present, so that
    /// [`Sink::reuse`] need not ask for each.
    async fn recall(&self) -> Result<()> {
        Ok(())
    }

    /// Tells what is about to be put for one image, before the first of its blobs. Changes nothing
    /// that is visible.
    async fn prepare(&self, _coming: &Coming) -> Result<()> {
        Ok(())
    }

    /// Notes that blobs may be put, so many at once, so that what this takes can be made ready. Some of
    /// them may turn out to be here.
    fn expect_blobs(&self, _at_once: usize) {}

    /// Makes a blob available without sending its bytes, if it is present already or can be
    /// mounted or linked.
    async fn reuse(&self, want: &BlobWant) -> Result<Option<Placed>>;

    /// Returns whether a blob is there already, without changing anything; for plans that are only
    /// printed. A blob that could be mounted counts as there.
    async fn has(&self, want: &BlobWant) -> Result<bool>;

    /// Returns how many bytes of a blob are here already, from a transfer that broke, in this
    /// process or an earlier one. A blob that is put next may start there ([`Blob::start`]).
    async fn kept(&self, _want: &BlobWant) -> Result<u64> {
        Ok(0)
    }

    /// Returns whether it helps to know how many bytes of a blob will probably come ([`Blob::likely`]),
    /// where the plan cannot tell: what comes behind it can be placed then.
    async fn wants_likely_size(&self, _want: &BlobWant) -> bool {
        false
    }

    /// Reads the body to its end and stores it. After an error nothing is visible under the
    /// digest. A blob that starts later than at 0 goes on where [`Sink::kept`] said last.
    async fn put_blob(&self, want: &BlobWant, blob: Blob) -> Result<Placed>;

    /// Makes a blob from what is here and those parts of it that are not; `None`: it is to be put
    /// whole, which is said before much of it is read. After an error it can be put whole, too.
    async fn put_parts(
        &self,
        _want: &BlobWant,
        _parts: Arc<dyn BlobParts>,
    ) -> Result<Option<Placed>> {
        Ok(None)
    }

    /// Stores a manifest that is not the root: an image listed by the index. The root goes to
    /// [`Sink::commit`]. An error of [`Kind::ManifestRejected`] invites the caller to offer another
    /// format.
    async fn put_manifest(&self, manifest: &RawManifest) -> Result<()>;

    /// Stores the root and makes it visible under the location's name. The last call of a
    /// successful copy. An error of [`Kind::ManifestRejected`] invites the caller to offer another
    /// format.
    async fn commit(&self, root: &RawManifest) -> Result<()>;
}

/// What to delete.
#[derive(Clone, Debug)]
pub enum Deletion {
    /// What the location names: the manifest with all its tags, as skopeo does it.
    Named,
    /// The name alone: other names of the same manifest stay.
    Tag,
}

/// Tags, repositories and deletion, where the transport has the notion.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Returns the repository whose tags are listed, as the output names it, if there is one.
    fn repository(&self) -> Option<&Repository> {
        None
    }

    /// Lists tags, or the names that stand in their place (in a layout they may have colons), in
    /// the order in which the place gives them.
    fn tags(&self) -> BoxStream<'_, Result<String>>;

    /// Deletes.
    async fn delete(&self, what: Deletion) -> Result<()>;
}
