//! Compression on the way.

mod gzip;
mod noise;
mod queue;
mod zstd;

use std::io;

use dhow_model::{Algorithm, Annotations, Digest, Hasher};

pub(crate) use self::queue::Queue;
use crate::stage::{self, Input, Output, QueueLength, Stream};
use crate::{Facts, PackFacts, PackFormat, Packing};

/// Returns the compressed stream, and the place where its facts appear when it has ended well. All
/// cores take part, and the bytes that come out do not depend on how many there are. Who verifies the
/// content on its way here says its digest; else it is found out.
pub fn pack(body: Stream, packing: Packing, diff_id: Option<Digest>) -> (Stream, Facts<PackFacts>) {
    let facts = Facts::default();
    let told = facts.clone();
    // The blocks that the cores work on outlast a thread's absence.
    let stream = stage::run(body, QueueLength::Short, move |input, output| {
        let mut tally = Tally::new(output, diff_id);
        let annotations = match packing.format {
            PackFormat::Gzip => gzip::pack(input, &mut tally, packing.gzip_level())?,
            PackFormat::Zstd => zstd::pack(input, &mut tally, packing.zstd_level())?,
            PackFormat::ZstdChunked => {
                crate::chunked::pack(input, &mut tally, packing.zstd_level())?
            }
        };
        told.set(tally.facts(annotations));
        Ok(())
    });
    (stream, facts)
}

/// Counts and hashes what goes in, and counts what comes out.
pub(crate) struct Tally<'a> {
    output: &'a mut Output,
    diff_id: DiffId,
    unpacked_size: u64,
    written: u64,
}

/// The digest of what goes in.
enum DiffId {
    Known(Digest),
    Hashed(Hasher),
}

impl<'a> Tally<'a> {
    pub(crate) fn new(output: &'a mut Output, diff_id: Option<Digest>) -> Self {
        let hashed = || DiffId::Hashed(Hasher::new(Algorithm::Sha256));
        Self {
            output,
            diff_id: diff_id.map_or_else(hashed, DiffId::Known),
            unpacked_size: 0,
            written: 0,
        }
    }

    /// Takes note of content that goes in.
    pub(crate) fn took(&mut self, content: &[u8]) {
        if let DiffId::Hashed(hasher) = &mut self.diff_id {
            hasher.update(content);
        }
        self.unpacked_size += content.len() as u64;
    }

    /// Returns how many bytes have come out.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    fn facts(self, annotations: Annotations) -> PackFacts {
        PackFacts {
            diff_id: match self.diff_id {
                DiffId::Known(digest) => digest,
                DiffId::Hashed(hasher) => hasher.finish(),
            },
            unpacked_size: self.unpacked_size,
            annotations,
        }
    }
}

impl io::Write for Tally<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let length = self.output.write(data)?;
        self.written += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fills a block from the input, as far as there is something. Returns whether the input goes on.
pub(crate) fn fill(input: &mut Input, block: &mut Vec<u8>, size: usize) -> io::Result<bool> {
    use io::BufRead as _;
    while block.len() < size {
        let ahead = input.fill_buf()?;
        if ahead.is_empty() {
            return Ok(false);
        }
        let length = ahead.len().min(size - block.len());
        block.extend_from_slice(&ahead[..length]);
        input.consume(length);
    }
    Ok(true)
}

/// Returns how many threads compress at once.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
