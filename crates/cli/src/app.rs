//! From arguments to an exit code: parse, start the runtime, run one command, report.

use std::ffi::OsString;
use std::future::Future;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use clap::{CommandFactory as _, FromArgMatches as _};
use dhow_config::{Config, EnvSnapshot};
use dhow_ops::{Session, SessionOptions};

use crate::commands::Cli;
use crate::failure::{Exit, Failure};
use crate::namespace;
use crate::options::GlobalOptions;
use crate::render::{compat, logging, streams};
use crate::usage;

/// What a command works with.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) global: GlobalOptions,
    pub(crate) voice: Voice,
    /// Kept as long as the program runs: the end of the process closes its connections.
    session: OnceLock<Session>,
}

/// How dhow talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// As itself.
    Dhow,
    /// As skopeo: it was called by that name.
    Skopeo,
}

impl App {
    /// Starts the session that all verbs share.
    pub(crate) fn session(&self) -> Result<Session, Failure> {
        let name = match self.voice {
            Voice::Dhow => concat!("dhow/", env!("CARGO_PKG_VERSION")),
            Voice::Skopeo => compat::USER_AGENT,
        };
        let user_agent = match &self.global.user_agent_prefix {
            Some(prefix) if !prefix.is_empty() => format!("{prefix} {name}"),
            _ => name.to_owned(),
        };
        let session = Session::new(SessionOptions {
            config: Arc::clone(&self.config),
            user_agent,
            tmp: self.global.tmpdir.clone(),
            policy: self.global.policy(),
            platform: self.global.platform(),
            stall: self.global.stall_timeout.filter(|stall| !stall.is_zero()),
        })?;
        Ok(self.session.get_or_init(|| session).clone())
    }
}

/// Runs the program.
pub(crate) fn main(arguments: &[OsString], environment: EnvSnapshot) -> ExitCode {
    let start = Instant::now();
    let voice = voice_of(arguments);
    let matches = match command(voice).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error, arguments, voice, start),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, arguments, voice, start),
    };
    let Some(verb) = cli.command else {
        return usage::missing_command(voice).report(voice, start);
    };
    match namespace::enter(arguments, &environment, voice) {
        Ok(None) => {}
        Ok(Some(code)) => return code,
        Err(failure) => return failure.report(voice, start),
    }
    logging::start(&cli.global, voice, start);
    let app = App {
        config: Arc::new(Config::new(
            Arc::new(environment),
            cli.global.config_overrides(),
        )),
        global: cli.global,
        voice,
        session: OnceLock::new(),
    };
    let ends_by_signal = verb.ends_by_signal();
    let result = run(&app, ends_by_signal, verb.run(&app));
    // Its session has open connections, and closing each would take a while.
    std::mem::forget(app);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(voice, start),
    }
}

/// Returns the command line's definition, under the name the program was called by.
pub(crate) fn command(voice: Voice) -> clap::Command {
    // A flag that is given twice counts as it was given last, as in Go.
    let command = Cli::command()
        .args_override_self(true)
        .mut_args(name_boolean);
    match voice {
        Voice::Dhow => command,
        Voice::Skopeo => command
            .name("skopeo")
            .bin_name("skopeo")
            .display_name("skopeo")
            .version(compat::VERSION),
    }
}

/// Shows a flag with an optional value as `--flag[=<BOOL>]`, whatever its field is called.
pub(crate) fn name_boolean(flag: clap::Arg) -> clap::Arg {
    if flag.get_num_args() == Some((0..=1).into()) {
        flag.value_name("BOOL")
    } else {
        flag
    }
}

fn voice_of(arguments: &[OsString]) -> Voice {
    let name = arguments
        .first()
        .and_then(|path| Path::new(path).file_name());
    match name.and_then(|name| name.to_str()) {
        Some("skopeo") => Voice::Skopeo,
        _ => Voice::Dhow,
    }
}

/// Runs a command until it ends, a signal comes, or its time is over. What is cut off cleans up after
/// itself.
fn run(
    app: &App,
    ends_by_signal: bool,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        // Each blob on its way may hold several, that wait for one another.
        .max_blocking_threads(256)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Local, "cannot start").caused_by(&error))?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = work => result,
            failure = interrupted(), if !ends_by_signal => Err(failure),
            failure = over(app) => Err(failure),
        }
    });
    if result.is_ok() && !ends_by_signal {
        // Nothing is left that has something to put in order, and the end of the process closes
        // connections and ends threads faster than they can do it one after the other.
        std::mem::forget(runtime);
    } else {
        // Threads that still wait for a file or a name server are not waited for.
        runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    }
    result
}

async fn interrupted() -> Failure {
    use tokio::signal::unix::SignalKind;
    tokio::select! {
        () = signalled(SignalKind::interrupt()) => Failure::new(Exit::Interrupted, "interrupted"),
        () = signalled(SignalKind::terminate()) => Failure::new(Exit::Terminated, "terminated"),
    }
}

/// Waits for a signal that asks the program to end.
pub(crate) async fn asked_to_end() {
    drop(interrupted().await);
}

async fn signalled(kind: tokio::signal::unix::SignalKind) {
    match tokio::signal::unix::signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

async fn over(app: &App) -> Failure {
    match app.global.command_timeout.filter(|limit| !limit.is_zero()) {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            Failure::new(
                Exit::Unreachable,
                format!("the time of {limit:?} given with `--command-timeout` is over"),
            )
            .hint("give more time, or none")
        }
        None => std::future::pending().await,
    }
}

fn refuse(error: &clap::Error, arguments: &[OsString], voice: Voice, start: Instant) -> ExitCode {
    use clap::error::ErrorKind;
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        streams::print(&error.render().to_string());
        return ExitCode::SUCCESS;
    }
    let definition = command(voice);
    let name = arguments
        .iter()
        .skip(1)
        .filter_map(|argument| argument.to_str())
        .find(|argument| definition.find_subcommand(argument).is_some());
    usage::failure(error, voice, name).report(voice, start)
}

/// Returns how many threads serve sockets and hash; file work has threads of its own. More than a
/// few bring nothing, and each costs memory.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4))
}
