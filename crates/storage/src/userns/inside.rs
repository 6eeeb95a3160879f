//! The program on its way into the user namespace: it makes one, waits for ids, and begins again.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, close, setresgid, setresuid};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::enter::{Entry, again};
use super::error::Error;

/// Where the program that waits outside is heard and told, as file descriptors, and who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) from: i32,
    pub(super) to: i32,
    pub(super) parent: i32,
}

impl Way {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(',').map(|number| number.parse().ok());
        let way = Self {
            from: numbers.next()??,
            to: numbers.next()??,
            parent: numbers.next()??,
        };
        (way.from > 2 && way.to > 2 && numbers.next().is_none()).then_some(way)
    }

    pub(super) fn shown(self) -> String {
        format!("{},{},{}", self.from, self.to, self.parent)
    }
}

/// Enters, and does not return when that went well: the program begins again inside. Else the one
/// outside is told, and the error is for who called this.
pub(super) fn go(way: Way, entry: &Entry<'_>) -> Error {
    let (mut from, mut to) = match lines(way) {
        Ok(lines) => lines,
        Err(error) => return Error::run("hear the program that waits outside")(error),
    };
    let (stage, error) = steps(way, entry, &mut from, &mut to);
    let number = error.raw_os_error().unwrap_or_default();
    match writeln!(to, "{stage}{number}") {
        Ok(()) => Error::run("enter the user namespace")(error),
        Err(error) => Error::run("tell the program that waits outside")(error),
    }
}

/// Opens both anew, to be closed when the program begins again; this has to be done while the process
/// has an id that owns them.
fn lines(way: Way) -> std::io::Result<(File, File)> {
    let from = File::open(fd_path(way.from))?;
    let to = OpenOptions::new().write(true).open(fd_path(way.to))?;
    for inherited in [way.from, way.to] {
        close(inherited)?;
    }
    Ok((from, to))
}

fn fd_path(number: i32) -> String {
    format!("/proc/self/fd/{number}")
}

/// What was being done when it broke, as the program outside is told.
pub(super) const UNSHARE: char = 'u';
pub(super) const IDENTITY: char = 'i';
pub(super) const EXECUTE: char = 'x';
/// The user namespace is there.
pub(super) const READY: u8 = b'r';

/// Does all of it; returns only what broke.
fn steps(way: Way, entry: &Entry<'_>, from: &mut File, to: &mut File) -> (char, std::io::Error) {
    if let Err(broken) = prepare(way, from, to) {
        return broken;
    }
    let mut command: Command = again(entry);
    command.env_remove(super::enter::WAY);
    command.env("_CONTAINERS_USERNS_CONFIGURED", "done");
    (EXECUTE, command.exec())
}

fn prepare(way: Way, from: &mut File, to: &mut File) -> Result<(), (char, std::io::Error)> {
    let at = |stage| move |error: std::io::Error| (stage, error);
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .map_err(|error| (UNSHARE, error.into()))?;
    to.write_all(&[READY]).map_err(at(EXECUTE))?;
    // When the one outside has gone, nothing comes and this ends here.
    from.read_exact(&mut [0]).map_err(at(EXECUTE))?;
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(group, group, group).map_err(|error| (IDENTITY, error.into()))?;
    setresuid(user, user, user).map_err(|error| (IDENTITY, error.into()))?;
    // After the ids, which take it back.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| (EXECUTE, error.into()))?;
    if getppid() != Pid::from_raw(way.parent) {
        return Err((EXECUTE, std::io::ErrorKind::BrokenPipe.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_understood_only_as_it_was_told() {
        let way = Way {
            from: 3,
            to: 6,
            parent: 77,
        };
        assert_eq!(Way::parse(&way.shown()), Some(way));
        for wrong in ["", "3,6", "3,6,x", "0,6,77", "3,1,77", "3,6,77,8"] {
            assert_eq!(Way::parse(wrong), None, "{wrong}");
        }
    }
}
