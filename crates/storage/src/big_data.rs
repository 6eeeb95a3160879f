//! What is kept beside an image, its config, its manifests, its signatures, and beside a layer: its
//! table of contents.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Result};
use crate::records;

/// Returns the file in the folder of an image or layer where something is kept.
pub(crate) fn path(folder: &Path, key: &str) -> PathBuf {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.';
    if key.bytes().all(plain) {
        return folder.join(key);
    }
    folder.join(format!("={}", STANDARD.encode(key)))
}

/// Reads what is kept under a key.
pub(crate) fn read(folder: &Path, key: &str) -> Result<Vec<u8>> {
    let path = path(folder, key);
    let content = records::read_file(&path, MAX)?;
    content.ok_or_else(|| Error::file("read", &path)(ErrorKind::NotFound.into()))
}

/// The most that is read of it, in bytes: manifests and configs have up to 4 MiB.
const MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_keys_are_file_names_and_others_are_encoded() {
        let name = |key| path(Path::new(""), key).display().to_string();
        assert_eq!(name("manifest"), "manifest");
        assert_eq!(name("sha256:8b99"), "=c2hhMjU2OjhiOTk=");
        assert_eq!(name("instances.json"), "instances.json");
        assert_eq!(name("Upper"), "=VXBwZXI=");
    }
}
