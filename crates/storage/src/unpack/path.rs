//! Where an entry goes, by its name alone.

use std::hash::{BuildHasher as _, RandomState};

/// The name of an entry, cleaned: without `.`, `..` and doubled slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The folder it goes into, without a slash at either end; empty: the root.
    pub(super) parent: Vec<u8>,
    /// Its own name; empty: it is the root itself.
    pub(super) base: Vec<u8>,
    /// What the archive may have only once.
    key: Vec<u8>,
}

impl Path {
    /// Cleans a name. A `..` at the root stays at the root, as it does in a file system.
    pub(super) fn of(name: &[u8]) -> Self {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut above = 0_usize;
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if parts.pop().is_none() {
                        above += 1;
                    }
                }
                part => parts.push(part),
            }
        }
        let joined = parts.join(&b'/');
        // COMPAT(podman): `a`, `/a` and `../a` are one file, and three names.
        let key = if name.starts_with(b"/") {
            [b"/", joined.as_slice()].concat()
        } else {
            [b"../".repeat(above), joined.clone()].concat()
        };
        let base = parts.pop().unwrap_or_default().to_vec();
        Self {
            parent: parts.join(&b'/'),
            base,
            key,
        }
    }

    /// Returns whether it is the root itself.
    pub(super) fn is_root(&self) -> bool {
        self.base.is_empty()
    }
}

/// Puts a name into a folder.
pub(super) fn join(parent: &[u8], base: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return base.to_vec();
    }
    [parent, b"/", base].concat()
}

/// Names that were there, each in eight bytes: a layer may have millions.
#[derive(Debug, Default)]
pub(super) struct Seen {
    hasher: RandomState,
    names: std::collections::HashSet<u64>,
}

impl Seen {
    /// Notes the name of an entry; returns whether it is a new one.
    pub(super) fn note(&mut self, path: &Path) -> bool {
        self.names.insert(self.hasher.hash_one(&path.key))
    }

    /// Returns whether something was unpacked under this cleaned name.
    pub(super) fn has(&self, whole: &[u8]) -> bool {
        self.names.contains(&self.hasher.hash_one(whole.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_never_lead_above_the_root() {
        for (name, parent, base, key) in [
            (&b"a"[..], &b""[..], &b"a"[..], &b"a"[..]),
            (b"./a/b/", b"a", b"b", b"a/b"),
            (b"/a//b", b"a", b"b", b"/a/b"),
            (b"../../a", b"", b"a", b"../../a"),
            (b"a/../../b", b"", b"b", b"../b"),
            (b"a/b/../c/./d", b"a/c", b"d", b"a/c/d"),
            (b".", b"", b"", b""),
            (b"/..", b"", b"", b"/"),
            (b"", b"", b"", b""),
        ] {
            let path = Path::of(name);
            let shown = name.escape_ascii();
            assert_eq!(path.parent, parent, "{shown}");
            assert_eq!(path.base, base, "{shown}");
            assert_eq!(path.key, key, "{shown}");
        }
    }
}
