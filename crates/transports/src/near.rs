//! What somebody may have meant.

/// Returns the names that are near to `wanted`, the nearest first, three at most.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let farthest = (wanted.len() / 3).clamp(1, 4);
    let mut near: Vec<(usize, &str)> = names
        .take(MOST_LOOKED_AT)
        .filter(|name| name.len() <= MAX_LENGTH && wanted.len() <= MAX_LENGTH)
        .map(|name| (distance(wanted, name), name))
        .filter(|(distance, name)| {
            let extends = name.starts_with(wanted) || wanted.starts_with(name);
            *distance <= farthest || (extends && !name.is_empty() && !wanted.is_empty())
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(MOST).map(|(_, name)| name).collect()
}

/// Returns how many bytes must be inserted, removed or replaced.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, a) in one.bytes().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (at, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// How many names are returned.
const MOST: usize = 3;

/// How many names are compared: this is only help, and must not take long.
const MOST_LOOKED_AT: usize = 10_000;

/// Longer names are nobody's typing mistake.
const MAX_LENGTH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_others_are_not() {
        let names = ["centos:7", "centos:8", "centos:7.9", "latest"];
        for (wanted, near) in [
            ("centos:9", vec!["centos:7", "centos:8", "centos:7.9"]),
            ("centos", vec!["centos:7", "centos:8", "centos:7.9"]),
            ("lates", vec!["latest"]),
            ("debian", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(nearest(wanted, names.into_iter()), near, "{wanted}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
