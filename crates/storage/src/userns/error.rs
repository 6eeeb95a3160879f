//! Why a user namespace could not be entered, and the command that helps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::mapping::INSTALL;
use super::ranges::remedy;

/// What is not as it should be, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The fact.
    pub message: String,
    /// The action.
    pub hint: String,
}

/// Why a user namespace could not be entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system does not allow one.
    #[error("the system does not let you make a user namespace, which your storage needs: {why}")]
    Forbidden {
        /// What the system said.
        why: String,
    },
    /// A program that gives ids to the user namespace did not do so.
    #[error("`{}` gives no ids to the user namespace: {why}", program.display())]
    Program {
        /// newuidmap or newgidmap.
        program: PathBuf,
        /// What it said.
        why: String,
    },
    /// The system does not let ids be given to the user namespace.
    #[error("cannot write `{}`", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process is where it should be, without the rights it should have there.
    #[error("the user namespace has been entered, but does not give the rights that storage needs")]
    Powerless,
    /// The program could not be run again.
    #[error("cannot {what}")]
    Run {
        /// What did not work.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The program that was to enter went away.
    #[error("the program ended before it entered the user namespace")]
    Gone,
}

impl Error {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Forbidden { .. } | Self::Map { .. } | Self::Powerless => {
                Some(Limits::read().hint())
            }
            Self::Program { program, why } => Some(program_hint(program, why)),
            Self::Run { .. } | Self::Gone => None,
        }
    }

    pub(super) const fn run(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Run { what, source }
    }
}

fn program_hint(program: &Path, why: &str) -> String {
    let limits = Limits::read();
    if limits.are_set() {
        return limits.hint();
    }
    if why.contains("not allowed") || why.contains("uid range") || why.contains("gid range") {
        let user = rustix::process::getuid().as_raw().to_string();
        return format!(
            "see that the ranges in /etc/subuid and /etc/subgid are yours alone, or {}",
            remedy(&user)
        );
    }
    let shown = program.display();
    format!("give the program its rights back: run `sudo chmod u+s {shown}`; or {INSTALL}")
}

/// What an administrator can forbid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Limits {
    most_namespaces: Option<u64>,
    unprivileged: Option<u64>,
    apparmor: Option<u64>,
}

impl Limits {
    fn read() -> Self {
        let number = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
            text.trim().parse().ok()
        };
        Self {
            most_namespaces: number("user/max_user_namespaces"),
            unprivileged: number("kernel/unprivileged_userns_clone"),
            apparmor: number("kernel/apparmor_restrict_unprivileged_userns"),
        }
    }

    fn are_set(&self) -> bool {
        self.most_namespaces == Some(0)
            || self.unprivileged == Some(0)
            || self.apparmor.is_some_and(|level| level > 0)
    }

    fn hint(&self) -> String {
        if self.most_namespaces == Some(0) {
            return "run `sudo sysctl user.max_user_namespaces=15000`, or run dhow as root".into();
        }
        if self.unprivileged == Some(0) {
            return "run `sudo sysctl kernel.unprivileged_userns_clone=1`, or run dhow as root"
                .into();
        }
        if self.apparmor.is_some_and(|level| level > 0) {
            return "run `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or give dhow \
                    an AppArmor profile with `userns,`, or run it as root"
                .into();
        }
        "in a container, start it with `--privileged` or with `--cap-add=SYS_ADMIN \
         --security-opt=seccomp=unconfined`; elsewhere run dhow as root"
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_setting_that_forbids_it() {
        let free = Limits {
            most_namespaces: Some(15_000),
            unprivileged: Some(1),
            apparmor: Some(0),
        };
        for (limits, named) in [
            (
                Limits {
                    most_namespaces: Some(0),
                    ..free.clone()
                },
                "`sudo sysctl user.max_user_namespaces=15000`",
            ),
            (
                Limits {
                    unprivileged: Some(0),
                    ..free.clone()
                },
                "`sudo sysctl kernel.unprivileged_userns_clone=1`",
            ),
            (
                Limits {
                    apparmor: Some(1),
                    ..free.clone()
                },
                "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
            ),
            (free, "`--privileged`"),
        ] {
            assert!(limits.hint().contains(named), "{limits:?}");
        }
    }
}
