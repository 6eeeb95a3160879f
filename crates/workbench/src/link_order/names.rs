//! Names of functions, written so that other builds have them, too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

/// The functions that ran, and in which commands.
#[derive(Debug, Default)]
pub(super) struct List {
    functions: BTreeMap<String, BTreeSet<usize>>,
    commands: usize,
}

impl List {
    /// Adds the functions of one recording of callgrind, those alone that the program itself defines.
    pub(super) fn add(&mut self, recording: &str, defined: &[String]) {
        let defined: HashSet<&str> = defined.iter().map(String::as_str).collect();
        let names = recording.lines().filter_map(function);
        let names = names.filter(|name| defined.contains(name));
        let names: HashSet<String> = names.map(in_every_build).collect();
        for name in names {
            let commands = self.functions.entry(name).or_default();
            commands.insert(self.commands);
        }
        self.commands += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.functions.len()
    }
}

impl fmt::Display for List {
    /// Writes what most commands run first, and beside each other what the same commands run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut functions: Vec<(&String, &BTreeSet<usize>)> = self.functions.iter().collect();
        functions.sort_by_key(|(_, commands)| (Reverse(commands.len()), *commands));
        let mut names = functions.iter();
        names.try_for_each(|(name, _)| writeln!(f, "{name}"))
    }
}

/// Returns how many lines of a list stand for a function of a build, and how many there are.
pub(super) fn known(list: &str, defined: &[String]) -> (usize, usize) {
    let defined: HashSet<String> = defined.iter().map(|name| in_every_build(name)).collect();
    let all = list.lines().count();
    let known = list.lines().filter(|line| defined.contains(*line)).count();
    (known, all)
}

/// Returns the name in a line such as `fn=(12) name` or `cfn=(12) name'2`; later lines have the
/// number alone.
fn function(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('c').unwrap_or(line);
    let (_, name) = rest.strip_prefix("fn=(")?.split_once(") ")?;
    let name = name.split('\'').next().unwrap_or(name);
    // Others would mean something in a linker script.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// Returns a name as a pattern: in the place of what tells two builds of a crate apart, `Cs…_` in
/// Rust's names (RFC 2603), stands a star. Of names without end the middle is left out.
fn in_every_build(name: &str) -> String {
    if !name.starts_with("_R") {
        return name.to_owned();
    }
    let mut pattern = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(place) = rest.find("Cs") {
        let (before, after) = rest.split_at(place + 2);
        pattern.push_str(before);
        let hash = after.find(|c: char| !c.is_ascii_alphanumeric());
        rest = match hash {
            Some(end) if end > 0 && after[end..].starts_with('_') => {
                pattern.push('*');
                &after[end..]
            }
            _ => after,
        };
    }
    pattern.push_str(rest);
    // A number that the compiler gave to one of several of this name.
    if let Some((before, number)) = pattern.rsplit_once('.')
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        pattern = format!("{before}.*");
    }
    if pattern.len() > HEAD + TAIL {
        let tail = pattern.split_off(pattern.len() - TAIL);
        pattern.truncate(HEAD);
        pattern = format!("{pattern}*{tail}");
    }
    pattern
}

/// How much is kept of a name without end, in bytes. Many begin alike, and end with what tells them
/// apart.
const HEAD: usize = 140;
const TAIL: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_commands_run_comes_first() {
        let recording = "fn=(1) _RNvCs1aB_4dhow4main\ncfn=(2) ZSTD_x'2\nfn=(1)\nfn=(3) (below main)\nfn=(4) strlen\nfl=(1) x\n";
        let defined = ["_RNvCs1aB_4dhow4main", "ZSTD_x", "early"].map(str::to_owned);
        let mut list = List::default();
        list.add(recording, &defined);
        list.add(recording, &defined);
        list.add("fn=(1) early\n", &defined);
        assert_eq!(list.to_string(), "ZSTD_x\n_RNvCs*_4dhow4main\nearly\n");
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn names_are_those_of_every_build() {
        for (name, expected) in [
            ("inflate", "inflate"),
            (
                "_RNvNtCsbDqzXfLQacH_4core3fmt5write",
                "_RNvNtCs*_4core3fmt5write",
            ),
            (
                "_RINvNtCs4fqI2P2rA04_4core3mem4dropNtCsaaa_5tokio1XECsbbb_4dhow",
                "_RINvNtCs*_4core3mem4dropNtCs*_5tokio1XECs*_4dhow",
            ),
            ("_RNvC3foo3Cs", "_RNvC3foo3Cs"),
            ("_RNvCsaB_3foo3bar.44", "_RNvCs*_3foo3bar.*"),
        ] {
            assert_eq!(in_every_build(name), expected);
        }
        let long = format!("_R{}{}", "a".repeat(300), "b".repeat(TAIL));
        let pattern = in_every_build(&long);
        assert_eq!(pattern.len(), HEAD + 1 + TAIL);
        assert!(pattern.ends_with(&format!("a*{}", "b".repeat(TAIL))));
    }

    #[test]
    fn another_build_is_known_by_its_names() {
        let list = "_RNvCs*_4dhow4main\ngone\n";
        let defined = ["_RNvCsother_4dhow4main".to_owned()];
        assert_eq!(known(list, &defined), (1, 2));
    }
}
