//! Failures as users see them: one cause per line, hints, and an exit code per cause
//! (`docs/user/exit-codes.md`).

use std::error::Error;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Instant;

use dhow_transport::Kind;

use crate::app::Voice;
use crate::render::{compat, streams};

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// The message, then its causes.
    chain: Vec<String>,
    hints: Vec<String>,
    /// The help of a command, which skopeo shows before some messages.
    help: Option<String>,
    /// It was told already, on stdout: only the exit code is left to be given.
    told: bool,
    /// It is not about an image that is missing, whatever the exit code.
    no_image: bool,
}

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something else went wrong.
    General = 1,
    /// An image, tag, repository or file does not exist.
    NotFound = 2,
    /// Credentials are missing, wrong, or not enough.
    Denied = 3,
    /// The registry asks to slow down.
    RateLimited = 4,
    /// A host cannot be reached, or does not answer in time.
    Unreachable = 5,
    /// A certificate is not trusted.
    Untrusted = 6,
    /// Content has the wrong digest or size, or policy says no.
    Verification = 7,
    /// A document is malformed, or a name is not one.
    Invalid = 8,
    /// The local file system refuses.
    Local = 9,
    /// What was asked for is not possible for this image or place.
    Unsupported = 10,
    /// Some images of many could not be copied; the others are there.
    Partial = 11,
    /// The command line is wrong (`EX_USAGE` of sysexits.h).
    Usage = 64,
    /// SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::NotFound => Self::NotFound,
            Kind::Denied | Kind::Unauthorized => Self::Denied,
            Kind::RateLimited => Self::RateLimited,
            Kind::Unreachable | Kind::Timeout => Self::Unreachable,
            Kind::Untrusted => Self::Untrusted,
            Kind::DigestMismatch | Kind::SizeMismatch | Kind::Rejected => Self::Verification,
            Kind::Invalid => Self::Invalid,
            Kind::Io | Kind::Exists => Self::Local,
            Kind::Unsupported | Kind::ManifestRejected => Self::Unsupported,
            Kind::Cancelled => Self::Interrupted,
            _ => Self::General,
        }
    }
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            chain: vec![message.into()],
            hints: Vec::new(),
            help: None,
            told: false,
            no_image: false,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds an error and its causes.
    pub(crate) fn caused_by(mut self, error: &dyn Error) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            self.add(error.to_string());
            cause = error.source();
        }
        self
    }

    /// Adds a cause in words.
    pub(crate) fn because(mut self, why: impl Into<String>) -> Self {
        self.add(why.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the help of a command, which skopeo shows before some messages.
    pub(crate) fn with_help(mut self, help: String) -> Self {
        self.help = Some(help);
        self
    }

    /// Says nothing more: all was told on stdout.
    pub(crate) fn told(mut self) -> Self {
        self.told = true;
        self
    }

    /// Makes this a plain failure for skopeo's callers: to them "not found" is about images that
    /// are read, not about repositories, files or what is to be deleted.
    pub(crate) fn no_image(mut self) -> Self {
        self.no_image = true;
        self
    }

    /// Says what went wrong on stderr and returns the exit code.
    pub(crate) fn report(&self, voice: Voice, start: Instant) -> ExitCode {
        match voice {
            Voice::Dhow => {
                if !self.told {
                    streams::eprint(&self.text());
                }
                ExitCode::from(self.exit.code())
            }
            Voice::Skopeo => {
                if let Some(help) = &self.help {
                    streams::eprint(&format!("{help}\n"));
                }
                compat::fatal(&self.chain.join(": "), start);
                // COMPAT(skopeo): 2 is "image not found", everything else is 1.
                ExitCode::from(if self.exit == Exit::NotFound && !self.no_image {
                    2
                } else {
                    1
                })
            }
        }
    }

    /// Says what went wrong on stderr, and no more: the program goes on.
    pub(crate) fn tell(&self, voice: Voice) {
        match voice {
            Voice::Dhow => streams::eprint(&self.text()),
            Voice::Skopeo => {
                let line = compat::line("error", &self.chain.join(": "), &[], Instant::now());
                streams::eprint(&format!("{line}\n"));
            }
        }
    }

    fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.chain[0]);
        for cause in &self.chain[1..] {
            text.push_str("  caused by: ");
            text.push_str(cause);
            text.push('\n');
        }
        for hint in &self.hints {
            text.push_str("\nhint: ");
            text.push_str(hint);
            text.push('\n');
        }
        text
    }

    /// Adds a cause that says something new.
    fn add(&mut self, cause: String) {
        if !self.chain.last().is_some_and(|last| last.ends_with(&cause)) {
            self.chain.push(cause);
        }
    }
}

impl From<dhow_ops::Error> for Failure {
    fn from(error: dhow_ops::Error) -> Self {
        let local = local_cause(&error);
        let exit = match (&error, error.kind()) {
            // A name that is none is a matter of the command line.
            (dhow_ops::Error::Name { .. }, _) => Exit::Usage,
            (_, Kind::Denied) if local.is_some() => Exit::Local,
            (_, Kind::Io) if local == Some(ErrorKind::NotFound) => Exit::NotFound,
            (_, kind) => Exit::of(kind),
        };
        let mut failure = Self {
            exit,
            chain: vec![error.to_string()],
            hints: error.hints(),
            help: None,
            told: false,
            no_image: local.is_some(),
        };
        if let Some(cause) = error.source() {
            failure = failure.caused_by(cause);
        }
        failure
    }
}

/// Returns what the operating system said, when it denied a file or has none of that name.
fn local_cause(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::PermissionDenied
            )
        {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_a_line_each_and_hints_come_last() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let failure = Failure::new(Exit::Local, "cannot read `a.json`")
            .caused_by(&missing)
            .hint("name a file that exists");
        assert_eq!(
            failure.text(),
            "error: cannot read `a.json`\n  caused by: entity not found\n\n\
             hint: name a file that exists\n"
        );
    }

    #[test]
    fn a_cause_that_repeats_what_was_said_is_left_out() {
        let failure = Failure::new(Exit::General, "cannot start: no memory")
            .caused_by(&std::io::Error::other("no memory"));
        assert_eq!(failure.text(), "error: cannot start: no memory\n");
    }

    #[test]
    fn causes_have_their_exit_codes() {
        for (kind, code) in [
            (Kind::Bug, 1),
            (Kind::NotFound, 2),
            (Kind::Unauthorized, 3),
            (Kind::Denied, 3),
            (Kind::RateLimited, 4),
            (Kind::Timeout, 5),
            (Kind::Untrusted, 6),
            (Kind::Rejected, 7),
            (Kind::SizeMismatch, 7),
            (Kind::Invalid, 8),
            (Kind::Io, 9),
            (Kind::Unsupported, 10),
        ] {
            assert_eq!(Exit::of(kind).code(), code, "{kind:?}");
        }
    }
}
