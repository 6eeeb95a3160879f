//! Giving ids to the user namespace of another process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use dhow_config::EnvSnapshot;

use super::error::{Error, Fault};
use super::needed::{MAPS_IDS, effective};
use super::ranges::{Ids, Range, User, remedy};

/// The ids that a user namespace gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// The user's own, and those of ranges, set by programs that may do that.
    Ranges {
        programs: [PathBuf; 2],
        ranges: [Vec<Range>; 2],
    },
    /// All that the process has itself: it is root without some of root's rights.
    Same([String; 2]),
    /// The user's own only.
    Single,
}

impl Mapping {
    /// Decides, and tells `tell` when it is not all that it should be.
    pub(super) fn choose(environment: &EnvSnapshot, tell: &mut dyn FnMut(&Fault)) -> Self {
        let own = rustix::process::geteuid();
        let maps_ids = effective().is_some_and(|bits| bits & MAPS_IDS == MAPS_IDS);
        if own.is_root() && maps_ids {
            let map = |file| same(&fs::read_to_string(file).unwrap_or_default());
            return Self::Same([map("/proc/self/uid_map"), map("/proc/self/gid_map")]);
        }
        let user = User::find(own.as_raw(), environment);
        let ranges = [Ids::Users, Ids::Groups].map(|ids| user.ranges(ids, environment));
        let empty = [Ids::Users, Ids::Groups].into_iter().zip(&ranges);
        let empty: Vec<&str> = empty
            .filter(|(_, ranges)| ranges.is_empty())
            .map(|(ids, _)| ids.file())
            .collect();
        if !empty.is_empty() {
            let shown = user.shown();
            tell(&Fault {
                message: format!(
                    "user `{shown}` has no ids in {}: files of other owners than yourself cannot \
                     be stored",
                    empty.join(" and ")
                ),
                hint: remedy(&shown),
            });
            return Self::Single;
        }
        let [users, groups] = PROGRAMS.map(|name| program(name, environment));
        match (users, groups) {
            (Some(users), Some(groups)) => Self::Ranges {
                programs: [users, groups],
                ranges,
            },
            (users, _) => {
                let missing = PROGRAMS[usize::from(users.is_some())];
                tell(&Fault {
                    message: format!(
                        "`{missing}` is not installed: files of other owners than yourself cannot \
                         be stored"
                    ),
                    hint: INSTALL.to_owned(),
                });
                Self::Single
            }
        }
    }

    /// Gives the ids to the user namespace of the process `id`, which has none yet.
    pub(super) fn apply(&self, id: u32) -> Result<(), Error> {
        let own = [
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        ];
        let file = |name: &str| PathBuf::from(format!("/proc/{id}/{name}"));
        let write = |name: &str, text: &str| {
            let path = file(name);
            fs::write(&path, text).map_err(|source| Error::Map { path, source })
        };
        match self {
            Self::Ranges { programs, ranges } => {
                let mut sides = programs.iter().zip(ranges).zip(own);
                sides.try_for_each(|((program, ranges), own)| set(program, id, own, ranges))
            }
            Self::Same([users, groups]) => {
                write("uid_map", users)?;
                write("gid_map", groups)
            }
            Self::Single => {
                // SPEC: user_namespaces(7): else who has no rights may not map a group.
                write("setgroups", "deny")?;
                write("uid_map", &format!("0 {} 1", own[0]))?;
                write("gid_map", &format!("0 {} 1", own[1]))
            }
        }
    }
}

/// Returns the map for a namespace inside of one with this map, in which all ids are the same.
fn same(map: &str) -> String {
    let lines = map.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (start, count) = (words.next()?, words.nth(1)?);
        Some(format!("{start} {start} {count}\n"))
    });
    lines.collect()
}

/// Runs newuidmap or newgidmap.
fn set(program: &Path, id: u32, own: u32, ranges: &[Range]) -> Result<(), Error> {
    let mut command = Command::new(program);
    command.args([id, 0, own, 1].map(|number| number.to_string()));
    for (inside, range) in placed(ranges) {
        command.args([inside, range.start, range.count].map(|number| number.to_string()));
    }
    let output = command.output().map_err(|source| Error::Program {
        program: program.to_owned(),
        why: source.to_string(),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Program {
        program: program.to_owned(),
        why: said.trim().chars().take(MOST_OF_A_MESSAGE).collect(),
    })
}

/// Returns where ranges are inside: one behind the other, from 1 on.
fn placed(ranges: &[Range]) -> Vec<(u32, Range)> {
    let mut next = 1_u32;
    let mut placed = Vec::new();
    for range in ranges {
        let count = range.count.min(u32::MAX - next);
        if count == 0 {
            break;
        }
        placed.push((next, Range { count, ..*range }));
        next += count;
    }
    placed
}

/// Finds a program where the shell would.
pub(super) fn program(name: &str, environment: &EnvSnapshot) -> Option<PathBuf> {
    let folders = environment.variable("PATH").unwrap_or(USUAL_PATH);
    folders
        .split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| Path::new(folder).join(name))
        .find(|path| {
            fs::metadata(path)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

const PROGRAMS: [&str; 2] = ["newuidmap", "newgidmap"];
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
pub(super) const INSTALL: &str = "run `sudo apt-get install uidmap` (Debian, Ubuntu) or `sudo dnf install shadow-utils` (Fedora, \
     RHEL)";
/// In characters.
const MOST_OF_A_MESSAGE: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stand_one_behind_the_other_after_the_users_own_id() {
        let range = |start, count| Range { start, count };
        let placed_all = placed(&[range(100_000, 65_536), range(300_000, 10)]);
        let expected = [(1, range(100_000, 65_536)), (65_537, range(300_000, 10))];
        assert_eq!(placed_all, expected);
        let too_many = placed(&[range(5, u32::MAX), range(1, 1)]);
        assert_eq!(too_many, [(1, range(5, u32::MAX - 1))]);
    }

    #[test]
    fn root_without_rights_keeps_the_ids_it_has() {
        let map = "         0       1001          1\n         1     100000      65536\n";
        assert_eq!(same(map), "0 0 1\n1 1 65536\n");
    }
}
