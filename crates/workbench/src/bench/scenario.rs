//! What is measured: the table of scenarios.

use super::glob;

/// One piece of work that every tool does.
#[derive(Debug)]
pub(super) struct Scenario {
    /// How it is named on the command line and in reports.
    pub(super) name: &'static str,
    /// What is done.
    pub(super) work: Work,
    /// The sample that it is done with.
    pub(super) sample: &'static str,
    /// What the destination holds before.
    pub(super) before: Before,
}

/// What a tool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Says its version.
    Startup,
    /// Shows an image: its manifest and its config are read.
    Inspect,
    /// Shows a manifest as it is.
    Raw,
    /// Lists the tags of a repository.
    ListTags,
    /// Copies from registry to registry.
    Copy,
    /// Copies from one repository to another of the same registry.
    Mount,
    /// Copies from a registry into an OCI layout.
    ToOci,
    /// Copies from an OCI layout to a registry.
    FromOci,
    /// Copies from a registry into an archive for `docker load`.
    ToArchive,
    /// Copies from an archive of `docker save`, whose layers are not compressed, to a registry.
    FromArchive,
    /// Copies from a registry into a plain directory.
    ToDir,
}

/// What the destination holds before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing.
    Empty,
    /// Everything that is copied there.
    Full,
}

impl Scenario {
    const fn new(name: &'static str, work: Work, sample: &'static str) -> Self {
        Self {
            name,
            work,
            sample,
            before: Before::Empty,
        }
    }

    const fn again(name: &'static str, sample: &'static str) -> Self {
        Self {
            name,
            work: Work::Copy,
            sample,
            before: Before::Full,
        }
    }
}

/// Returns the scenarios that fit one of the patterns, all without patterns; those with the big image
/// only if `big` says so. Each pattern must fit something.
pub(super) fn chosen(patterns: &[String], big: bool) -> Result<Vec<&'static Scenario>, String> {
    let there = |scenario: &&Scenario| big || scenario.sample != BIG;
    for pattern in patterns {
        let mut fitting = SCENARIOS
            .iter()
            .filter(|scenario| glob::fits(pattern, scenario.name))
            .peekable();
        if fitting.peek().is_none() {
            return Err(format!("no scenario fits `{pattern}`; `--list` shows them"));
        }
        if !fitting.any(|scenario| there(&scenario)) {
            return Err(format!("`{pattern}` needs `--big`"));
        }
    }
    let fits = |scenario: &&Scenario| {
        patterns.is_empty() || patterns.iter().any(|glob| glob::fits(glob, scenario.name))
    };
    Ok(SCENARIOS.iter().filter(there).filter(fits).collect())
}

/// The sample that takes time and memory.
pub(super) const BIG: &str = "big";

const SCENARIOS: [Scenario; 24] = [
    Scenario::new("startup", Work::Startup, "small"),
    Scenario::new("inspect", Work::Inspect, "small"),
    Scenario::new("raw", Work::Raw, "multi"),
    Scenario::new("list-tags", Work::ListTags, "small"),
    Scenario::new("copy-small", Work::Copy, "small"),
    Scenario::new("copy-many", Work::Copy, "many"),
    Scenario::new("copy-multi", Work::Copy, "multi"),
    Scenario::again("noop-small", "small"),
    Scenario::again("noop-many", "many"),
    Scenario::again("noop-multi", "multi"),
    Scenario::new("mount-small", Work::Mount, "small"),
    Scenario::new("mount-multi", Work::Mount, "multi"),
    Scenario::new("to-oci-small", Work::ToOci, "small"),
    Scenario::new("to-oci-multi", Work::ToOci, "multi"),
    Scenario::new("from-oci-small", Work::FromOci, "small"),
    Scenario::new("from-oci-multi", Work::FromOci, "multi"),
    Scenario::new("to-archive-small", Work::ToArchive, "small"),
    Scenario::new("from-archive-small", Work::FromArchive, "small"),
    Scenario::new("to-dir-small", Work::ToDir, "small"),
    Scenario::new("copy-big", Work::Copy, BIG),
    Scenario::new("to-oci-big", Work::ToOci, BIG),
    Scenario::new("from-oci-big", Work::FromOci, BIG),
    Scenario::new("to-archive-big", Work::ToArchive, BIG),
    Scenario::new("from-archive-big", Work::FromArchive, BIG),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patterns: &[&str], big: bool) -> Vec<&'static str> {
        let patterns: Vec<String> = patterns.iter().map(|&glob| glob.to_owned()).collect();
        let chosen = chosen(&patterns, big).unwrap_or_default();
        chosen.iter().map(|scenario| scenario.name).collect()
    }

    #[test]
    fn patterns_choose_in_the_order_of_the_table() {
        assert_eq!(names(&["raw", "startup"], false), ["startup", "raw"]);
        assert_eq!(
            names(&["noop-*"], false),
            ["noop-small", "noop-many", "noop-multi"]
        );
        assert!(chosen(&["raw".to_owned(), "nothing".to_owned()], false).is_err());
    }

    #[test]
    fn the_big_image_is_asked_for() {
        assert!(names(&["copy-big"], false).is_empty());
        assert_eq!(names(&["copy-big"], true), ["copy-big"]);
        assert_eq!(names(&[], true).len(), names(&[], false).len() + 5);
    }

    #[test]
    fn no_name_is_used_twice() {
        let mut names = names(&[], true);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCENARIOS.len());
    }
}
