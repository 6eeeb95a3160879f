//! An archive that was opened: its members, its images, and one of them looked into.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dhow_codec::MAGIC;
use dhow_model::{Compression, Digest, ImageConfig};
use dhow_transport::{Error, Kind, Result};

use super::Select;
use super::items::{self, Item};
use crate::archive_file::ArchiveFile;
use crate::file_blob::Part;
use crate::manifest_error;

/// A tar file with images in it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) archive: ArchiveFile,
    pub(crate) items: Vec<Item>,
}

/// An image of an archive.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) config: Bytes,
    pub(super) layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// The digest of its content, as the config says.
    pub(super) diff_id: Digest,
    /// The size of its content in bytes.
    pub(super) size: u64,
    /// Where it is in the archive.
    pub(super) part: Part,
    /// How it is compressed there.
    pub(super) compression: Option<Compression>,
}

impl Opened {
    /// Opens a file. Blocks.
    pub(crate) fn open(path: &Path, tmp: &Path) -> Result<Self> {
        let archive = ArchiveFile::open(path, tmp, "a Docker archive")?;
        Self::of(archive, &path.display().to_string())
    }

    /// Looks into an archive that is open. `name` is for messages. Blocks.
    pub(crate) fn of(archive: ArchiveFile, name: &str) -> Result<Self> {
        let invalid = |why: String| {
            Error::new(
                Kind::Invalid,
                format!("`{name}` is no Docker archive: {why}"),
            )
        };
        let Some(part) = archive.members.file(MANIFEST) else {
            let hint = if archive.members.file("index.json").is_some() {
                "it looks like an OCI archive: write `oci-archive:`"
            } else {
                "name a file that `docker save` or `podman save` wrote"
            };
            return Err(invalid(format!("it has no `{MANIFEST}`")).hint(hint));
        };
        let bytes = archive.read_part(MANIFEST, part, MAX_MANIFEST)?;
        let items = items::parse(&bytes)
            .map_err(|error| invalid(format!("its `{MANIFEST}` is malformed")).caused_by(error))?;
        Ok(Self { archive, items })
    }

    /// Returns the image that is meant.
    pub(crate) fn choose(&self, select: &Select, path: &str) -> Result<&Item> {
        let count = self.items.len();
        let found = match select {
            Select::Only if count == 1 => self.items.first(),
            Select::Only => {
                let error = Error::new(
                    Kind::Invalid,
                    format!("`{path}` holds {count} images, and none is chosen"),
                );
                return Err(error.hint(self.hint()));
            }
            Select::At(place) => self.items.get(*place),
            Select::Named(name) => self.items.iter().find(|item| item.is_named(name)),
        };
        found.ok_or_else(|| {
            if let Select::At(place) = select {
                let message =
                    format!("invalid source index @{place}, only {count} manifest items available");
                return Error::new(Kind::NotFound, message);
            }
            let name = select.to_string();
            let name = name.trim_start_matches(':');
            let message = format!("tag \"{name}\" not found in `{path}`");
            Error::new(Kind::NotFound, message).hint(self.hint())
        })
    }

    /// Returns the names of all images; one without a name is called by its place.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (place, item) in self.items.iter().enumerate() {
            if item.repo_tags.is_empty() {
                names.push(format!("@{place}"));
            }
            names.extend(item.repo_tags.iter().cloned());
        }
        names
    }

    fn hint(&self) -> String {
        const SHOWN: usize = 12;
        let names = self.names();
        if names.is_empty() {
            return "there is no image in it".to_owned();
        }
        let more = if names.len() > SHOWN { ", …" } else { "" };
        let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
        format!("choose one of: {}{more}", shown.join(", "))
    }

    /// Looks into an image: reads its config, and finds its layers. Blocks.
    pub(crate) fn look(&self, item: &Item) -> Result<Found> {
        let config = self
            .archive
            .read(&item.config, ImageConfig::MAX_SIZE as u64)?;
        let parsed = ImageConfig::parse(&config).map_err(manifest_error)?;
        let diff_ids = &parsed.rootfs.diff_ids;
        if diff_ids.len() != item.layers.len() {
            return Err(Error::new(
                Kind::Invalid,
                format!(
                    "inconsistent layer count: {} in manifest, {} in config",
                    item.layers.len(),
                    diff_ids.len()
                ),
            ));
        }
        let layers = item.layers.iter().zip(diff_ids);
        let layers = layers.map(|(name, diff_id)| self.layer(name, *diff_id));
        Ok(Found {
            config: config.into(),
            layers: layers.collect::<Result<_>>()?,
        })
    }

    fn layer(&self, name: &str, diff_id: Digest) -> Result<Layer> {
        let part = self.archive.part(name)?;
        let unreadable = |error: io::Error| {
            let shown = name.escape_debug();
            Error::new(Kind::Invalid, format!("the layer `{shown}` cannot be read"))
                .caused_by(error)
        };
        let mut start = [0; MAGIC];
        let room = usize::try_from(part.size).unwrap_or(MAGIC).min(MAGIC);
        let start = &mut start[..room];
        self.archive
            .file
            .read_exact_at(start, part.offset)
            .map_err(unreadable)?;
        let compression = dhow_codec::detect(start);
        let size = match compression {
            None => part.size,
            // Nothing in the archive tells how large the content is.
            Some(compression) => {
                content_size(&self.archive.file, part, compression).map_err(unreadable)?
            }
        };
        Ok(Layer {
            diff_id,
            size,
            part,
            compression,
        })
    }
}

/// Decompresses a part to count its bytes.
fn content_size(file: &Arc<File>, part: Part, compression: Compression) -> io::Result<u64> {
    let from = PartReader {
        file: Arc::clone(file),
        part,
    };
    let from = BufReader::with_capacity(PIECE, from);
    let mut content = dhow_codec::reader(from, compression)?;
    io::copy(&mut content, &mut io::sink())
}

/// A part of a file, to read from.
struct PartReader {
    file: Arc<File>,
    part: Part,
}

impl Read for PartReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.part.size).unwrap_or(usize::MAX);
        let room = to.len().min(most);
        let length = self.file.read_at(&mut to[..room], self.part.offset)?;
        self.part.offset += length as u64;
        self.part.size -= length as u64;
        Ok(length)
    }
}

/// The file that lists the images.
pub(super) const MANIFEST: &str = "manifest.json";

/// The largest list of images that is read, in bytes; a thousand images need 1 MiB.
const MAX_MANIFEST: u64 = 16 * 1024 * 1024;

/// How much is decompressed at once, in bytes.
const PIECE: usize = 64 * 1024;
