//! The ids that a user may give out: subuid(5), subgid(5).

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use dhow_config::EnvSnapshot;

use super::mapping::program;

/// Ids that belong to a user: `count` of them from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) count: u32,
}

/// A user as the files of the system know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) id: u32,
    /// All names of that id; most users have one.
    pub(super) names: Vec<String>,
}

/// Which ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    Users,
    Groups,
}

impl Ids {
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Users => "/etc/subuid",
            Self::Groups => "/etc/subgid",
        }
    }
}

impl User {
    /// Looks the names of a user up.
    pub(super) fn find(id: u32, environment: &EnvSnapshot) -> Self {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let mut names = names(&passwd, id);
        // Users that a directory service knows are not in the file.
        let said = ["USER", "LOGNAME"].map(|name| environment.variable(name));
        if let (true, Some(name)) = (names.is_empty(), said.into_iter().flatten().next()) {
            names.push(name.to_owned());
        }
        Self { id, names }
    }

    /// Returns how the user is called in messages and commands.
    pub(super) fn shown(&self) -> String {
        let name = self.names.first().cloned();
        name.unwrap_or_else(|| self.id.to_string())
    }

    /// Returns the user's ranges, in their order in the file; of a directory service when the file
    /// has none.
    pub(super) fn ranges(&self, ids: Ids, environment: &EnvSnapshot) -> Vec<Range> {
        let text = fs::read_to_string(ids.file()).unwrap_or_default();
        let found = parse(&text, self);
        if !found.is_empty() {
            return found;
        }
        self.asked(ids, environment).unwrap_or_default()
    }

    /// Asks the program that knows what nsswitch.conf says.
    fn asked(&self, ids: Ids, environment: &EnvSnapshot) -> Option<Vec<Range>> {
        let mut command = Command::new(program("getsubids", environment)?);
        if ids == Ids::Groups {
            command.arg("-g");
        }
        let answer = command.arg(OsStr::new(&self.shown())).output().ok()?;
        let answer = String::from_utf8(answer.stdout).ok()?;
        // Lines are `0: NAME START COUNT`.
        let ranges = answer.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip(2);
            range(words.next()?, words.next()?)
        });
        Some(ranges.collect())
    }
}

/// Returns the command that gives a user ids that nobody has.
pub(super) fn remedy(user: &str) -> String {
    let files = [Ids::Users, Ids::Groups].map(|ids| {
        let text = fs::read_to_string(ids.file()).unwrap_or_default();
        first_free(&text)
    });
    let start = files.into_iter().max().unwrap_or(FIRST);
    let end = start + USUAL - 1;
    format!("run `sudo usermod --add-subuids {start}-{end} --add-subgids {start}-{end} {user}`")
}

fn first_free(text: &str) -> u32 {
    let ends = text.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(1);
        let range = range(fields.next()?, fields.next()?)?;
        range.start.checked_add(range.count)
    });
    let end = ends.max().unwrap_or(FIRST).max(FIRST);
    end.min(u32::MAX - USUAL)
}

fn parse(text: &str, user: &User) -> Vec<Range> {
    let id = user.id.to_string();
    let ranges = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let own = name == id || user.names.iter().any(|known| known == name);
        let range = range(fields.next()?, fields.next()?)?;
        own.then_some(range)
    });
    ranges.collect()
}

fn range(start: &str, count: &str) -> Option<Range> {
    let (start, count) = (start.parse().ok()?, count.parse().ok()?);
    (count > 0).then_some(Range { start, count })
}

fn names(passwd: &str, id: u32) -> Vec<String> {
    let names = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let found: u32 = fields.nth(1)?.parse().ok()?;
        (found == id).then(|| name.to_owned())
    });
    names.collect()
}

/// Where ids for users begin that are not people, and how many useradd gives.
const FIRST: u32 = 100_000;
const USUAL: u32 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_every_name_and_by_number() {
        let user = User {
            id: 1000,
            names: vec!["u".to_owned(), "v".to_owned()],
        };
        let text = "root:1:2\nu:100000:65536\n# a comment\nuu:5:5\n1000:300000:10\nv:400000:1\n\
                    u:x:1\nu:7\nu:9:0\n";
        let ranges = [(100_000, 65_536), (300_000, 10), (400_000, 1)];
        let expected = ranges.map(|(start, count)| Range { start, count });
        assert_eq!(parse(text, &user), expected);
    }

    #[test]
    fn names_are_those_of_the_id() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nu:x:1000:7::/:\nbroken\nv:x:1000:8::/:\n";
        assert_eq!(names(passwd, 1000), ["u", "v"]);
        assert!(names(passwd, 7).is_empty());
    }

    #[test]
    fn ids_that_are_proposed_belong_to_nobody() {
        for (text, free) in [
            ("", 100_000),
            ("a:100000:65536\n", 165_536),
            ("a:165536:65536\nb:100000:65536\n", 231_072),
            ("a:1000:10\n", 100_000),
            ("a:4294967295:10\n", 100_000),
        ] {
            assert_eq!(first_free(text), free, "{text}");
        }
    }
}
