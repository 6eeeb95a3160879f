//! Compresses a stream with gzip on a thread of its own.

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dhow_model::{Algorithm, Digest, Hasher};
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

/// What is known of a compressed stream once it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GzipFacts {
    /// The digest of the content before compression.
    pub diff_id: Digest,
    /// The digest of the compressed stream.
    pub digest: Digest,
    /// The size of the compressed stream in bytes.
    pub size: u64,
}

/// Returns the compressed stream, and the place where its facts appear when it has ended well.
pub fn gzip(
    body: BoxStream<'static, io::Result<Bytes>>,
) -> (
    BoxStream<'static, io::Result<Bytes>>,
    Arc<Mutex<Option<GzipFacts>>>,
) {
    let facts = Arc::new(Mutex::new(None));
    let (to_thread, from_reactor) = mpsc::channel::<Bytes>(DEPTH);
    let (to_reactor, from_thread) = mpsc::channel::<io::Result<Bytes>>(DEPTH);
    let thread = tokio::task::spawn_blocking({
        let facts = Arc::clone(&facts);
        move || compress(from_reactor, &to_reactor, &facts)
    });
    let state = Pump {
        body,
        to_thread: Some(to_thread),
        from_thread,
        thread: Some(thread),
    };
    let stream = stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|piece| (piece, state)))
    });
    (stream.boxed(), facts)
}

struct Pump {
    body: BoxStream<'static, io::Result<Bytes>>,
    to_thread: Option<mpsc::Sender<Bytes>>,
    from_thread: mpsc::Receiver<io::Result<Bytes>>,
    thread: Option<tokio::task::JoinHandle<()>>,
}

impl Pump {
    /// Feeds the thread while waiting for its output.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some(to_thread) = self.to_thread.clone() else {
                let piece = self.from_thread.recv().await.transpose()?;
                if piece.is_none()
                    && let Some(thread) = self.thread.take()
                {
                    thread.await.map_err(io::Error::other)?;
                }
                return Ok(piece);
            };
            tokio::select! {
                biased;
                piece = self.from_thread.recv() => {
                    // The thread ends only when its input has ended: else it is lost.
                    return piece.unwrap_or(Err(io::ErrorKind::BrokenPipe.into())).map(Some);
                }
                permit = to_thread.reserve() => {
                    let permit = permit.map_err(|_| io::ErrorKind::BrokenPipe)?;
                    match self.body.next().await.transpose()? {
                        Some(piece) => permit.send(piece),
                        None => self.to_thread = None,
                    }
                }
            }
        }
    }
}

fn compress(
    mut input: mpsc::Receiver<Bytes>,
    output: &mpsc::Sender<io::Result<Bytes>>,
    facts: &Mutex<Option<GzipFacts>>,
) {
    let mut diff_id = Hasher::new(Algorithm::Sha256);
    let out = Out {
        output,
        hasher: Hasher::new(Algorithm::Sha256),
        size: 0,
    };
    let mut encoder = GzEncoder::new(
        io::BufWriter::with_capacity(PIECE, out),
        Compression::new(6),
    );
    let mut run = || -> io::Result<()> {
        while let Some(piece) = input.blocking_recv() {
            diff_id.update(&piece);
            encoder.write_all(&piece)?;
        }
        encoder.try_finish()
    };
    let result = run();
    let finished = result
        .and_then(|()| encoder.finish())
        .and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error));
    match finished {
        Ok(out) => {
            let value = GzipFacts {
                diff_id: diff_id.finish(),
                digest: out.hasher.finish(),
                size: out.size,
            };
            if let Ok(mut slot) = facts.lock() {
                *slot = Some(value);
            }
        }
        // When nobody listens any more there is nobody to tell.
        Err(error) => drop(output.blocking_send(Err(error))),
    }
}

struct Out<'a> {
    output: &'a mpsc::Sender<io::Result<Bytes>>,
    hasher: Hasher,
    size: u64,
}

impl io::Write for Out<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.hasher.update(data);
        self.size += data.len() as u64;
        self.output
            .blocking_send(Ok(Bytes::copy_from_slice(data)))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many pieces wait between reactor and thread.
const DEPTH: usize = 4;

/// The size of the pieces that come out, in bytes.
const PIECE: usize = 64 * 1024;

/// Returns what comes out of a gzip file, all of its members. Blocks where `from` does.
pub fn gunzip<R: std::io::BufRead>(from: R) -> impl std::io::Read {
    MultiGzDecoder::new(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[tokio::test]
    async fn output_unpacks_to_the_input_and_facts_are_right() {
        let input: Vec<u8> = (0..900_000_u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect();
        let pieces: Vec<io::Result<Bytes>> = input
            .chunks(50_000)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        let (stream, facts) = gzip(stream::iter(pieces).boxed());
        let packed: Vec<u8> = stream
            .map(|piece| piece.unwrap().to_vec())
            .collect::<Vec<_>>()
            .await
            .concat();
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice())
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, input);
        let facts = facts.lock().unwrap().unwrap();
        assert_eq!(facts.diff_id, Digest::sha256(&input));
        assert_eq!(
            (facts.digest, facts.size),
            (Digest::sha256(&packed), packed.len() as u64)
        );
    }

    #[tokio::test]
    async fn an_error_in_the_input_ends_the_output_with_it() {
        let pieces = vec![Ok(Bytes::from_static(b"x")), Err(io::Error::other("gone"))];
        let (stream, facts) = gzip(stream::iter(pieces).boxed());
        let results: Vec<_> = stream.collect().await;
        assert!(results.last().unwrap().is_err());
        assert_eq!(*facts.lock().unwrap(), None);
    }

    #[tokio::test]
    async fn nothing_becomes_an_empty_gzip_stream() {
        let (stream, facts) = gzip(stream::empty().boxed());
        let packed: Vec<Bytes> = stream.map(Result::unwrap).collect().await;
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(packed.concat().as_slice())
            .read_to_end(&mut unpacked)
            .unwrap();
        assert!(unpacked.is_empty());
        assert_eq!(facts.lock().unwrap().unwrap().diff_id, Digest::sha256(b""));
    }

    #[tokio::test]
    async fn an_endless_stream_can_be_dropped_and_its_thread_ends() {
        let noise = stream::repeat_with(|| Ok(Bytes::from(vec![7; 1 << 16])));
        let (mut stream, facts) = gzip(noise.boxed());
        assert!(stream.next().await.is_some());
        drop(stream);
        // The thread shares the facts: it has ended when it lets go of them.
        while Arc::strong_count(&facts) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*facts.lock().unwrap(), None);
    }
}
