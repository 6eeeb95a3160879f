//! The engine over places in memory.

mod cached;
mod failures;
mod layers;
mod likely;
mod parts;
mod plans;
mod policy;
mod transfers;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dhow_copy::{Engine, Error, Event, Job, Options, Progress, Report, Select};
use dhow_model::{Admitted, Descriptor, Digest, ImageManifest, Platform, RawManifest};
use dhow_testkit::image::SampleImage;
use dhow_testkit::memory::Memory;
use dhow_trust::Admission;

/// Options that leave everything as it is.
fn options() -> Options {
    Options {
        retry_delay: Some(Duration::from_millis(1)),
        ..Options::default()
    }
}

fn all() -> Options {
    Options {
        select: Select::All,
        ..options()
    }
}

fn platforms(names: &[&str]) -> Select {
    Select::Platforms(
        names
            .iter()
            .map(|name| Platform::parse(name).expect("the test is right about this"))
            .collect(),
    )
}

async fn copy(from: &Memory, to: &Memory, options: Options) -> Result<Report, Error> {
    copy_watched(from, to, options, Arc::new(Events::default())).await
}

async fn copy_watched(
    from: &Memory,
    to: &Memory,
    options: Options,
    events: Arc<Events>,
) -> Result<Report, Error> {
    let job = Job {
        source: from.location(),
        destination: to.location(),
        options,
    };
    Engine::new(Admission::accept_all())
        .copy(&job, events)
        .await
}

/// Remembers the events of a copy.
#[derive(Debug, Default)]
struct Events(Mutex<Vec<Event>>);

impl Progress for Events {
    fn event(&self, event: &Event) {
        self.0
            .lock()
            .expect("the test is right about this")
            .push(event.clone());
    }
}

impl Events {
    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        let events = self.0.lock().expect("the test is right about this");
        events.iter().filter(|event| wanted(event)).count()
    }
}

fn image_of(raw: &RawManifest) -> ImageManifest {
    ImageManifest::parse(&Admitted::by_policy(raw.clone())).expect("the test is right about this")
}

/// Asserts that the place holds every blob of the image, right to the byte.
fn assert_holds(place: &Memory, image: &SampleImage) {
    for (descriptor, bytes) in &image.blobs {
        assert_eq!(place.blob(&descriptor.digest).as_ref(), Some(bytes));
    }
}

/// Asserts that everything a manifest names is there and has its digest and size.
fn assert_whole(place: &Memory, raw: &RawManifest) {
    for Descriptor { digest, size, .. } in image_of(raw).blobs() {
        let bytes = place.blob(digest).expect("the blob is there");
        assert!(digest.matches(&bytes));
        assert_eq!(*size, bytes.len() as u64);
    }
}

fn unique(digests: &[Option<Digest>]) -> BTreeSet<Digest> {
    digests.iter().flatten().copied().collect()
}
