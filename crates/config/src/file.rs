//! Reading configuration files with a bound.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::ConfigError;

/// A configuration file that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where.
    pub path: PathBuf,
    /// Whether it was there.
    pub found: bool,
}

/// Reads a file; `None` when it does not exist.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<String>, ConfigError> {
    let wrap = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        // A parent that is a file, or a home that is closed to us, holds no configuration for us.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(wrap(error)),
    };
    let mut text = String::new();
    file.take(MAX_FILE_SIZE + 1)
        .read_to_string(&mut text)
        .map_err(wrap)?;
    if text.len() as u64 > MAX_FILE_SIZE {
        return Err(wrap(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is larger than {MAX_FILE_SIZE} bytes"),
        )));
    }
    Ok(Some(text))
}

/// No configuration that people write comes near this many bytes.
const MAX_FILE_SIZE: u64 = 1024 * 1024;
