//! Blob pipelines over 64 MiB in pieces of 64 KiB, as they come from the network.
//!
//! Allocations are shown for the whole stream, which has 1024 pieces, and only those of the thread
//! that reads it: what a stage allocates on its own thread shows as `dealloc` where it ends here.

use std::io::{self, Write as _};
use std::sync::LazyLock;

use bytes::Bytes;
use dhow_codec::{BoxStream, Expectation, Packing, learn, pack, unpack, verify};
use dhow_model::Digest;
use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt as _, stream};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn pass(bencher: Bencher<'_, '_>) {
    measure(bencher, &CONTENT, |body| body);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn verify_sha256(bencher: Bencher<'_, '_>) {
    let expected = Expectation {
        digest: Digest::sha256(&CONTENT),
        size: Some(CONTENT.len() as u64),
    };
    measure(bencher, &CONTENT, |body| verify(body, expected));
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn gunzip(bencher: Bencher<'_, '_>) {
    measure(bencher, &PACKED, |body| unpack(body).0);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn gunzip_beside(bencher: Bencher<'_, '_>) {
    measure(bencher, &PACKED, |body| learn(body).0);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn gzip(bencher: Bencher<'_, '_>) {
    measure(bencher, &CONTENT, |body| pack(body, Packing::GZIP, None).0);
}

type Stream = BoxStream<'static, io::Result<Bytes>>;

/// Measures how long it takes to read what `pipeline` makes of `input`. Rates are those of the
/// content, not compressed.
fn measure(bencher: Bencher<'_, '_>, input: &Bytes, pipeline: impl Fn(Stream) -> Stream) {
    bencher
        .counter(BytesCount::new(SIZE))
        .with_inputs(|| pieces(input))
        .bench_local_values(|body| RUNTIME.block_on(async { read(pipeline(body)).await }));
}

async fn read(mut stream: Stream) {
    while let Some(piece) = stream.next().await {
        black_box(piece.expect("the pipeline takes what it is given"));
    }
}

fn pieces(bytes: &Bytes) -> Stream {
    let starts = (0..bytes.len()).step_by(PIECE);
    let pieces: Vec<_> = starts
        .map(|start| Ok(bytes.slice(start..bytes.len().min(start + PIECE))))
        .collect();
    stream::iter(pieces).boxed()
}

/// How much content there is, in bytes.
const SIZE: usize = 64 << 20;

/// How large a piece of a stream is, in bytes.
const PIECE: usize = 64 << 10;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("a runtime can be made"));

/// Content that compresses to about half: noise with words between.
static CONTENT: LazyLock<Bytes> = LazyLock::new(|| {
    let mut content = Vec::with_capacity(SIZE + 64);
    let mut state = 1_u64;
    while content.len() < SIZE {
        // SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        content.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
        content.extend_from_slice(b"usr/share");
    }
    content.truncate(SIZE);
    Bytes::from(content)
});

static PACKED: LazyLock<Bytes> = LazyLock::new(|| {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let packed = encoder.write_all(&CONTENT).and_then(|()| encoder.finish());
    Bytes::from(packed.expect("memory can be compressed"))
});
