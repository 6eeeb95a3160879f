//! What is in a folder, so that two can be compared.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use dhow_model::Digest;

/// Everything in a folder, by its path there: what it is, and whose, in words.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(inside) = waiting.pop() {
        let path = root.join(&inside);
        let about = fs::symlink_metadata(&path).unwrap();
        if about.is_dir() {
            let names = fs::read_dir(&path).unwrap();
            waiting.extend(names.map(|name| inside.join(name.unwrap().file_name())));
        }
        all.insert(inside, told(&path, &about));
    }
    all
}

fn told(path: &Path, about: &fs::Metadata) -> String {
    let mut told = format!("{:o} {}:{}", about.mode(), about.uid(), about.gid());
    if about.is_file() {
        let content = Digest::sha256(&fs::read(path).unwrap());
        write!(told, " {} names, {content}", about.nlink()).unwrap();
    } else if about.is_symlink() {
        write!(told, " to {}", fs::read_link(path).unwrap().display()).unwrap();
    } else if !about.is_dir() {
        write!(told, " device {:x}", about.rdev()).unwrap();
    }
    // Whatever the archive does not tell the time of has the time of the test.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let age = now.as_secs().abs_diff(about.mtime().cast_unsigned());
    if age > 3600 {
        write!(told, " at {}.{:09}", about.mtime(), about.mtime_nsec()).unwrap();
    }
    for (key, value) in attributes(path) {
        write!(told, " {}={}", key.display(), value.escape_ascii()).unwrap();
    }
    told
}

fn attributes(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or_default();
    let names = names[..length].split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
        value.truncate(length);
        value
    };
    names
        .map(|name| (OsString::from_vec(name.to_vec()), value(name)))
        .collect()
}

/// Asserts that two folders hold the same.
#[track_caller]
pub(crate) fn assert_same(ours: &Path, theirs: &Path) {
    let (ours, theirs) = (tree(ours), tree(theirs));
    let all = ours.keys().chain(theirs.keys());
    let different: Vec<_> = all
        .filter(|path| ours.get(*path) != theirs.get(*path))
        .map(|path| (path, ours.get(path), theirs.get(path)))
        .collect();
    assert!(different.is_empty(), "{different:#?}");
    assert!(!ours.is_empty());
}
