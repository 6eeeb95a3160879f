//! An archive that was opened: its file, its members, its index.

use std::path::Path;

use bytes::Bytes;
use dhow_layout::{Layout, LayoutIndex};
use dhow_model::{Descriptor, Digest, RawManifest};
use dhow_transport::{Error, Kind, Result};

use crate::archive_file::ArchiveFile;
use crate::file_blob::Part;

/// A tar file with a layout in it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) archive: ArchiveFile,
    pub(super) index: LayoutIndex,
}

impl Opened {
    /// Opens the archive and finds its members. Blocks.
    pub(super) fn open(path: &Path, tmp: &Path) -> Result<Self> {
        let archive = ArchiveFile::open(path, tmp, "an OCI archive")?;
        let index = read_index(&archive, path)?;
        Ok(Self { archive, index })
    }

    /// Returns where a blob is.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Part> {
        self.archive
            .members
            .file(&blob_name(digest))
            .ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!("the archive has no blob `{digest}`"),
                )
            })
    }

    /// Reads a manifest and verifies it. Blocks.
    pub(super) fn manifest(
        &self,
        digest: &Digest,
        expected: Option<&Descriptor>,
    ) -> Result<RawManifest> {
        let part = self.blob(digest)?;
        if let Some(expected) = expected.filter(|expected| expected.size != part.size) {
            return Err(Error::new(
                Kind::SizeMismatch,
                format!(
                    "size mismatch: the manifest {digest} should have {} bytes and has {}",
                    expected.size, part.size
                ),
            ));
        }
        let name = blob_name(digest);
        let bytes = self
            .archive
            .read_part(&name, part, RawManifest::MAX_SIZE as u64)?;
        let claimed = expected.map(|expected| &expected.media_type);
        RawManifest::verified(Bytes::from(bytes), claimed, digest).map_err(crate::manifest_error)
    }
}

/// Returns the name of a blob in the archive.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn read_index(archive: &ArchiveFile, path: &Path) -> Result<LayoutIndex> {
    let invalid = |why: String| {
        Error::new(
            Kind::Invalid,
            format!("`{}` is no OCI archive: {why}", path.display()),
        )
    };
    let part = archive
        .members
        .file("index.json")
        .ok_or_else(|| invalid("it has no `index.json`".to_owned()))?;
    let bytes = archive.read_part("index.json", part, Layout::MAX_INDEX_SIZE)?;
    LayoutIndex::parse(&bytes).map_err(|why| invalid(format!("its `index.json`: {why}")))
}
