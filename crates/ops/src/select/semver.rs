//! Version ranges as skopeo's YAML files have them (the rules of Masterminds' semver, version 3).

use std::cmp::Ordering;

use regex::Regex;

use super::SelectError;

/// A range of versions: `>= 3.12, < 4 || 5.x`.
#[derive(Clone, Debug)]
pub struct SemverConstraint {
    /// One of these must hold.
    any: Vec<Group>,
}

/// Comparators that must all hold.
#[derive(Clone, Debug)]
struct Group(Vec<Comparator>);

/// A version (Semantic Versioning 2.0.0), without build metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    core: [u64; 3],
    before: Vec<String>,
}

#[derive(Clone, Debug)]
struct Comparator {
    operator: Operator,
    version: Version,
    /// How many parts were given, the others being wildcards: 0 to 3.
    given: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

impl Version {
    /// Parses a tag, leniently: `v1`, `1.2` and `1.2.3-rc.1+meta` are versions.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, metadata) = match text.split_once('+') {
            Some((text, metadata)) => (text, Some(metadata)),
            None => (text, None),
        };
        let (core, before) = match text.split_once('-') {
            Some((core, before)) => (core, Some(before)),
            None => (text, None),
        };
        let fine = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        let before: Vec<_> = before
            .into_iter()
            .flat_map(|text| text.split('.'))
            .collect();
        if !before.iter().all(|part| fine(part))
            || metadata.is_some_and(|text| !text.split('.').all(fine))
        {
            return None;
        }
        let mut numbers = [0; 3];
        let mut parts = core.split('.');
        for (place, number) in numbers.iter_mut().enumerate() {
            match parts.next() {
                Some(part) if part.chars().all(|c| c.is_ascii_digit()) => {
                    *number = part.parse().ok()?;
                }
                None if place > 0 => {}
                _ => return None,
            }
        }
        parts.next().is_none().then(|| Self {
            core: numbers,
            before: before.into_iter().map(str::to_owned).collect(),
        })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let before = || match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.before.iter().zip(&other.before);
                let mut orders = pairs.map(|(one, other)| identifier(one, other));
                orders
                    .find(|order| *order != Ordering::Equal)
                    .unwrap_or_else(|| self.before.len().cmp(&other.before.len()))
            }
        };
        self.core.cmp(&other.core).then_with(before)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares identifiers of pre-releases: numbers as numbers, and before words.
fn identifier(one: &str, other: &str) -> Ordering {
    match (one.parse::<u64>(), other.parse::<u64>()) {
        (Ok(one), Ok(other)) => one.cmp(&other),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => one.cmp(other),
    }
}

impl SemverConstraint {
    /// Parses a range.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let wrong = || {
            SelectError::new(format!("`{text}` is not a range of versions"))
                .with_hint("write it like `>= 3.12, < 4`, `~1.2`, `^2` or `1.x || 2.x`")
        };
        let pattern = Regex::new(COMPARATOR).map_err(|error| wrong().caused_by(error))?;
        let hyphen = Regex::new(HYPHEN).map_err(|error| wrong().caused_by(error))?;
        let groups = text.split("||").map(|group| {
            let group = hyphen.replace_all(group, ">=$1 <=$2");
            comparators(&pattern, &group).ok_or_else(wrong)
        });
        Ok(Self {
            any: groups.collect::<Result<_, _>>()?,
        })
    }

    /// Returns whether a tag is a version in the range.
    pub fn admits(&self, tag: &str) -> bool {
        Version::parse(tag).is_some_and(|version| self.any.iter().any(|all| all.admits(&version)))
    }
}

const COMPARATOR: &str = r"^[\s,]*(=>|=<|>=|<=|!=|~>|=|>|<|~|\^|)\s*v?([0-9]+|[xX*])(?:\.([0-9]+|[xX*]))?(?:\.([0-9]+|[xX*]))?(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?(?:[\s,]+|$)";
const HYPHEN: &str = r"([0-9A-Za-z.*+-]+)\s+-\s+([0-9A-Za-z.*+-]+)";

fn comparators(pattern: &Regex, group: &str) -> Option<Group> {
    let mut rest = group.trim();
    let mut all = Vec::new();
    while !rest.is_empty() {
        let found = pattern.captures(rest)?;
        let mut core = [0; 3];
        let mut given = 0;
        for (place, number) in core.iter_mut().enumerate() {
            let part = found.get(place + 2).map(|part| part.as_str());
            // What follows a wildcard is one, too.
            let Some(part) = part.filter(|part| !matches!(*part, "x" | "X" | "*")) else {
                break;
            };
            // A number that is too large must not pass for a wildcard.
            (*number, given) = (part.parse().ok()?, place + 1);
        }
        all.push(Comparator {
            operator: operator(&found[1]),
            version: Version {
                core,
                before: found.get(5).map_or_else(Vec::new, |text| {
                    text.as_str().split('.').map(str::to_owned).collect()
                }),
            },
            given,
        });
        rest = &rest[found[0].len()..];
    }
    (!all.is_empty()).then_some(Group(all))
}

fn operator(text: &str) -> Operator {
    match text {
        "!=" => Operator::NotEqual,
        ">" => Operator::Greater,
        "<" => Operator::Less,
        ">=" | "=>" => Operator::GreaterOrEqual,
        "<=" | "=<" => Operator::LessOrEqual,
        "~" | "~>" => Operator::Tilde,
        "^" => Operator::Caret,
        _ => Operator::Equal,
    }
}

impl Group {
    /// COMPAT(skopeo): since Masterminds' 3.4.0, one comparator with a pre-release lets the whole
    /// group see pre-releases: `>=1.0.0-0, <2` holds 1.5.0-rc.1.
    fn admits(&self, version: &Version) -> bool {
        let seen =
            version.before.is_empty() || self.0.iter().any(|one| !one.version.before.is_empty());
        seen && self.0.iter().all(|one| one.admits(version))
    }
}

impl Comparator {
    fn admits(&self, version: &Version) -> bool {
        let partial = self.given < 3;
        let within = self.shares(version, self.given);
        let order = version.core[..self.given].cmp(&self.version.core[..self.given]);
        match self.operator {
            Operator::NotEqual if partial => !within,
            Operator::NotEqual => *version != self.version,
            Operator::Equal if partial => *version >= self.version && within,
            Operator::Equal => *version == self.version,
            Operator::Greater if partial => order.is_gt(),
            Operator::Greater => *version > self.version,
            Operator::GreaterOrEqual => *version >= self.version,
            Operator::Less => *version < self.version,
            Operator::LessOrEqual if partial => order.is_le(),
            Operator::LessOrEqual => *version <= self.version,
            Operator::Tilde => *version >= self.version && self.shares(version, self.given.min(2)),
            Operator::Caret => *version >= self.version && self.shares(version, self.fixed()),
        }
    }

    fn shares(&self, version: &Version, parts: usize) -> bool {
        self.version.core[..parts] == version.core[..parts]
    }

    /// Returns how many parts a caret keeps: up to the first that is not zero.
    fn fixed(&self) -> usize {
        let first = self.version.core.iter().position(|part| *part > 0);
        first.map_or(self.given, |place| place + 1).min(self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_name() {
        for (range, inside, outside) in [
            (
                "1.2.3",
                &["1.2.3", "v1.2.3", "1.2.3+meta"][..],
                &["1.2.4", "1.2.3-rc1", "x"][..],
            ),
            ("= 1.2", &["1.2", "1.2.9"], &["1.3.0", "1.1.9", "1.2.0-rc1"]),
            ("1", &["1", "1.9.9"], &["2", "0.9"]),
            ("*", &["0.0.1", "9.9.9", "v3"], &["1.0.0-rc1", "latest"]),
            ("!=1.2.3", &["1.2.4"], &["1.2.3", "1.2.3-rc1", "1.3.0-rc1"]),
            ("!=1.2.x", &["1.3.0"], &["1.2.0", "1.2.9"]),
            (
                ">1.2.3",
                &["1.2.4", "2"],
                &["1.2.3", "1.2.3-rc1", "1.3.0-rc1"],
            ),
            (">1.2", &["1.3.0"], &["1.2.9", "1.2.0"]),
            (">11", &["12.0.0"], &["11.1.0"]),
            (
                ">= 3.12.0",
                &["3.12.0", "3.12", "4"],
                &["3.11.9", "3.12.0-rc1"],
            ),
            ("=>1.1", &["1.1.0"], &["1.0.9"]),
            ("<2", &["1.9.9"], &["2.0.0", "2"]),
            ("<=1.2", &["1.2.9", "1.0.0"], &["1.3.0"]),
            ("<=1.2.3", &["1.2.3"], &["1.2.4"]),
            ("=<11", &["11.9.0"], &["12.0.0"]),
            ("~1.2.3", &["1.2.3", "1.2.9"], &["1.3.0", "1.2.2"]),
            ("~>1.2", &["1.2.0", "1.2.9"], &["1.3.0"]),
            ("~1", &["1.0.0", "1.9.0"], &["2.0.0"]),
            ("^1.2.3", &["1.2.3", "1.9.0"], &["2.0.0", "1.2.2"]),
            ("^0.2.3", &["0.2.3", "0.2.9"], &["0.3.0", "1.0.0"]),
            ("^0.0.3", &["0.0.3"], &["0.0.4", "0.1.0"]),
            ("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]),
            ("^0", &["0.0.0", "0.9.9"], &["1.0.0"]),
            ("^2.x", &["2.0.0", "2.9.9"], &["3.0.0", "1.9.9"]),
            ("1.2 - 1.4.5", &["1.2.0", "1.4.5"], &["1.1.9", "1.4.6"]),
            (">=1.2, <1.4", &["1.2.0", "1.3.9"], &["1.4.0", "1.1.0"]),
            (">=1.2 <1.4", &["1.3.0"], &["1.4.0"]),
            ("<1 || >=2.1,<3", &["0.9.0", "2.5.0"], &["1.5.0", "3.0.0"]),
            (
                ">=1.2.0-0",
                &["1.2.0-alpha", "1.3.0-rc1", "1.2.0"],
                &["1.1.9"],
            ),
            (
                "~1.2.3-beta.2",
                &["1.2.3-beta.4", "1.2.3"],
                &["1.2.3-beta.1"],
            ),
            (
                ">=1.0.0-0 <2.0.0",
                &["1.0.0-alpha", "1.5.0-rc.1", "1.9.9", "2.0.0-rc.1"],
                &["0.9.9", "2.0.0", "2.0.1-rc.1"],
            ),
            (
                ">=1.0.0-0, !=1.2.3 || 3.x",
                &["1.2.3-rc1", "3.1.0"],
                &["1.2.3", "0.9.0-rc1"],
            ),
            ("<1.0.0-0 || 3.x", &["0.9.0-rc1", "3.0.0"], &["3.1.0-rc1"]),
            ("1.2-0", &["1.2.0-rc1", "1.2.9"], &["1.3.0-rc1", "1.1.9"]),
            ("1.x-beta", &["1.0.0-beta", "1.9.0-a"], &["1.0.0-alpha"]),
            ("^1-0", &["1.0.0-rc1", "1.9.0-rc1"], &["2.0.0-rc1"]),
            ("*-0", &["0.0.0-rc1", "9.0.0-rc1", "1.0.0"], &["latest"]),
            (">1.2-0", &["1.3.0-rc1"], &["1.2.9", "1.2.9-rc1"]),
            ("<=1.2-0", &["1.2.9", "1.2.9-rc1"], &["1.3.0-rc1"]),
        ] {
            let constraint = SemverConstraint::parse(range).unwrap();
            for tag in inside {
                assert!(constraint.admits(tag), "{range} {tag}");
            }
            for tag in outside {
                assert!(!constraint.admits(tag), "{range} {tag}");
            }
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "abc",
            ">",
            "1.2.3.4",
            ">= 1 ||",
            "1..2",
            "==1",
            "a - b",
            "1.2.3-a..b",
            "99999999999999999999",
            ">=1.99999999999999999999",
        ] {
            assert!(SemverConstraint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versions_are_ordered_with_their_pre_releases() {
        let ordered = [
            "1.0.0-1",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-rc.2",
            "1.0.0-rc.10",
            "1",
            "1.0.1",
            "1.10",
        ];
        for pair in ordered.windows(2) {
            let parse = |text: &str| Version::parse(text).unwrap();
            assert!(parse(pair[0]) < parse(pair[1]), "{pair:?}");
        }
        for text in ["", "v", "1.", "1.2.3.4", "1-", "1.x", "01a", "1.2.3+"] {
            assert!(Version::parse(text).is_none(), "{text}");
        }
    }
}
