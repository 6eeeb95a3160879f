//! Layers of zstd:chunked of which only those files are fetched that the store does not have.
//!
//! ```text
//! table of contents, tar-split ─▶ which files are in the store? ─▶ the other parts of the blob
//!                                                    └──▶ the archive ◀──┘ ─▶ digest right? ─▶ Arrived
//! ```
//!
//! What the archive is made from is not trusted: it is unpacked like one that came whole, and its
//! digest must be the one that the config says. Until then nobody sees it.

use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dhow_codec::{ChunkedContents, ChunkedFile, ChunkedPlaces, Here, Rebuilt};
use dhow_model::{Annotations, Digest};
use dhow_storage::{FileTable, LocalFiles, Store};
use dhow_transport::{BlobPart, BlobParts, Error, Kind, Result};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::pending::{Arrived, Hashed, PIECE, keep, read_blocking};
use super::piece_reader::PieceReader;
use super::store_error;
use crate::file_blob::blocking;

/// Returns whether the files of a layer with these annotations are to be found again: only those of
/// zstd:chunked are ever looked for.
pub(super) fn table(annotations: &Annotations) -> FileTable {
    match ChunkedPlaces::parse(annotations, u64::MAX) {
        Ok(Some(_)) => FileTable::Kept,
        _ => FileTable::None,
    }
}

/// Takes a layer in by its parts; `None`: it is not worth it.
pub(super) async fn receive(
    store: Store,
    tmp: PathBuf,
    diff_id: Digest,
    parts: Arc<dyn BlobParts>,
) -> Result<Option<Arrived>> {
    let blob = parts.blob();
    let places = ChunkedPlaces::parse(&blob.annotations, blob.size).map_err(invalid)?;
    let Some(places) = places.filter(|_| blob.size >= SMALL) else {
        return Ok(None);
    };
    let asked = store.clone();
    if !blocking(move || asked.has_tables().map_err(store_error)).await?? {
        return Ok(None);
    }
    let (table, tar_split) = describing(&parts, &places).await?;
    let size = blob.size;
    let planned = blocking(move || Plan::make(&store, places, &table, tar_split, size)).await?;
    let Some(plan) = planned? else {
        return Ok(None);
    };
    plan.carry_out(tmp, diff_id, parts).await.map(Some)
}

/// Fetches the table of contents and the tar-split, which lie next to each other as a rule.
async fn describing(parts: &Arc<dyn BlobParts>, places: &ChunkedPlaces) -> Result<(Bytes, Bytes)> {
    let (table, split) = (places.table(), places.tar_split());
    let both = table.start.min(split.start)..table.end.max(split.end);
    let between = length(&both) - length(&table) - length(&split);
    if between > GAP {
        let table = whole(Arc::clone(parts), table);
        let split = whole(Arc::clone(parts), split);
        return futures_util::future::try_join(table, split).await;
    }
    let bytes = whole(Arc::clone(parts), both.clone()).await?;
    let at = |position: u64| usize::try_from(position - both.start).unwrap_or(usize::MAX);
    // The tar-split is needed to the end, and the table only now.
    let split = Bytes::copy_from_slice(&bytes[at(split.start)..at(split.end)]);
    Ok((bytes.slice(at(table.start)..at(table.end)), split))
}

/// How a layer is put together.
struct Plan {
    store: Store,
    places: ChunkedPlaces,
    contents: Arc<ChunkedContents>,
    tar_split: Bytes,
    /// What the store has.
    files: LocalFiles,
    /// What is fetched.
    parts: Vec<Range<u64>>,
}

impl Plan {
    /// Makes the plan; `None`: most of the blob is needed. Blocks.
    fn make(
        store: &Store,
        places: ChunkedPlaces,
        table: &[u8],
        tar_split: Bytes,
        size: u64,
    ) -> Result<Option<Self>> {
        let contents = ChunkedContents::parse(table, &places).map_err(invalid)?;
        contents.check(&tar_split, &places).map_err(invalid)?;
        let wanted = contents.files().map(|file| (file.digest, file.size));
        let files = store.find_files(&wanted.collect()).map_err(store_error)?;
        let lacking = |file: &ChunkedFile| !files.has(&file.digest, file.size);
        let parts = contents.parts(lacking, GAP);
        let missing: u64 = parts.iter().map(length).sum();
        tracing::debug!(
            size,
            missing,
            parts = parts.len(),
            "looked for files of a layer"
        );
        if missing > size / 100 * WORTHWHILE || parts.len() > MAX_PARTS {
            return Ok(None);
        }
        Ok(Some(Self {
            store: store.clone(),
            places,
            contents: Arc::new(contents),
            tar_split,
            files,
            parts,
        }))
    }

    /// Fetches what is missing, and unpacks the archive that is made by it.
    async fn carry_out(
        self,
        tmp: PathBuf,
        diff_id: Digest,
        parts: Arc<dyn BlobParts>,
    ) -> Result<Arrived> {
        // Requests go on while local files are read.
        let fetched = dhow_codec::ahead(fetched(parts, self.parts.clone()));
        read_blocking(fetched, move |pieces| self.unpack(&tmp, diff_id, pieces)).await
    }

    /// Unpacks the archive, and verifies that it is the right one. Blocks.
    fn unpack(self, tmp: &Path, diff_id: Digest, fetched: PieceReader) -> Result<Arrived> {
        let files = self.files;
        let here = move |file: &ChunkedFile| -> Here {
            let opened = files.open(&file.digest, file.size)?;
            Ok(opened.map(|file| Box::new(file) as Box<dyn Read + Send>))
        };
        let contents = (self.contents, &self.places);
        let rebuilt = Rebuilt::new(contents, self.tar_split, (self.parts, fetched), here);
        let rebuilt = rebuilt.map_err(Error::from_stream)?;
        let hashed = Hashed::new(rebuilt, diff_id.algorithm());
        let mut hashed = BufReader::with_capacity(PIECE, hashed);
        let form = keep(&self.store, tmp, &mut hashed, FileTable::Kept)?;
        let (found, diff_size) = hashed.into_inner().finish();
        if found != diff_id {
            let message = format!(
                "what was put together has the digest `{found}`, and the config says `{diff_id}`"
            );
            return Err(Error::new(Kind::DigestMismatch, message));
        }
        Ok(Arrived {
            diff_id,
            diff_size,
            // The blob did not pass: that it has this content, only its source says.
            compression: None,
            from_blob: false,
            table: FileTable::Kept,
            form,
        })
    }
}

/// Returns the bytes of parts, one after another. Some are asked for ahead, and the small ones of them
/// are read ahead, too.
fn fetched(
    parts: Arc<dyn BlobParts>,
    ranges: Vec<Range<u64>>,
) -> BoxStream<'static, io::Result<Bytes>> {
    let opened = stream::iter(ranges).map(move |range| {
        let parts = Arc::clone(&parts);
        async move {
            if length(&range) <= READ_AHEAD {
                let bytes = whole(parts, range).await.map_err(io::Error::other)?;
                return Ok(stream::once(async { Ok(bytes) }).boxed());
            }
            open(parts, range).await.map_err(io::Error::other)
        }
    });
    opened.buffered(ASKED_AHEAD).try_flatten().boxed()
}

/// Opens a part, of which exactly its bytes come.
async fn open(
    parts: Arc<dyn BlobParts>,
    range: Range<u64>,
) -> Result<BoxStream<'static, io::Result<Bytes>>> {
    let part = BlobPart {
        offset: range.start,
        length: length(&range),
    };
    let opened = parts.part(part).await?;
    let state = (opened.body.into_stream(), part.length);
    let exact = stream::try_unfold(state, |(mut body, left)| async move {
        let Some(piece) = body.next().await.transpose()? else {
            return match left {
                0 => Ok(None),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        };
        let left = left.checked_sub(piece.len() as u64);
        let left = left.ok_or_else(|| io::Error::other("more came than was asked for"))?;
        Ok(Some((piece, (body, left))))
    });
    Ok(exact.boxed())
}

/// Reads a part into memory.
async fn whole(parts: Arc<dyn BlobParts>, range: Range<u64>) -> Result<Bytes> {
    let mut body = open(parts, range).await?;
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(Error::from_stream)?);
    }
    Ok(bytes.freeze())
}

const fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}

fn invalid(error: dhow_codec::ChunkedError) -> Error {
    Error::new(Kind::Invalid, "the layer cannot be read in parts").caused_by(error)
}

/// The smallest blob that is worth more than one request, in bytes.
const SMALL: u64 = 128 << 10;

/// What a request costs, in bytes that could have come meanwhile: a round trip of 20 ms at 50 MB/s,
/// shared by those that are asked for at once. So many between two parts are fetched with them.
const GAP: u64 = 128 << 10;

/// What the parts of a blob may cost, in per cent of its size: beyond that it comes whole.
const WORTHWHILE: u64 = 70;

/// The most parts: a registry that counts requests is not asked without end.
const MAX_PARTS: usize = 1024;

/// How many parts are asked for ahead, so that nobody waits for each round trip.
const ASKED_AHEAD: usize = 8;

/// The largest part that is read into memory ahead, in bytes.
const READ_AHEAD: u64 = 512 << 10;
