//! A place in memory that records what is asked of it and can be made to misbehave.
//!
//! A [`Memory`] is shared: clones are the same place. It verifies nothing on its own unless its
//! caps say so, so that a test shows what the code under test verifies.

mod sink;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dhow_model::{Digest, ManifestKind, RawManifest, Reference, Repository};
use dhow_transport::{
    BlobPart, ComingLayer, Error, Kind, LayerForm, Location, PolicyScopes, Result, ReuseScope,
    Sink, SinkCaps, Source, SourceCaps,
};

use crate::image::SampleImage;

/// A place for one image, with the blobs and manifests that belong to it.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    reference: Option<Reference>,
    source_caps: SourceCaps,
    sink_caps: SinkCaps,
    far: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    root: Option<RawManifest>,
    manifests: BTreeMap<Digest, RawManifest>,
    blobs: BTreeMap<Digest, Bytes>,
    /// The first halves of blobs that are not here whole.
    halves: BTreeMap<Digest, Bytes>,
    calls: Vec<Call>,
    faults: Vec<Fault>,
    in_flight: usize,
    most_in_flight: usize,
    expected: usize,
    /// How often a blob was to be expected soon.
    awaited: usize,
    /// The likely sizes of the blobs that were sent, if it wants them.
    likely: Option<Vec<Option<u64>>>,
}

/// Something that was asked of the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// It was opened for reading.
    Source,
    /// It was opened for writing.
    Sink,
    /// The root was read.
    Root,
    /// A manifest was read.
    Manifest(Digest),
    /// A blob was read.
    Blob(Digest),
    /// A blob was asked for without sending it; with the repositories to mount it from.
    Reuse(Option<Digest>, Vec<Repository>),
    /// It was told what comes: the layers, and the config if that was asked for.
    Prepare(Vec<ComingLayer>, Option<Bytes>),
    /// A plan asked whether a blob is there.
    Has(Option<Digest>),
    /// A blob was sent, under this digest if it was known.
    PutBlob(Option<Digest>),
    /// A part of a blob was read.
    Part(Digest, BlobPart),
    /// A blob was offered in parts.
    PutParts(Option<Digest>),
    /// A member of an index was written.
    PutManifest(Digest),
    /// The root was written.
    Commit(Digest),
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Reading the blob breaks in the middle, so often, in a way that may pass.
    Break(Digest, usize),
    /// The blob is read with a wrong last byte.
    Corrupt(Digest),
    /// The blob is read without its second half.
    Truncate(Digest),
    /// Reading the blob gives its first half and then nothing, for ever.
    Stall(Digest),
    /// Reading or writing the manifest does not work, so often, in a way that may pass.
    Busy(Digest, usize),
    /// Manifests of this kind are not taken.
    Refuse(ManifestKind),
    /// The place says that it has the blob, and takes no manifest before it has been sent.
    Pretend(Digest),
    /// Sending the blob is refused for good.
    Full(Digest),
    /// Parts of the blob cannot be read.
    Unparted(Digest),
}

impl Memory {
    /// Returns an empty place that takes everything as it is.
    pub fn new(name: &str) -> Self {
        Self::made(name, State::default())
    }

    /// Returns a place that holds an image.
    pub fn holding(name: &str, image: &SampleImage) -> Self {
        let state = State {
            root: Some(image.root.clone()),
            manifests: image
                .all_manifests()
                .map(|raw| (raw.digest(), raw.clone()))
                .collect(),
            blobs: image
                .blobs
                .iter()
                .map(|(descriptor, bytes)| (descriptor.digest, bytes.clone()))
                .collect(),
            ..State::default()
        };
        Self::made(name, state)
    }

    fn made(name: &str, state: State) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            reference: None,
            source_caps: SourceCaps::local(CONCURRENCY),
            sink_caps: SinkCaps {
                manifests: Vec::new(),
                layers: LayerForm::Keep,
                concurrency: CONCURRENCY,
                strict: false,
                in_order: false,
                config_first: false,
                foreign_layers: true,
                sparse_index: true,
                verifies: false,
                scope: ReuseScope(format!("memory:{name}")),
            },
            far: false,
            state: Mutex::new(state),
        }))
    }

    /// Changes what the place takes. For a place that is not shared yet.
    #[must_use]
    pub fn with_caps(mut self, change: impl FnOnce(&mut SinkCaps)) -> Self {
        change(&mut self.own().sink_caps);
        self
    }

    /// Changes what the place says of itself as a source. For a place that is not shared yet.
    #[must_use]
    pub fn with_source_caps(mut self, change: impl FnOnce(&mut SourceCaps)) -> Self {
        change(&mut self.own().source_caps);
        self
    }

    /// Makes the place one to which the way is long. For a place that is not shared yet.
    #[must_use]
    pub fn far_away(mut self) -> Self {
        self.own().far = true;
        self
    }

    /// Names the place by a registry reference. For a place that is not shared yet.
    #[must_use]
    pub fn with_reference(mut self, reference: &str) -> Self {
        let reference = Reference::parse(reference).expect("the test names a reference");
        self.own().reference = Some(reference);
        self
    }

    /// Makes the place one that has the first half of every blob of `image` already, and wants only the
    /// second.
    #[must_use]
    pub fn with_halves_of(self, image: &SampleImage) -> Self {
        let blobs = image.blobs.iter();
        let halves = blobs.map(|(blob, bytes)| (blob.digest, bytes.slice(..bytes.len() / 2)));
        self.state().halves.extend(halves);
        self
    }

    /// Makes the place one that wants to know how large blobs will probably be.
    #[must_use]
    pub fn wanting_likely_sizes(self) -> Self {
        self.state().likely = Some(Vec::new());
        self
    }

    /// Adds something that goes wrong.
    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        self.state().faults.push(fault);
        self
    }

    fn own(&mut self) -> &mut Inner {
        Arc::get_mut(&mut self.0).expect("the place is not shared yet")
    }

    /// Returns the place as a location.
    pub fn location(&self) -> Arc<dyn Location> {
        Arc::new(self.clone())
    }

    /// Returns what was asked of it, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Returns the blobs that were sent to it, in order.
    pub fn sent(&self) -> Vec<Option<Digest>> {
        let calls = self.calls().into_iter();
        calls
            .filter_map(|call| match call {
                Call::PutBlob(digest) => Some(digest),
                _ => None,
            })
            .collect()
    }

    /// Returns the root, if there is one.
    pub fn root(&self) -> Option<RawManifest> {
        self.state().root.clone()
    }

    /// Returns a manifest, if it is there.
    pub fn manifest(&self, digest: &Digest) -> Option<RawManifest> {
        self.state().manifests.get(digest).cloned()
    }

    /// Returns a blob, if it is there.
    pub fn blob(&self, digest: &Digest) -> Option<Bytes> {
        self.state().blobs.get(digest).cloned()
    }

    /// Returns how many blobs there are.
    pub fn blob_count(&self) -> usize {
        self.state().blobs.len()
    }

    /// Returns how many blobs were received at once at most.
    pub fn most_in_flight(&self) -> usize {
        self.state().most_in_flight
    }

    /// Returns how many blobs it was told to expect at once.
    pub fn expected(&self) -> usize {
        self.state().expected
    }

    /// Returns how often it was told that a blob may be read soon.
    pub fn awaited(&self) -> usize {
        self.state().awaited
    }

    /// Returns how large the blobs that were sent would probably be, in order, if it wants to know.
    pub fn likely_sizes(&self) -> Vec<Option<u64>> {
        self.state().likely.clone().unwrap_or_default()
    }

    /// Returns how many blobs are being received.
    pub fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    fn record(&self, call: Call) {
        self.state().calls.push(call);
    }

    fn has_fault(&self, fault: &Fault) -> bool {
        self.state().faults.contains(fault)
    }

    /// Lets a manifest pass, or not yet.
    fn busy(&self, manifest: &Digest) -> Result<()> {
        for fault in &mut self.state().faults {
            if let Fault::Busy(digest, times) = fault
                && digest == manifest
                && *times > 0
            {
                *times -= 1;
                return Err(Error::new(Kind::Io, "the place is busy").retryable(None));
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory:{}", self.0.name)
    }
}

#[async_trait]
impl Location for Memory {
    fn transport(&self) -> &'static str {
        "memory"
    }

    fn reference(&self) -> Option<&Reference> {
        self.0.reference.as_ref()
    }

    fn policy_scopes(&self) -> PolicyScopes {
        PolicyScopes {
            identity: Some(self.0.name.clone()),
            parents: Vec::new(),
        }
    }

    async fn source(&self) -> Result<Arc<dyn Source>> {
        self.record(Call::Source);
        if self.state().root.is_none() {
            return Err(Error::new(Kind::NotFound, "there is no image"));
        }
        Ok(Arc::new(source::MemorySource(self.clone())))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        self.record(Call::Sink);
        Ok(Arc::new(sink::MemorySink(self.clone())))
    }
}

/// How many blobs are read or written at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(16).expect("16 is not zero");
