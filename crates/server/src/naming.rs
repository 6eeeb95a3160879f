//! Which repository and tag an entry of a layout's `index.json` is.
//!
//! | `org.opencontainers.image.ref.name` | repository | tag |
//! |---|---|---|
//! | `centos:7` | `centos` | `7` |
//! | `rhel7/extra:v1` | `rhel7/extra` | `v1` |
//! | `quay.io/a/b:c` | `quay.io/a/b` | `c` |
//! | `7` | the directory's name | `7` |
//! | `a/b` | `a/b` | `latest` |
//! | none | the directory's name | none: by digest only |
//!
//! What cannot be a repository's name is lower-cased, and other characters become `-`.
//! An entry that was pushed by digest has no name but the annotation `dev.dhow.repository`: the
//! repositories that have it, with spaces between.

use std::path::Path;

use dhow_model::{Annotations, Descriptor, Repository, Tag};

/// The rules above, for one directory.
#[derive(Debug)]
pub(crate) struct Naming {
    own: String,
}

impl Naming {
    pub(crate) fn for_directory(path: &Path) -> Self {
        let path = path
            .canonicalize()
            .or_else(|_| std::path::absolute(path))
            .unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::new(&name)
    }

    pub(crate) fn new(name: &str) -> Self {
        Self {
            own: repository(&name.replace('/', "-")).unwrap_or_else(|| "layout".to_owned()),
        }
    }

    /// Returns repository and tag of an entry's name.
    pub(crate) fn split(&self, name: &str) -> Option<(String, String)> {
        let name = name.split('@').next().unwrap_or_default();
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match name[last..].rfind(':') {
            Some(colon) => (&name[..last + colon], &name[last + colon + 1..]),
            None if last == 0 => (self.own.as_str(), name),
            None => (name, "latest"),
        };
        Tag::parse(tag).ok()?;
        Some((repository(path)?, tag.to_owned()))
    }

    /// Returns repository and tag of an entry.
    pub(crate) fn place(&self, entry: &Descriptor) -> Option<(String, String)> {
        self.split(entry.annotations.value(Annotations::REF_NAME)?)
    }

    /// Returns the repositories in which an entry can be had by digest for other reasons than its
    /// name.
    pub(crate) fn unnamed_places(&self, entry: &Descriptor) -> Vec<String> {
        match entry.annotations.value(REPOSITORY_ANNOTATION) {
            Some(list) => list
                .split(' ')
                .filter(|name| is_repository(name))
                .map(str::to_owned)
                .collect(),
            None if self.place(entry).is_none() => vec![self.own.clone()],
            None => Vec::new(),
        }
    }
}

/// Returns whether `name` can stand in a URL between `/v2/` and `/manifests/`.
pub(crate) fn is_repository(name: &str) -> bool {
    // A registry in front keeps the grammar from taking the first component for one.
    Repository::parse(&format!("localhost/{name}")).is_ok_and(|parsed| parsed.path() == name)
}

/// Returns `text` as a repository's name, changed as little as possible.
fn repository(text: &str) -> Option<String> {
    if is_repository(text) {
        return Some(text.to_owned());
    }
    let components: Vec<String> = text
        .to_lowercase()
        .split('/')
        .map(component)
        .filter(|component| !component.is_empty())
        .collect();
    let name = components.join("/");
    is_repository(&name).then_some(name)
}

fn component(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut separator = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            if !name.is_empty() && !separator.is_empty() {
                let fits = matches!(separator.as_str(), "." | "_" | "__")
                    || separator.bytes().all(|byte| byte == b'-');
                name.push_str(if fits { &separator } else { "-" });
            }
            separator.clear();
            name.push(character);
        } else {
            separator.push(character);
        }
    }
    name
}

/// The annotation of an entry that was pushed by digest: in which repositories, with spaces
/// between.
pub(crate) const REPOSITORY_ANNOTATION: &str = "dev.dhow.repository";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_repositories_and_tags() {
        let naming = Naming::new("My Target_");
        for (name, expected) in [
            ("centos:7", Some(("centos", "7"))),
            ("rhel7/extra:v1", Some(("rhel7/extra", "v1"))),
            ("7", Some(("my-target", "7"))),
            ("V1.0-x", Some(("my-target", "V1.0-x"))),
            ("quay.io/a/b:c", Some(("quay.io/a/b", "c"))),
            ("localhost:5000/a:c", Some(("localhost-5000/a", "c"))),
            ("a/b", Some(("a/b", "latest"))),
            ("a/b:c@sha256:00", Some(("a/b", "c"))),
            ("Centos:7", Some(("centos", "7"))),
            ("../../etc/passwd:1", Some(("etc/passwd", "1"))),
            ("", None),
            (":", None),
            ("a:b:", None),
            ("..", None),
            ("日本:7", None),
        ] {
            let split = naming.split(name);
            let split = split.as_ref().map(|(a, b)| (a.as_str(), b.as_str()));
            assert_eq!(split, expected, "{name}");
        }
    }

    #[test]
    fn hostile_names_are_no_repositories() {
        for bad in [
            "", "..", "a/../b", "/a", "a/", "A", "a:b", "a@b", "a b", "a\0", "a//b", "_a",
        ] {
            assert!(!is_repository(bad), "{bad}");
        }
        assert!(!is_repository(&"a".repeat(300)));
        assert!(is_repository("library/centos"));
    }
}
