//! Which tags of a repository: the same flags for `list-tags` and `sync`.

use clap::Args;
use dhow_ops::{SelectError, SemverConstraint, Since, TagFilter, TagRegex};

use crate::failure::Failure;

/// Flags that choose tags.
#[derive(Args, Clone, Debug)]
pub(crate) struct TagFilterArgs {
    /// Only tags that match this regular expression somewhere
    #[arg(long, value_name = "REGEX")]
    tags_regex: Option<String>,
    /// Only tags that are versions in this range, such as ">= 3.12, < 4"
    #[arg(long, value_name = "RANGE")]
    tags_semver: Option<String>,
    /// No tags that match this regular expression; may be given more than once
    #[arg(long, value_name = "REGEX")]
    exclude: Vec<String>,
    /// Only the N newest of these tags, by version
    #[arg(long, value_name = "N")]
    newest: Option<usize>,
    /// Only tags of images that were made since then: a date, a time, or how long ago, such as 72h or 30d
    #[arg(long, value_name = "DATE|DURATION")]
    newer_than: Option<String>,
}

impl TagFilterArgs {
    /// Returns the filter.
    pub(crate) fn filter(&self) -> Result<TagFilter, Failure> {
        let regex = |flag: &'static str| {
            move |text: &String| TagRegex::parse(text).map_err(|error| refuse(flag, &error))
        };
        let semver = self.tags_semver.as_deref().map(SemverConstraint::parse);
        let newer_than = self.newer_than.as_deref().map(Since::parse);
        Ok(TagFilter {
            regex: self
                .tags_regex
                .as_ref()
                .map(regex("tags-regex"))
                .transpose()?,
            semver: semver
                .transpose()
                .map_err(|error| refuse("tags-semver", &error))?,
            exclude: self
                .exclude
                .iter()
                .map(regex("exclude"))
                .collect::<Result<_, _>>()?,
            newest: self.newest,
            newer_than: newer_than
                .transpose()
                .map_err(|error| refuse("newer-than", &error))?,
        })
    }
}

/// Returns the failure for a flag whose value makes no sense.
pub(crate) fn refuse(flag: &str, error: &SelectError) -> Failure {
    let failure =
        Failure::usage(format!("the value of `--{flag}` makes no sense")).caused_by(error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
