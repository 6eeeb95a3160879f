//! Zstandard on all cores, by the library's own threads. Its output depends on the size of the jobs
//! and not on the number of threads, as long as there is one at all.

use std::io::{self, Write as _};

use dhow_model::Annotations;
use zstd::stream::write::Encoder;
use zstd::zstd_safe::CParameter;

use super::{Tally, threads};
use crate::stage::Input;

/// Compresses the input into one frame.
pub(super) fn pack(
    input: &mut Input,
    output: &mut Tally<'_>,
    level: i32,
) -> io::Result<Annotations> {
    pack_with(input, output, level, threads())
}

fn pack_with(
    input: &mut Input,
    output: &mut Tally<'_>,
    level: i32,
    threads: usize,
) -> io::Result<Annotations> {
    let mut encoder = Encoder::new(Sink(output), level)?;
    encoder.include_checksum(true)?;
    let threads = u32::try_from(threads.clamp(1, MOST_THREADS)).unwrap_or(1);
    encoder.set_parameter(CParameter::NbWorkers(threads))?;
    encoder.set_parameter(CParameter::JobSize(JOB))?;
    if level <= SMALL_LEVELS {
        encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
    }
    while let Some(piece) = input.piece()? {
        encoder.get_mut().0.took(&piece);
        encoder.write_all(&piece)?;
    }
    encoder.finish()?;
    Ok(Annotations::new())
}

/// The library wants to own what it writes to.
struct Sink<'a, 'b>(&'a mut Tally<'b>);

impl io::Write for Sink<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// More threads than this only cost memory.
const MOST_THREADS: usize = 8;

/// How much content one thread takes at a time, in bytes.
const JOB: u32 = 1024 * 1024;

/// Up to this level the window is kept small: the gain would be small, and each thread has one.
const SMALL_LEVELS: i32 = 5;

/// 1 MiB.
const WINDOW_LOG: u32 = 20;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use futures_util::{StreamExt as _, stream};

    use super::*;
    use crate::stage::{self, QueueLength};

    #[tokio::test]
    async fn the_number_of_threads_does_not_matter() {
        let content: Vec<u8> = (0_u32..1_500_000)
            .flat_map(|n| (n / 3).to_le_bytes())
            .collect();
        let content = Bytes::from(content);
        let mut seen = Vec::new();
        for threads in [1, 2, 5] {
            let body = stream::iter([Ok(content.clone())]).boxed();
            let error = Arc::new(Mutex::new(None));
            let told = Arc::clone(&error);
            let stream = stage::run(body, QueueLength::Short, move |input, output| {
                let done = pack_with(input, &mut Tally::new(output, None), 3, threads);
                *told.lock().unwrap() = done.err();
                Ok(())
            });
            let all: Vec<Bytes> = stream.map(|piece| piece.unwrap()).collect().await;
            assert!(error.lock().unwrap().is_none());
            seen.push(all.concat());
        }
        assert_eq!(zstd::decode_all(seen[0].as_slice()).unwrap(), content);
        assert!(seen.iter().all(|other| *other == seen[0]));
    }
}
