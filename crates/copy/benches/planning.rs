//! From resolving to the plan: dry runs between places in memory, which have no transfer.
//!
//! A plan is made by the engine only, so that reading the manifests and asking for the blobs is in
//! these figures, too.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use dhow_copy::{Engine, Event, Job, Options, Progress, Select};
use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage};
use dhow_testkit::memory::Memory;
use dhow_trust::Admission;
use divan::{AllocProfiler, Bencher};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// An image with as many layers as the argument says.
#[divan::bench(args = [1, 10, 100])]
fn image(bencher: Bencher<'_, '_>, layers: usize) {
    plan(bencher, &ImageSpec::oci(1).layers(layers).build());
}

/// An index of as many platforms as the argument says, each with three layers.
#[divan::bench(args = [2, 6])]
fn index(bencher: Bencher<'_, '_>, platforms: usize) {
    let spec = ImageSpec::oci(2).layers(3);
    plan(
        bencher,
        &IndexSpec::new(spec, &PLATFORMS[..platforms]).build(),
    );
}

fn plan(bencher: Bencher<'_, '_>, image: &SampleImage) {
    let (source, destination) = (Memory::holding("source", image), Memory::new("destination"));
    let job = Job {
        source: source.location(),
        destination: destination.location(),
        options: Options {
            select: Select::All,
            dry_run: true,
            tmp: PathBuf::from("/nonexistent"),
            ..Options::default()
        },
    };
    let engine = Engine::new(Admission::accept_all());
    bencher.bench_local(|| {
        let report = RUNTIME.block_on(engine.copy(&job, Arc::new(Silent)));
        report.expect("places in memory work")
    });
}

/// Hears everything and says nothing.
#[derive(Debug)]
struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event) {}
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime can be made")
});

const PLATFORMS: [&str; 6] = [
    "linux/amd64",
    "linux/arm64/v8",
    "linux/arm/v7",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
];
