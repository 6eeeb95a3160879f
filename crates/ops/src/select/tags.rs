//! Filters for tags.

use std::cmp::Ordering;
use std::fmt;

use dhow_model::Digest;
use regex::{Regex, RegexBuilder};

use super::semver::{SemverConstraint, Version};
use super::{SelectError, Since};

/// The largest compiled expression, in bytes.
const MAX_PROGRAM: usize = 1 << 20;

/// A regular expression (RE2 syntax) that is looked for anywhere in a tag.
#[derive(Clone)]
pub struct TagRegex(Regex);

impl TagRegex {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        compile(text).map(Self)
    }

    /// Returns whether the expression matches somewhere in the tag.
    pub fn is_match(&self, tag: &str) -> bool {
        self.0.is_match(tag)
    }
}

pub(super) fn compile(text: &str) -> Result<Regex, SelectError> {
    RegexBuilder::new(text)
        .size_limit(MAX_PROGRAM)
        .build()
        .map_err(|error| {
            SelectError::new(format!("`{text}` is not a regular expression"))
                .with_hint("quote it for the shell, and write `\\.` for a dot")
                .caused_by(error)
        })
}

impl fmt::Display for TagRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for TagRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TagRegex({:?})", self.0.as_str())
    }
}

/// Which tags are meant. By default all.
#[derive(Clone, Debug, Default)]
pub struct TagFilter {
    /// Only those that match.
    pub regex: Option<TagRegex>,
    /// Only those that are versions in a range.
    pub semver: Option<SemverConstraint>,
    /// None that match one of these.
    pub exclude: Vec<TagRegex>,
    /// Only so many of them, the newest by version; tags that are no versions count as older, and those
    /// made of digests are none of them: they belong to images, and are no versions of one.
    pub newest: Option<usize>,
    /// Only those of images that were made since then. The name does not tell: who has the image asks.
    pub newer_than: Option<Since>,
}

impl TagFilter {
    /// Returns whether a tag is let through by all but number and date.
    pub fn admits(&self, tag: &str) -> bool {
        self.regex.as_ref().is_none_or(|regex| regex.is_match(tag))
            && self.semver.as_ref().is_none_or(|range| range.admits(tag))
            && !self.exclude.iter().any(|regex| regex.is_match(tag))
            && (!self.is_for_versions() || digest_tag_subject(tag).is_none())
    }

    /// Returns whether it chooses among the versions of an image, to which tags made of digests do not
    /// belong.
    pub(crate) const fn is_for_versions(&self) -> bool {
        self.newest.is_some() || self.newer_than.is_some()
    }

    /// Returns the tags that are let through by all but the date, in their order.
    pub fn apply(&self, mut tags: Vec<String>) -> Vec<String> {
        tags.retain(|tag| self.admits(tag));
        match self.newest {
            Some(newest) => first(tags, newest),
            None => tags,
        }
    }

    /// Returns whether every tag is let through.
    pub fn is_everything(&self) -> bool {
        self.regex.is_none()
            && self.semver.is_none()
            && self.exclude.is_empty()
            && !self.is_for_versions()
    }
}

/// Returns the newest of the tags by version, in their order.
pub(crate) fn first(mut tags: Vec<String>, newest: usize) -> Vec<String> {
    if newest >= tags.len() {
        return tags;
    }
    let mut keeps = vec![false; tags.len()];
    for place in &ranked(&tags)[..newest] {
        keeps[*place] = true;
    }
    let mut places = keeps.into_iter();
    tags.retain(|_| places.next().unwrap_or_default());
    tags
}

/// Returns the tags by version, the newest first.
pub(crate) fn by_version(mut tags: Vec<String>) -> Vec<String> {
    let order = ranked(&tags);
    let taken = order.into_iter();
    taken
        .map(|place| std::mem::take(&mut tags[place]))
        .collect()
}

fn ranked(tags: &[String]) -> Vec<usize> {
    let mut ranked: Vec<usize> = (0..tags.len()).collect();
    ranked.sort_by(|one, other| age(&tags[*one], &tags[*other]));
    ranked
}

/// Orders tags: the newest first.
fn age(one: &str, other: &str) -> Ordering {
    match (Version::parse(one), Version::parse(other)) {
        (Some(left), Some(right)) => right.cmp(&left).then_with(|| natural(other, one)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => natural(other, one),
    }
}

/// Compares texts so that numbers in them count as numbers: `build-9` before `build-10`.
fn natural(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let (left, rest) = chunk(one);
        let (right, other_rest) = chunk(other);
        let order = match (number(left), number(right)) {
            (Some(left), Some(right)) => left.len().cmp(&right.len()).then(left.cmp(right)),
            _ => left.cmp(right),
        };
        if order != Ordering::Equal || (rest.is_empty() && other_rest.is_empty()) {
            return order.then(rest.len().cmp(&other_rest.len()));
        }
        (one, other) = (rest, other_rest);
    }
}

/// Splits off a run of digits, or of other characters.
fn chunk(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits);
    text.split_at(end.unwrap_or(text.len()))
}

/// Returns the digits of a number without leading zeros.
fn number(text: &str) -> Option<&str> {
    text.starts_with(|c: char| c.is_ascii_digit())
        .then(|| text.trim_start_matches('0'))
}

/// Returns the digest that a tag is made of: `sha256-<hex>`, alone or with a suffix such as `.sig`.
pub fn digest_tag_subject(tag: &str) -> Option<Digest> {
    let (algorithm, rest) = tag.split_once('-')?;
    let hex = match rest.split_once('.') {
        Some((hex, suffix)) if !suffix.is_empty() => hex,
        Some(_) => return None,
        None => rest,
    };
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(tags: &[&str]) -> Vec<String> {
        tags.iter().map(|tag| (*tag).to_owned()).collect()
    }

    #[test]
    fn filters_let_through_what_they_name_in_the_order_of_the_list() {
        let all = [
            "latest",
            "1.2",
            "v1.10.0",
            "1.9.3",
            "1.10.0-rc1",
            "build-9",
            "build-10",
        ];
        let regex = |text: &str| TagRegex::parse(text).unwrap();
        for (filter, expected) in [
            (TagFilter::default(), &all[..]),
            (
                TagFilter {
                    regex: Some(regex("^build")),
                    ..TagFilter::default()
                },
                &["build-9", "build-10"],
            ),
            (
                TagFilter {
                    regex: Some(regex("9")),
                    ..TagFilter::default()
                },
                &["1.9.3", "build-9"],
            ),
            (
                TagFilter {
                    exclude: vec![regex("rc"), regex("^[a-z]+")],
                    ..TagFilter::default()
                },
                &["1.2", "1.9.3"],
            ),
            (
                TagFilter {
                    semver: SemverConstraint::parse(">=1.9").ok(),
                    ..TagFilter::default()
                },
                &["v1.10.0", "1.9.3"],
            ),
            (
                TagFilter {
                    newest: Some(2),
                    ..TagFilter::default()
                },
                &["v1.10.0", "1.10.0-rc1"],
            ),
            (
                TagFilter {
                    newest: Some(0),
                    ..TagFilter::default()
                },
                &[],
            ),
            (
                TagFilter {
                    regex: Some(regex("build|latest")),
                    newest: Some(1),
                    ..TagFilter::default()
                },
                &["latest"],
            ),
            (
                TagFilter {
                    regex: Some(regex("build")),
                    newest: Some(1),
                    ..TagFilter::default()
                },
                &["build-10"],
            ),
        ] {
            assert_eq!(filter.apply(strings(&all)), expected, "{filter:?}");
        }
        let signature = format!("sha256-{}.sig", "f".repeat(64));
        let signed = || strings(&["old", &signature, "1.0"]);
        let newest = |newest| TagFilter {
            newest,
            ..TagFilter::default()
        };
        assert_eq!(newest(Some(2)).apply(signed()), ["old", "1.0"]);
        assert_eq!(newest(None).apply(signed()), signed());
        assert!(TagRegex::parse("(").is_err());
        assert!(TagRegex::parse(&"(a{1000}){1000}".repeat(9)).is_err());
    }

    #[test]
    fn tags_made_of_digests_name_their_subject() {
        let hex = "a".repeat(64);
        for (tag, found) in [
            (format!("sha256-{hex}"), true),
            (format!("sha256-{hex}.sig"), true),
            (format!("sha256-{hex}.att"), true),
            (format!("sha256-{hex}."), false),
            (format!("sha256-{}", &hex[1..]), false),
            (format!("sha1-{hex}"), false),
            ("latest".to_owned(), false),
        ] {
            assert_eq!(digest_tag_subject(&tag).is_some(), found, "{tag}");
        }
    }
}
