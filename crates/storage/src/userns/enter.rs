//! Running the program again inside of a user namespace, seen from outside.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};

use dhow_config::EnvSnapshot;
use rustix::io::{FdFlags, fcntl_setfd};

use super::error::{Error, Fault};
use super::inside::{self, IDENTITY, READY, UNSHARE, Way};
use super::mapping::Mapping;
use super::needed::owner;
use super::wait::Signals;

/// What the program is run again with.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The environment of the process.
    pub environment: &'a EnvSnapshot,
    /// The arguments of the process, with its name as the first.
    pub arguments: &'a [OsString],
}

/// Runs the program again as root of a user namespace, with the same arguments, standard streams and
/// environment, and returns how it ended; the caller then ends the same way, see
/// [`exit_code`](super::exit_code). It has to be called before anything else happens, when
/// [`needed`](super::needed) says so: by the program itself, and by the one that it runs, which does
/// not return from it. Signals to the process are passed on; when it is killed, what it runs is, too.
///
/// `tell` hears what is not as it should be, before the program runs.
///
/// # Errors
/// When the system does not allow it. Then nothing has run.
pub fn enter(entry: &Entry<'_>, tell: &mut dyn FnMut(&Fault)) -> Result<ExitStatus, Error> {
    if let Some(way) = entry.environment.variable(WAY).and_then(Way::parse) {
        return Err(inside::go(way, entry));
    }
    if entry
        .environment
        .variable("_CONTAINERS_USERNS_CONFIGURED")
        .is_some()
    {
        return Err(Error::Powerless);
    }
    let mapping = Mapping::choose(entry.environment, tell);
    let signals = Signals::catch().map_err(Error::run("listen to signals"))?;
    let (mut child, lines) = start(entry)?;
    match lines.admit(&mapping, child.id()) {
        Ok(()) => signals
            .wait(&mut child)
            .map_err(Error::run("wait for the program")),
        Err(error) => {
            end(&mut child);
            Err(error)
        }
    }
}

/// Returns the program itself, with the arguments it was called with.
pub(super) fn again(entry: &Entry<'_>) -> Command {
    // The file that runs, also when another one has taken its place.
    let mut command = Command::new("/proc/self/exe");
    if let Some((name, arguments)) = entry.arguments.split_first() {
        command.arg0(name).args(arguments);
    }
    command
}

fn start(entry: &Entry<'_>) -> Result<(Child, Lines), Error> {
    let failed = || Error::run("make a pipe");
    let (from_inside, to_outside) = io::pipe().map_err(failed())?;
    let (from_outside, to_inside) = io::pipe().map_err(failed())?;
    let way = Way {
        from: inherited(&from_outside).map_err(failed())?,
        to: inherited(&to_outside).map_err(failed())?,
        parent: rustix::process::getpid().as_raw_nonzero().get(),
    };
    let ids = [
        owner(entry.environment),
        rustix::process::getegid().as_raw(),
    ];
    let child = again(entry)
        .env(WAY, way.shown())
        .env("_CONTAINERS_ROOTLESS_UID", ids[0].to_string())
        .env("_CONTAINERS_ROOTLESS_GID", ids[1].to_string())
        .spawn()
        .map_err(Error::run("run the program again"))?;
    let lines = Lines {
        from: from_inside,
        to: to_inside,
    };
    Ok((child, lines))
}

/// Lets whatever is run have a file descriptor, too.
fn inherited(end: &impl AsFd) -> io::Result<i32> {
    let end = end.as_fd();
    fcntl_setfd(end, FdFlags::empty())?;
    Ok(end.as_raw_fd())
}

/// How the program inside is heard and told.
struct Lines {
    from: PipeReader,
    to: PipeWriter,
}

impl Lines {
    /// Waits for the user namespace, gives it its ids, and waits until the program begins again.
    fn admit(mut self, mapping: &Mapping, id: u32) -> Result<(), Error> {
        let mut first = [0];
        let heard = Error::run("hear the program inside");
        if self.from.read(&mut first).map_err(heard)? == 0 {
            return Err(Error::Gone);
        }
        if first[0] != READY {
            return Err(self.broken(char::from(first[0])));
        }
        mapping.apply(id)?;
        let told = self.to.write_all(&[READY]);
        told.map_err(Error::run("tell the program inside"))?;
        // Its end of the pipe closes when the program begins again.
        let heard = Error::run("hear the program inside");
        match self.from.read(&mut first).map_err(heard)? {
            0 => Ok(()),
            _ => Err(self.broken(char::from(first[0]))),
        }
    }

    /// Returns what the program inside tells of its failure.
    fn broken(&mut self, stage: char) -> Error {
        let mut number = String::new();
        let mut told = (&mut self.from).take(MOST_OF_A_NUMBER);
        let read = told.read_to_string(&mut number);
        let number = read.ok().and_then(|_| number.trim().parse().ok());
        let source = io::Error::from_raw_os_error(number.unwrap_or_default());
        match stage {
            UNSHARE | IDENTITY => Error::Forbidden {
                why: source.to_string(),
            },
            _ => Error::Run {
                what: "run the program again inside of the user namespace",
                source,
            },
        }
    }
}

/// Ends what was started. It is on its way, and has done nothing.
fn end(child: &mut Child) {
    // It may have ended by itself.
    drop(child.kill());
    drop(child.wait());
}

/// Tells the program that it is run to enter, and by whom.
pub(super) const WAY: &str = "_DHOW_USERNS";
/// In bytes.
const MOST_OF_A_NUMBER: u64 = 16;
