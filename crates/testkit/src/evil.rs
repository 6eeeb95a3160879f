//! What a registry that means harm sends: digests that are none, and answers without an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// How many bytes of a flood are sent at once.
const PIECE: usize = 64 * 1024;

/// Texts that stand where a digest should and are none.
pub const NO_DIGESTS: [&str; 9] = [
    "",
    "sha256:",
    "sha256:../../x",
    "sha256:e3b0c442",
    "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855?x=1",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852/../",
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    "../../../v2/other/manifests/latest",
];

/// Bytes without an end, counted as the server gets rid of them.
#[derive(Clone, Debug)]
pub struct Flood {
    piece: Bytes,
    sent: Arc<AtomicU64>,
}

impl Flood {
    /// Returns a flood of one byte, over and over.
    pub fn of(byte: u8) -> Self {
        Self {
            piece: Bytes::from(vec![byte; PIECE]),
            sent: Arc::default(),
        }
    }

    /// Returns how many bytes the server could send: what the client took, and what the buffers of
    /// the sockets hold.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn piece(&self) -> Bytes {
        self.sent.fetch_add(PIECE as u64, Ordering::Relaxed);
        self.piece.clone()
    }
}
