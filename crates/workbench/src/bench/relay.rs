//! A link between two TUN devices that holds each packet for half of the round trip and lets them
//! through no faster than its rate.
//!
//! ```text
//! near ─▶ reader ─▶ queue of (packet, when it is due) ─▶ writer ─▶ far, and the same back
//! ```
//!
//! Packets keep their segmentation offload (up to 64 KiB each), so that the relay itself takes little
//! of the processor. What would wait longer than [`PATIENCE`] for its turn is dropped, as a router
//! does it: congestion control works as on a real link.

use super::arguments::Link;

/// Makes two devices and begins to carry packets between them. It ends when they are removed.
#[cfg(not(target_os = "linux"))]
pub(super) fn start(_: &str, _: &str, _: Link) -> Result<(), String> {
    Err("there are TUN devices on Linux only".to_owned())
}

#[cfg(target_os = "linux")]
pub(super) use linux::start;

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::Arc;
    use std::sync::mpsc::{self, Receiver, SyncSender};
    use std::thread;
    use std::time::{Duration, Instant};

    use tun_rs::{DeviceBuilder, SyncDevice};

    use super::Link;

    /// Makes two devices and begins to carry packets between them. It ends when they are removed.
    pub(in super::super) fn start(near: &str, far: &str, link: Link) -> Result<(), String> {
        let (near, far) = (open(near)?, open(far)?);
        carry(&near, &far, Pace::of(link));
        carry(&far, &near, Pace::of(link));
        Ok(())
    }

    fn open(name: &str) -> Result<Arc<SyncDevice>, String> {
        DeviceBuilder::new()
            .name(name)
            .enable(false)
            .with(|device| {
                device.offload(true).tx_queue_len(PACKETS);
            })
            .build_sync()
            .map(Arc::new)
            .map_err(|error| format!("cannot make the TUN device {name}: {error}"))
    }

    /// Carries packets one way.
    fn carry(from: &Arc<SyncDevice>, to: &Arc<SyncDevice>, mut pace: Pace) {
        let (sender, receiver) = mpsc::sync_channel(PACKETS as usize);
        let (from, to) = (Arc::clone(from), Arc::clone(to));
        thread::spawn(move || read(&from, &mut pace, &sender));
        thread::spawn(move || write(&to, &receiver));
    }

    struct Packet {
        due: Instant,
        bytes: Vec<u8>,
    }

    fn read(device: &SyncDevice, pace: &mut Pace, queue: &SyncSender<Packet>) {
        let mut buffer = vec![0; LARGEST];
        // Reading ends with an error when the device is removed, and the queue ends with it.
        while let Ok(length) = device.recv(&mut buffer) {
            let Some(due) = pace.admit(Instant::now(), length) else {
                continue;
            };
            let bytes = buffer[..length].to_vec();
            // A queue that is full drops the packet.
            drop(queue.try_send(Packet { due, bytes }));
        }
    }

    fn write(device: &SyncDevice, queue: &Receiver<Packet>) {
        while let Ok(packet) = queue.recv() {
            thread::sleep(packet.due.saturating_duration_since(Instant::now()));
            // What a device does not take is lost, as on any link.
            drop(device.send(&packet.bytes));
        }
    }

    /// When packets of one way are due.
    struct Pace {
        delay: Duration,
        seconds_per_byte: f64,
        free: Option<Instant>,
    }

    impl Pace {
        fn of(link: Link) -> Self {
            Self {
                delay: Duration::from_secs_f64(link.rtt / 2000.0),
                seconds_per_byte: 8.0 / (link.rate * 1e6),
                free: None,
            }
        }

        /// Returns when a packet that comes now arrives, or `None` if it is dropped.
        fn admit(&mut self, now: Instant, length: usize) -> Option<Instant> {
            let start = self.free.map_or(now, |free| free.max(now));
            if start.duration_since(now) > PATIENCE {
                return None;
            }
            let end = start + Duration::from_secs_f64(length as f64 * self.seconds_per_byte);
            self.free = Some(end);
            Some(end + self.delay)
        }
    }

    /// How long a packet waits for its turn at most.
    const PATIENCE: Duration = Duration::from_millis(60);

    /// How many packets are on their way at most.
    const PACKETS: u32 = 10_000;

    /// The largest packet with its header, in bytes.
    const LARGEST: usize = 65_536 + 256;

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn packets_wait_for_their_turn_and_for_the_delay() {
            let (rtt, rate) = (20.0, 8.0); // 1 ms for each 1000 bytes
            let mut pace = Pace::of(Link { rtt, rate });
            let now = Instant::now();
            let after = |milliseconds| Some(now + Duration::from_millis(milliseconds));
            assert_eq!(pace.admit(now, 1000), after(11));
            assert_eq!(pace.admit(now, 2000), after(13));
            assert_eq!(pace.admit(now + PATIENCE, 1000), after(71));
            assert_eq!(pace.admit(now + PATIENCE, 80_000), after(151));
            assert_eq!(pace.admit(now + PATIENCE, 1), None);
        }
    }
}
