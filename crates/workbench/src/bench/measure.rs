//! One run of one tool, in a process of its own that does nothing else.
//!
//! The kernel counts the memory of the process that starts a program as the program's until it is
//! loaded. So the bench, which is large, starts itself anew as a small process; that one starts the
//! tool, waits, and says what it took.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use wait4::Wait4 as _;

use super::stop::Stop;

/// What a run took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// From start to end, in microseconds.
    pub(super) wall: u64,
    /// Processor time in user and kernel mode, in microseconds.
    pub(super) processor: u64,
    /// The most memory that was resident, in bytes.
    pub(super) memory: u64,
}

/// A command line with its environment.
#[derive(Debug)]
pub(super) struct Invocation<'a> {
    /// The program.
    pub(super) program: &'a Path,
    /// The words behind its name.
    pub(super) arguments: &'a [String],
    /// Its whole environment.
    pub(super) environment: &'a BTreeMap<&'static str, OsString>,
    /// The folder it runs in.
    pub(super) folder: &'a Path,
    /// The file that takes what it writes to stdout.
    pub(super) stdout: &'a Path,
    /// The file that takes what it writes to stderr.
    pub(super) stderr: &'a Path,
}

/// The command of this program that measures.
pub(crate) const MEASURE: &str = "measure";

impl Invocation<'_> {
    /// Runs the command. An error says what went wrong with it; see [`Stop::check`] for whether that
    /// is because somebody wants us to stop.
    pub(super) fn run(&self, stop: &Stop) -> Result<Cost, String> {
        let wrap = |error: std::io::Error| format!("cannot measure: {error}");
        let mut child = Command::new(std::env::current_exe().map_err(wrap)?)
            .arg(MEASURE)
            .args([self.stdout, self.stderr, self.program])
            .args(self.arguments)
            .env_clear()
            .envs(self.environment)
            .current_dir(self.folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(wrap)?;
        watch(&mut child, stop)?;
        let mut line = String::new();
        if let Some(mut out) = child.stdout.take() {
            out.read_to_string(&mut line).map_err(wrap)?;
        }
        let (cost, ending) = parse(&line).ok_or("nothing was measured")?;
        if ending == "0" {
            return Ok(cost);
        }
        let said = fs::read(self.stderr).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        Err(format!(
            "exit {ending}: {}",
            last.unwrap_or("no word").trim()
        ))
    }
}

/// Waits for the end, and brings it about when it takes too long or somebody wants us to stop.
fn watch(child: &mut Child, stop: &Stop) -> Result<(), String> {
    let end = Instant::now() + LIMIT;
    loop {
        let ended = child.try_wait();
        if ended
            .map_err(|error| format!("cannot wait: {error}"))?
            .is_some()
        {
            return Ok(());
        }
        let late = Instant::now() > end;
        if late || stop.is_wanted() {
            // It has not been waited for, so that the number is still that of its group.
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            drop(child.wait());
            return Err(if late {
                "takes too long"
            } else {
                "interrupted"
            }
            .to_owned());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs the program that the arguments name (behind the files for its output) and prints what it took.
pub(crate) fn measure(arguments: &[String]) -> Result<(), String> {
    let [stdout, stderr, program, arguments @ ..] = arguments else {
        return Err(format!("`{MEASURE}` is for the bench itself"));
    };
    let file = |path: &String| File::create(path).map_err(|error| format!("{path}: {error}"));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(file(stdout)?)
        .stderr(file(stderr)?);
    let start = Instant::now();
    let child = command.spawn().map_err(|error| error.to_string())?;
    let used = child.wait4().map_err(|error| error.to_string())?;
    let wall = start.elapsed();
    let ending = match (used.status.code(), used.status.signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("by signal {signal}"),
        (None, None) => "unknown".to_owned(),
    };
    let processor = used.rusage.utime + used.rusage.stime;
    let (wall, processor, memory) = (wall.as_micros(), processor.as_micros(), used.rusage.maxrss);
    println!("{wall} {processor} {memory} {ending}");
    Ok(())
}

fn parse(line: &str) -> Option<(Cost, &str)> {
    let mut words = line.trim().splitn(4, ' ');
    let mut number = || words.next()?.parse().ok();
    let cost = Cost {
        wall: number()?,
        processor: number()?,
        memory: number()?,
    };
    Some((cost, words.next()?))
}

/// How long a run may take.
const LIMIT: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        let cost = Cost {
            wall: 1500,
            processor: 900,
            memory: 4096,
        };
        assert_eq!(parse("1500 900 4096 0\n"), Some((cost, "0")));
        assert_eq!(
            parse("1500 900 4096 by signal 9\n"),
            Some((cost, "by signal 9"))
        );
        assert_eq!(parse("1500 900\n"), None);
        assert_eq!(parse(""), None);
    }
}
