//! Blobs whose digest is known only when their last byte has been made: layers that are compressed or
//! unpacked on the way.
//!
//! ```text
//! read to its end, in memory   POST ?mount=…, PUT: as any other blob, and nothing is sent that is there
//! too large for that           POST, PATCH, PUT
//! ```
//!
//! All of them together have a few MiB to wait in. Who finds no room there sends what it has, and goes
//! on as more is made; who is made from much does not wait at all. On a long way a blob is sent while it
//! is made, unless that takes less time than the request that is saved.

use bytes::Bytes;
use dhow_client::{Content, OwnMounts};
use dhow_model::{Algorithm, Digest, Hasher};
use dhow_transport::{Blob, BlobWant, Error, How, Placed, Result};
use futures_util::{StreamExt as _, stream};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::sink::DockerSink;

/// How much memory one place stands for, in bytes: what a compressor hands out at once.
const PLACE: usize = 64 * 1024;
/// How many places there are: 4 MiB.
const PLACES: usize = 64;
/// How many pieces a blob has at most that is held back from a long way: they are made in a millisecond.
const FEW: usize = 4;
/// From how many bytes a blob is made at most that will find room.
const LITTLE: u64 = 16 * 1024 * 1024;

/// The places that are free.
static ROOM: Semaphore = Semaphore::const_new(PLACES);

/// What was read of a blob, piece by piece, and the places that it takes.
#[derive(Default)]
struct Held {
    pieces: Vec<(Bytes, SemaphorePermit<'static>)>,
}

impl DockerSink {
    /// Stores a blob without a digest.
    pub(super) async fn put_unnamed(&self, want: &BlobWant, blob: Blob) -> Result<Placed> {
        let is_little = want.made_from.is_none_or(|size| size <= LITTLE);
        let most = match (is_little, self.client.is_near()) {
            (false, _) => 0,
            (true, true) => PLACES,
            (true, false) => FEW,
        };
        let mut body = blob.body.into_stream();
        let mut held = Held::default();
        let mut hasher = Hasher::new(Algorithm::Sha256);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(Error::from_stream)?;
            if held.pieces.len() < most && held.takes(&piece) {
                hasher.update(&piece);
                continue;
            }
            let begin = held.handed_out().chain([piece]).map(Ok);
            let content = Content {
                start: 0,
                bytes: stream::iter(begin).chain(body).boxed(),
                size: None,
                digest: None,
            };
            return self.send(want, content).await;
        }
        self.put_held(want, hasher.finish(), &held).await
    }

    /// Stores a blob that was read to its end, unless it is there.
    async fn put_held(&self, want: &BlobWant, digest: Digest, held: &Held) -> Result<Placed> {
        let pieces = held.pieces.iter().map(|(piece, _)| piece);
        let size = pieces.clone().map(|piece| piece.len() as u64).sum();
        let pieces: Vec<Bytes> = pieces.cloned().collect();
        let want = BlobWant {
            digest: Some(digest),
            size: Some(size),
            ..want.clone()
        };
        if let Some(how) = self.on_the_way(&digest).await? {
            return Ok(Placed { digest, size, how });
        }
        let content = || Content {
            start: 0,
            bytes: stream::iter(pieces.clone()).map(Ok).boxed(),
            size: Some(size),
            digest: Some(digest),
        };
        self.send_twice(&want, content).await
    }

    /// Finds a blob that is ready to be sent, with no request more than sending it takes.
    async fn on_the_way(&self, digest: &Digest) -> Result<Option<How>> {
        let there = self.presence.knows(digest)
            || self.own_mounts().await != OwnMounts::Refuses && self.begun(digest).await?;
        Ok(there.then_some(How::Present))
    }
}

impl Held {
    /// Keeps a copy of a piece, if there is room: the piece is lent, and whoever lends it needs it again.
    fn takes(&mut self, piece: &Bytes) -> bool {
        let places = u32::try_from(piece.len().div_ceil(PLACE)).ok();
        let places = places.and_then(|count| ROOM.try_acquire_many(count).ok());
        let is_room = places.is_some();
        let copy = |places| (Bytes::copy_from_slice(piece), places);
        self.pieces.extend(places.map(copy));
        is_room
    }

    /// Returns the pieces, which leave their places one after the other.
    fn handed_out(self) -> impl Iterator<Item = Bytes> + Send {
        self.pieces.into_iter().map(|(piece, _places)| piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_takes_room_until_it_is_handed_out() {
        let piece = Bytes::from(vec![7; PLACE + 1]);
        let mut held = Held::default();
        while held.takes(&piece) {}
        // Each takes two places.
        assert_eq!(held.pieces.len(), PLACES / 2);
        assert!(!Held::default().takes(&piece));
        let mut pieces = held.handed_out();
        assert_eq!(pieces.next(), Some(piece.clone()));
        let mut next = Held::default();
        assert!(next.takes(&piece) && !next.takes(&piece));
        drop(pieces);
        assert!(next.takes(&piece));
    }
}
