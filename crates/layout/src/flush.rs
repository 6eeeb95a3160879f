//! Writing a big file to the disk while it still grows, so that the wait at its end is short.

use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// A thread that flushes one file. Dropping it waits for the flush that is under way.
#[derive(Debug, Default)]
pub(crate) struct Flusher {
    unflushed: u64,
    thread: Option<(SyncSender<()>, JoinHandle<()>)>,
}

impl Flusher {
    /// Notes that `length` bytes more are in the file.
    pub(crate) fn written(&mut self, file: &File, length: u64) {
        self.unflushed += length;
        if self.unflushed < STEP {
            return;
        }
        self.unflushed = 0;
        if self.thread.is_none() {
            self.thread = start(file);
        }
        if let Some((wake, _)) = &self.thread {
            // Full: a flush is waiting already, and takes these bytes with it.
            let _is_waiting_already = wake.try_send(());
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        if let Some((wake, thread)) = self.thread.take() {
            drop(wake);
            drop(thread.join());
        }
    }
}

/// Starts the thread. Without one the file is flushed at its end all the same.
fn start(file: &File) -> Option<(SyncSender<()>, JoinHandle<()>)> {
    let file = file.try_clone().ok()?;
    let (wake, woken) = sync_channel(1);
    let flush = move || flush(&file, &woken);
    let thread = std::thread::Builder::new().name("dhow-flush".to_owned());
    Some((wake, thread.spawn(flush).ok()?))
}

fn flush(file: &File, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        // The flush at the end reports what is wrong.
        drop(file.sync_data());
    }
}

/// How many bytes are worth a flush: less than what a disk takes in a blink, and more than most
/// layers have.
const STEP: u64 = 32 * 1024 * 1024;
