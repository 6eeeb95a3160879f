//! Verifies digest and size of a stream while it passes.
//!
//! The last piece is held back until everything is known to be right, so that whoever sends the
//! stream on with a `Content-Length` can never complete a wrong upload.

mod checkpoints;

use std::io;

use bytes::Bytes;
use dhow_model::{Digest, Hasher};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};

pub use checkpoints::Checkpoints;

/// What a stream must turn out to be.
#[derive(Clone, Copy, Debug)]
pub struct Expectation {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, where it is known.
    pub size: Option<u64>,
}

/// A stream that is not what it should be. Comes inside an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The content has another digest.
    #[error("digest mismatch: expected {expected}, got {actual}")]
    Digest {
        /// The digest wanted.
        expected: Digest,
        /// The digest found.
        actual: Digest,
    },
    /// There are too many bytes.
    #[error("size mismatch: more than the expected {expected} bytes arrived")]
    TooLong {
        /// The size wanted.
        expected: u64,
    },
    /// There are too few bytes.
    #[error("size mismatch: expected {expected} bytes, got {actual}")]
    TooShort {
        /// The size wanted.
        expected: u64,
        /// The size found.
        actual: u64,
    },
}

impl From<VerifyError> for io::Error {
    fn from(error: VerifyError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Passes `body` on and ends it with an error when it is not what `expected` says.
pub fn verify(
    body: BoxStream<'static, io::Result<Bytes>>,
    expected: Expectation,
) -> BoxStream<'static, io::Result<Bytes>> {
    verify_from(body, expected, &Checkpoints::default(), 0)
}

/// Does the same for a body that begins at `start` (bytes, 0-based), a position that `checkpoints`
/// has given; and remembers there how far the verification is.
pub fn verify_from(
    body: BoxStream<'static, io::Result<Bytes>>,
    expected: Expectation,
    checkpoints: &Checkpoints,
    start: u64,
) -> BoxStream<'static, io::Result<Bytes>> {
    let known = checkpoints.at(start);
    let state = State {
        body,
        expected,
        seen: if known.is_some() { start } else { 0 },
        hasher: known.unwrap_or_else(|| Hasher::new(expected.digest.algorithm())),
        held: None,
        checkpoints: checkpoints.clone(),
    };
    stream::try_unfold(Some(state), |state| async move {
        match state {
            Some(state) => state.step().await,
            None => Ok(None),
        }
    })
    .boxed()
}

struct State {
    body: BoxStream<'static, io::Result<Bytes>>,
    expected: Expectation,
    hasher: Hasher,
    seen: u64,
    held: Option<Bytes>,
    checkpoints: Checkpoints,
}

impl State {
    /// Returns the piece held back and holds the next one, or judges the whole at the end.
    async fn step(mut self) -> io::Result<Option<(Bytes, Option<Self>)>> {
        loop {
            match self.body.next().await {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    self.seen += piece.len() as u64;
                    if let Some(expected) = self.expected.size.filter(|size| self.seen > *size) {
                        return Err(VerifyError::TooLong { expected }.into());
                    }
                    self.hasher.update(&piece);
                    self.checkpoints.pass(self.seen, &self.hasher);
                    if let Some(held) = self.held.replace(piece) {
                        return Ok(Some((held, Some(self))));
                    }
                }
                Some(Err(error)) => return Err(error),
                None => {
                    self.judge()?;
                    return Ok(self.held.take().map(|held| (held, None)));
                }
            }
        }
    }

    fn judge(&self) -> Result<(), VerifyError> {
        if let Some(expected) = self.expected.size.filter(|size| *size != self.seen) {
            return Err(VerifyError::TooShort {
                expected,
                actual: self.seen,
            });
        }
        let actual = self.hasher.clone().finish();
        if actual == self.expected.digest {
            Ok(())
        } else {
            Err(VerifyError::Digest {
                expected: self.expected.digest,
                actual,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pieces: &[&'static [u8]], digest: Digest, size: u64) -> (Vec<u8>, Option<VerifyError>) {
        let pieces: Vec<io::Result<Bytes>> = pieces
            .iter()
            .map(|piece| Ok(Bytes::from_static(piece)))
            .collect();
        let expected = Expectation {
            digest,
            size: Some(size),
        };
        let mut body = verify(stream::iter(pieces).boxed(), expected);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let mut seen = Vec::new();
            while let Some(piece) = body.next().await {
                match piece {
                    Ok(piece) => seen.extend_from_slice(&piece),
                    Err(error) => {
                        let inner = error.into_inner().unwrap();
                        return (
                            seen,
                            Some(inner.downcast_ref::<VerifyError>().unwrap().clone()),
                        );
                    }
                }
            }
            (seen, None)
        })
    }

    #[test]
    fn right_content_passes_whole() {
        let digest = Digest::sha256(b"hello world");
        assert_eq!(
            run(&[b"hello ", b"", b"world"], digest, 11),
            (b"hello world".to_vec(), None)
        );
        assert_eq!(run(&[], Digest::sha256(b""), 0), (Vec::new(), None));
    }

    #[test]
    fn the_last_piece_of_wrong_content_never_passes() {
        let digest = Digest::sha256(b"hello world");
        for pieces in [
            &[b"hello " as &[u8], b"w0rld"][..],
            &[b"hello ", b"worl"],
            &[b"hello ", b"world!"],
        ] {
            let (seen, error) = run(pieces, digest, 11);
            assert!(seen.len() <= 6, "{seen:?}");
            assert!(error.is_some());
        }
    }

    #[test]
    fn the_size_need_not_be_known_and_sha512_is_verified_too() {
        let content = b"hello world";
        let cases = [
            (Digest::sha256(content), true),
            (Digest::of(dhow_model::Algorithm::Sha512, content), true),
            (Digest::of(dhow_model::Algorithm::Sha512, b"other"), false),
        ];
        for (digest, right) in cases {
            let expected = Expectation { digest, size: None };
            let pieces = [Ok(Bytes::from_static(content))];
            let body = verify(stream::iter(pieces).boxed(), expected);
            let results = block_on(body.collect::<Vec<_>>());
            assert_eq!(results.iter().all(Result::is_ok), right);
            assert!(right || results.len() == 1, "nothing but the error passes");
        }
    }

    #[test]
    fn what_is_too_long_ends_at_once() {
        let expected = Expectation {
            digest: Digest::sha256(b"abc"),
            size: Some(3),
        };
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(b"ab")));
        let results = block_on(verify(endless.boxed(), expected).collect::<Vec<_>>());
        assert!(matches!(results.as_slice(), [Err(_)]));
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime starts").block_on(future)
    }
}
