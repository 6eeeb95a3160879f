//! Waiting for a program as if it were this one.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, kill_process};

/// Signals to this process, which are not followed but read. A program that is started meanwhile gets
/// all of its own.
#[derive(Debug)]
pub(super) struct Signals {
    caught: SignalFd,
    before: SigSet,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in FORWARDED {
            signals.add(signal);
        }
        signals.add(Signal::SIGCHLD);
        let before = SigSet::thread_get_mask()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let caught = SignalFd::with_flags(&signals, flags)?;
        signals.thread_block()?;
        Ok(Self { caught, before })
    }

    /// Waits until the program ends.
    pub(super) fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            let mut ready = [PollFd::new(self.caught.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::from(PAUSE)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            while let Some(signal) = self.caught.read_signal()? {
                // What comes from the terminal (a positive code) has gone to the program, too.
                if signal.ssi_code <= 0 {
                    forward(signal.ssi_signo, child);
                }
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Who cannot have them back goes on without them: there is nothing left to be done then.
        self.before.thread_set_mask().unwrap_or_default();
    }
}

fn forward(number: u32, child: &Child) {
    let signal = FORWARDED
        .into_iter()
        .find(|signal| u32::try_from(*signal as i32) == Ok(number));
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let raw = signal.and_then(|signal| rustix::process::Signal::from_named_raw(signal as i32));
    if let (Some(signal), Some(id)) = (raw, id) {
        // It may just have ended, and has not been waited for.
        kill_process(id, signal).unwrap_or_default();
    }
}

/// Returns the number with which a process ends that takes over how another one ended: 128 and the
/// signal for one that was killed, as in a shell.
pub fn exit_code(status: ExitStatus) -> u8 {
    let killed = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(killed);
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

/// What others send to end a program, or to tell it something. A process that is stopped lets its own
/// program be stopped by the terminal.
const FORWARDED: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// In milliseconds. Where whoever started this process has it ignore SIGCHLD, none comes.
const PAUSE: u16 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_were_killed_end_as_in_a_shell() {
        for (raw, code) in [(0, 0), (7 << 8, 7), (255 << 8, 255), (15, 143), (9, 137)] {
            assert_eq!(exit_code(ExitStatus::from_raw(raw)), code);
        }
    }
}
