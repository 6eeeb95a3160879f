//! An archive that was opened: its file, its members, its index.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dhow_layout::{Layout, LayoutIndex, open_file};
use dhow_model::{Compression, Descriptor, Digest, RawManifest};
use dhow_transport::{Error, Kind, Result};

use crate::file_blob::{Part, place_is_absent};
use crate::members::Members;

/// A tar file with a layout in it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: Arc<File>,
    pub(super) members: Members,
    pub(super) index: LayoutIndex,
    /// The file on disk is compressed; `file` is what came out of it.
    pub(super) compressed: bool,
}

impl Opened {
    /// Opens the archive and finds its members. Blocks.
    pub(super) fn open(path: &Path, tmp: &Path) -> Result<Self> {
        let unreadable = |error| Error::file("read", path, error);
        let file = open_file(path)
            .map_err(|error| place_is_absent(Error::file("open", path, error), "an OCI archive"))?;
        let mut start = [0; 6];
        let known = file.read_at(&mut start, 0).map_err(unreadable)?;
        let compression = dhow_codec::detect(&start[..known]);
        let file = match compression {
            None => file,
            Some(Compression::Gzip) => inflated(file, tmp).map_err(unreadable)?,
            Some(other) => {
                return Err(Error::unsupported(format!(
                    "`{}` is compressed with {other:?}, which this version cannot undo",
                    path.display()
                ))
                .hint("decompress it first"));
            }
        };
        let members = Members::read(&file).map_err(|error| {
            let message = format!("`{}` is no tar file that can be trusted", path.display());
            Error::new(Kind::Invalid, message).caused_by(error)
        })?;
        let index = read_index(&file, &members, path)?;
        Ok(Self {
            file: Arc::new(file),
            members,
            index,
            compressed: compression.is_some(),
        })
    }

    /// Returns where a blob is.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Part> {
        self.members.file(&blob_name(digest)).ok_or_else(|| {
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
        let bytes =
            read_whole(&self.file, part, RawManifest::MAX_SIZE as u64).map_err(|error| {
                Error::new(Kind::Io, format!("cannot read the manifest `{digest}`"))
                    .caused_by(error)
            })?;
        let claimed = expected.map(|expected| &expected.media_type);
        RawManifest::verified(Bytes::from(bytes), claimed, digest).map_err(crate::manifest_error)
    }
}

/// Returns the name of a blob in the archive.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn read_index(file: &File, members: &Members, path: &Path) -> Result<LayoutIndex> {
    let invalid = |why: String| {
        Error::new(
            Kind::Invalid,
            format!("`{}` is no OCI archive: {why}", path.display()),
        )
    };
    let part = members
        .file("index.json")
        .ok_or_else(|| invalid("it has no `index.json`".to_owned()))?;
    let bytes = read_whole(file, part, Layout::MAX_INDEX_SIZE)
        .map_err(|error| Error::file("read", path, error))?;
    LayoutIndex::parse(&bytes).map_err(|why| invalid(format!("its `index.json`: {why}")))
}

fn read_whole(file: &File, part: Part, most: u64) -> io::Result<Vec<u8>> {
    if part.size > most {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is larger than {most} bytes"),
        ));
    }
    let mut bytes = vec![0; usize::try_from(part.size).unwrap_or_default()];
    file.read_exact_at(&mut bytes, part.offset)?;
    Ok(bytes)
}

/// Unpacks a gzip file into one that has no name.
fn inflated(file: File, tmp: &Path) -> io::Result<File> {
    let mut to = tempfile::tempfile_in(tmp)?;
    let mut from =
        dhow_codec::reader(io::BufReader::with_capacity(PIECE, file), Compression::Gzip)?;
    io::copy(&mut from, &mut to)?;
    to.flush()?;
    to.rewind()?;
    Ok(to)
}

/// How much is read of a compressed file at once, in bytes.
const PIECE: usize = 256 * 1024;
