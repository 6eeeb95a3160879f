//! The blobs that are on their way at this moment, and how far they are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use dhow_model::Digest;
use dhow_ops::{Event, Progress};
use dhow_transport::How;

/// Hears of the blobs of all images. There are too many to tell of each.
#[derive(Debug, Default)]
pub(super) struct Flying(Mutex<HashMap<Digest, Blob>>);

#[derive(Debug)]
struct Blob {
    size: Option<u64>,
    /// Gone with the transfer, however that ends.
    counter: Weak<AtomicU64>,
}

/// How far the blobs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnderWay {
    /// The bytes that were read of them.
    pub(super) bytes: u64,
    /// The bytes of all of them, as far as their sizes are known.
    pub(super) total: u64,
}

impl Flying {
    /// Returns how far the blobs are of which something has come.
    pub(super) fn under_way(&self) -> UnderWay {
        let mut sum = UnderWay::default();
        self.lock().retain(|_, blob| {
            let Some(counter) = blob.counter.upgrade() else {
                return false;
            };
            let bytes = counter.load(Ordering::Relaxed);
            // Of one that is only looked for nothing is under way.
            if bytes > 0 {
                sum.bytes += bytes;
                sum.total += blob.size.unwrap_or(bytes).max(bytes);
            }
            true
        });
        sum
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Blob>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Flying {
    fn event(&self, event: &Event) {
        match event {
            Event::BlobStarted {
                digest,
                size,
                counter,
                ..
            } => {
                let blob = Blob {
                    size: *size,
                    counter: std::sync::Arc::downgrade(counter),
                };
                self.lock().insert(*digest, blob);
            }
            Event::BlobDone { digest, how, size } => {
                self.lock().remove(digest);
                if *how == How::Sent {
                    tracing::debug!(%digest, size, "blob sent");
                }
            }
            Event::Retrying { what, why, .. } => tracing::info!(what, why, "trying again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_is_under_way_is_what_has_begun_and_not_ended() {
        let flying = Flying::default();
        let counters = [7, 0, 3, 5].map(|bytes| Arc::new(AtomicU64::new(bytes)));
        let digest = |number: usize| Digest::sha256(&[u8::try_from(number).unwrap()]);
        for (number, counter) in counters.iter().enumerate() {
            flying.event(&Event::BlobStarted {
                digest: digest(number),
                slot: dhow_transport::Slot::Config,
                size: Some(10),
                counter: Arc::clone(counter),
            });
        }
        let sum = |bytes, total| UnderWay { bytes, total };
        assert_eq!(flying.under_way(), sum(15, 30));
        flying.event(&Event::BlobDone {
            digest: digest(0),
            how: How::Sent,
            size: 10,
        });
        assert_eq!(flying.under_way(), sum(8, 20));
        let kept = Arc::clone(&counters[3]);
        drop(counters);
        assert_eq!(flying.under_way(), sum(5, 10));
        drop(kept);
        assert_eq!(flying.under_way(), UnderWay::default());
    }
}
