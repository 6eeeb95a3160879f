//! Which tags somebody may have meant.

use dhow_model::Tag;

use crate::RepositoryClient;

/// How many tags a hint names.
const MOST: usize = 3;
/// How many tags of the first page are looked at.
const MAX_TAGS: usize = 10_000;

/// Returns a hint that names tags near to one that is not there. One request, and no error: this
/// is only help.
pub(crate) async fn hint(client: &RepositoryClient, tag: &Tag) -> Option<String> {
    let tags = client.first_tags().await.ok()?;
    let near = nearest(tag.as_str(), tags.iter().take(MAX_TAGS).map(Tag::as_str));
    if near.is_empty() {
        return None;
    }
    let names: Vec<_> = near.iter().map(|tag| format!("`{tag}`")).collect();
    Some(format!("near tags are {}", names.join(", ")))
}

fn nearest<'a>(wanted: &str, tags: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let farthest = (wanted.len() / 3).max(2);
    let mut scored: Vec<(usize, &str)> = tags
        .filter_map(|tag| {
            let distance = distance(wanted, tag);
            let extends = tag.starts_with(wanted) || wanted.starts_with(tag);
            (distance <= farthest || extends).then_some((distance, tag))
        })
        .collect();
    scored.sort_unstable();
    scored.into_iter().take(MOST).map(|(_, tag)| tag).collect()
}

/// Returns how many characters must be inserted, removed or replaced (tags are ASCII).
fn distance(one: &str, other: &str) -> usize {
    let other = other.as_bytes();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, a) in one.bytes().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (at, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_tags_are_found() {
        let tags = ["v1.0", "v1.1", "v2.0", "latest", "v1.0-alpine", "sha-12345"];
        let near = |wanted| nearest(wanted, tags.iter().copied());
        assert_eq!(near("v1.o"), ["v1.0", "v1.1", "v2.0"]);
        assert_eq!(near("lates"), ["latest"]);
        assert_eq!(near("v1"), ["v1.0", "v1.1", "v1.0-alpine"]);
        assert!(near("nothing-like-it").is_empty());
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
