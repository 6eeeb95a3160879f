//! Rules that change names on their way.

use regex::Regex;

use super::SelectError;
use super::tags::compile;

/// A rule: what matches is replaced, each time it occurs.
#[derive(Clone, Debug)]
pub struct Rename {
    regex: Regex,
    replacement: String,
}

impl Rename {
    /// Parses `REGEX=TEXT`. An equals sign in the expression is written `\=`; in the text `$1` and
    /// `${name}` stand for groups.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let mut before = '\0';
        let at = text.find(|c| {
            let found = c == '=' && before != '\\';
            before = c;
            found
        });
        let Some(at) = at.filter(|at| *at > 0) else {
            return Err(
                SelectError::new(format!("`{text}` is not a rule for names"))
                    .with_hint("write `REGEX=TEXT`, such as `^docker\\.io/library/=hub/`"),
            );
        };
        Ok(Self {
            regex: compile(&text[..at].replace("\\=", "="))?,
            replacement: text[at + 1..].to_owned(),
        })
    }

    /// Returns the name by this rule.
    pub fn apply(&self, name: &str) -> String {
        self.regex
            .replace_all(name, self.replacement.as_str())
            .into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rewritten_by_groups() {
        for (rule, name, expected) in [
            (
                "^docker\\.io/library/=hub/",
                "docker.io/library/alpine:3",
                "hub/alpine:3",
            ),
            ("^([^/]+)/(.*)$=$2-from-${1}x", "a.io/b:1", "b:1-from-a.iox"),
            ("a\\=b=c=d", "xa=b", "xc=d"),
            ("/=", "a/b/c", "abc"),
        ] {
            assert_eq!(Rename::parse(rule).unwrap().apply(name), expected, "{rule}");
        }
        for rule in ["", "=x", "abc", "(=x"] {
            assert!(Rename::parse(rule).is_err(), "{rule}");
        }
    }
}
