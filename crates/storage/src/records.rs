//! The records of a store: `layers.json`, `images.json`, `containers.json`.
//!
//! What a newer Podman adds to a record is kept. A list is written beside and renamed into place, so
//! that readers see the old one or the new one.

mod image;
mod layer;
mod names;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use image::ImageRecord;
pub(crate) use image::MANIFEST_KEY;
pub use layer::LayerRecord;
pub(crate) use layer::number_of;
pub(crate) use names::give_name;

use crate::error::{Error, Result};

/// What a container of the store uses.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ContainerRecord {
    /// The container.
    pub(crate) id: String,
    /// The image it was made from.
    #[serde(default)]
    pub(crate) image: String,
    /// Its own layer, whose parent is the image's.
    #[serde(default)]
    pub(crate) layer: String,
}

/// How often a layer is mounted at present.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MountRecord {
    /// The layer.
    pub(crate) id: String,
    /// How often.
    #[serde(default)]
    pub(crate) count: i64,
}

/// Fields that are not known here, kept as they are.
pub(crate) type Rest = BTreeMap<String, serde_json::Value>;

/// Reads a list of records; a file that is not there is an empty list.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let Some(text) = read_file(path, MAX_LIST)? else {
        return Ok(Vec::new());
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let list: Option<Vec<T>> = serde_json::from_slice(&text).map_err(|error| Error::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(list.unwrap_or_default())
}

/// Reads a file of at most so many bytes; `None`: it is not there.
pub(crate) fn read_file(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("read", path)(error)),
    };
    let mut content = Vec::new();
    let mut bounded = file.take(most + 1);
    bounded
        .read_to_end(&mut content)
        .map_err(Error::file("read", path))?;
    if content.len() as u64 > most {
        return Err(Error::Malformed {
            path: path.to_owned(),
            reason: format!("it has more than {most} bytes"),
        });
    }
    Ok(Some(content))
}

/// Puts a list of records in the place of the old one.
pub(crate) fn write<T: Serialize>(path: &Path, list: &[T]) -> Result<()> {
    let text = serde_json::to_vec(list).map_err(|error| Error::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    write_file(path, &text)
}

/// Puts a file of mode 0600 in the place of the old one, complete or not at all.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let wrong = || Error::file("write", path);
    let made = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder);
    let mut made = made.map_err(wrong())?;
    made.write_all(content).map_err(wrong())?;
    made.as_file().sync_all().map_err(wrong())?;
    made.persist(path).map_err(|error| wrong()(error.error))?;
    Ok(())
}

/// Removes what somebody who was stopped has left of a file that was to be put here. The lock of the
/// folder is held: nobody writes at present. What cannot be removed does no harm.
pub(crate) fn sweep(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(TEMPORARY)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::debug!(file = %entry.path().display(), %error, "a leftover stays");
        }
    }
}

/// How the names of files begin that are not complete.
const TEMPORARY: &str = ".dhow-";

/// Makes a folder for nobody else, and those above it, unless it is there.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(Error::file("create", path))
}

/// The largest list that is read, in bytes: a store of 100,000 layers has about 60 MiB.
const MAX_LIST: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_completed_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write_file(&at("layers.json"), b"[]").unwrap();
        std::fs::write(at(".dhow-Ab3"), "half").unwrap();
        std::fs::write(at(".tmp-of-others"), "half").unwrap();
        sweep(folder.path());
        assert!(at("layers.json").exists() && at(".tmp-of-others").exists());
        assert!(!at(".dhow-Ab3").exists());
    }
}
