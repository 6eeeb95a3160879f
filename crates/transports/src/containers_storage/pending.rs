//! Layers that have come and are not visible yet.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dhow_codec::UnpackFacts;
use dhow_model::{Algorithm, Compression, Digest, Hasher};
use dhow_storage::{Base, Driver, FileTable, LayerRecord, Staged, Store};
use dhow_transport::{Blob, Error, Kind, Result};
use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;

use super::piece_reader::PieceReader;
use super::store_error;
use crate::file_blob::blocking;

/// A layer that has come.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) diff_id: Digest,
    pub(super) diff_size: u64,
    pub(super) compression: Option<Compression>,
    /// It came in the blob that the manifest names: the digest of that was verified.
    pub(super) from_blob: bool,
    /// Whether its files are to be found again.
    pub(super) table: FileTable,
    pub(super) form: Form,
}

/// In which form it waits.
#[derive(Debug)]
pub(super) enum Form {
    /// Unpacked.
    Staged(Staged),
    /// As an archive: it can be unpacked only on top of the layer below.
    Spooled(File),
    /// In the store, perhaps above another layer.
    Known(Box<LayerRecord>),
}

/// Takes a layer in.
pub(super) async fn receive(
    store: Store,
    tmp: PathBuf,
    blob: Blob,
    table: FileTable,
) -> Result<Arrived> {
    let (content, facts) = dhow_codec::unpack(blob.body.into_stream());
    let form = read_blocking(content, move |pieces| keep(&store, &tmp, pieces, table)).await?;
    let facts: UnpackFacts = facts
        .take()
        .ok_or_else(|| Error::new(Kind::Bug, "a layer ended without its facts"))?;
    Ok(Arrived {
        diff_id: facts.diff_id,
        diff_size: facts.unpacked_size,
        compression: facts.compression,
        from_blob: true,
        table,
        form,
    })
}

/// Lets `work` read a stream where it may block.
pub(super) async fn read_blocking<T: Send + 'static>(
    content: BoxStream<'static, io::Result<Bytes>>,
    work: impl FnOnce(PieceReader) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (content, _wanted) = dhow_codec::pull(content);
    blocking(move || work(PieceReader::new(content))).await?
}

/// Keeps the archive of a layer in the form in which it can wait. Blocks.
pub(super) fn keep(
    store: &Store,
    tmp: &Path,
    mut pieces: impl BufRead,
    table: FileTable,
) -> Result<Form> {
    match store.driver() {
        Driver::Overlay => {
            let staged = store.stage(pieces, Base::Nothing, table);
            staged.map(Form::Staged).map_err(store_error)
        }
        Driver::Vfs => {
            let unwritten = |error| Error::file("write into", tmp, error);
            let mut file = tempfile::tempfile_in(tmp).map_err(unwritten)?;
            io::copy(&mut pieces, &mut file).map_err(Error::from_stream)?;
            file.rewind().map_err(unwritten)?;
            Ok(Form::Spooled(file))
        }
    }
}

/// Unpacks a layer that waits as something else, on top of the one below, and verifies that it still
/// is what it was. Blocks.
pub(super) fn stage(store: &Store, came: &Arrived, base: Base<'_>) -> Result<Staged> {
    match &came.form {
        Form::Staged(staged) => {
            let reader = store.read_staged(staged).map_err(store_error)?;
            verified(store, reader, base, came)
        }
        Form::Spooled(file) => {
            let mut file = file
                .try_clone()
                .map_err(|error| Error::new(Kind::Io, "a layer is lost").caused_by(error))?;
            file.rewind()
                .map_err(|error| Error::new(Kind::Io, "a layer is lost").caused_by(error))?;
            verified(store, file, base, came)
        }
        Form::Known(record) => {
            let reader = store.read_layer(record).map_err(store_error)?;
            verified(store, reader, base, came)
        }
    }
}

fn verified(store: &Store, content: impl Read, base: Base<'_>, came: &Arrived) -> Result<Staged> {
    let diff_id = &came.diff_id;
    let hashed = Hashed::new(content, diff_id.algorithm());
    let mut hashed = BufReader::with_capacity(PIECE, hashed);
    let staged = store.stage(&mut hashed, base, came.table);
    let staged = staged.map_err(store_error)?;
    let (found, _) = hashed.into_inner().finish();
    if found == *diff_id {
        return Ok(staged);
    }
    let message =
        format!("a layer in the store has the digest `{found}`, and should have `{diff_id}`");
    let error = Error::new(Kind::DigestMismatch, message);
    Err(error
        .hint("somebody changed its files: delete the images that use it, and copy them again"))
}

/// Content that is hashed while it is read.
pub(super) struct Hashed<R> {
    content: R,
    hasher: Hasher,
    size: u64,
}

impl<R> Hashed<R> {
    pub(super) fn new(content: R, algorithm: Algorithm) -> Self {
        Self {
            content,
            hasher: Hasher::new(algorithm),
            size: 0,
        }
    }

    /// Returns the digest and the size (bytes) of what was read.
    pub(super) fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.size)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.size += read as u64;
        Ok(read)
    }
}

/// Sends bytes that are in memory through the same way.
pub(super) async fn whole(blob: Blob) -> Result<Bytes> {
    let mut bytes = Vec::new();
    let mut stream = blob.body.into_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(Error::from_stream)?;
        if bytes.len() + piece.len() > MAX_CONFIG {
            let message = format!("the config has more than {MAX_CONFIG} bytes");
            return Err(Error::new(Kind::Invalid, message));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

/// How much of an archive is read at a time, in bytes.
pub(super) const PIECE: usize = 128 << 10;

/// The largest config, in bytes.
const MAX_CONFIG: usize = dhow_model::ImageConfig::MAX_SIZE;
