//! Names with wildcards: `copy-*`, `noop-?mall`.

/// Returns whether `name` fits `pattern`, in which `*` stands for any characters and `?` for one.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    matches(&pattern, &name)
}

fn matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            matches(rest, name) || matches!(name, [_, after @ ..] if matches(pattern, after))
        }
        (['?', rest @ ..], [_, after @ ..]) => matches(rest, after),
        ([wanted, rest @ ..], [found, after @ ..]) => wanted == found && matches(rest, after),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything_and_question_marks_for_one() {
        for (pattern, name, wanted) in [
            ("copy-small", "copy-small", true),
            ("copy-*", "copy-small", true),
            ("*-big", "from-oci-big", true),
            ("*oci*", "to-oci-multi", true),
            ("noop-?mall", "noop-small", true),
            ("*", "", true),
            ("copy", "copy-small", false),
            ("noop-?", "noop-", false),
            ("", "raw", false),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
