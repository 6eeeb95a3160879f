//! `dhow manifest-digest`.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use crate::failure::{Exit, Failure};
use crate::render::streams;

/// The arguments of `manifest-digest`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  dhow manifest-digest ./image/manifest.json")]
pub(crate) struct Args {
    /// The file
    manifest: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let path = self.manifest.display();
        let fail = |error: &std::io::Error| {
            let exit = match error.kind() {
                std::io::ErrorKind::NotFound => Exit::NotFound,
                _ => Exit::Local,
            };
            Failure::new(exit, format!("cannot read the manifest `{path}`"))
                .caused_by(error)
                .no_image()
        };
        let mut bytes = Vec::new();
        File::open(&self.manifest)
            .and_then(|file| file.take(MAX_SIZE + 1).read_to_end(&mut bytes))
            .map_err(|error| fail(&error))?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(Failure::new(
                Exit::Invalid,
                format!("`{path}` is larger than {MAX_SIZE} bytes, and so no manifest"),
            ));
        }
        streams::write(format!("{}\n", dhow_ops::manifest_digest(&bytes)).as_bytes())
    }
}

/// No manifest is larger, in bytes.
const MAX_SIZE: u64 = 4 * 1024 * 1024;
