//! The table of contents of a zstd:chunked layer: its files, and where the chunks of each are.
//!
//! Nothing in it is trusted. It is read within bounds, and only what fits together is taken; whether
//! it tells the truth shows the digest of the archive that is made by it.

use std::io::{BufReader, Read as _};
use std::ops::Range;

use bytes::Bytes;
use dhow_model::{Algorithm, Digest};

use super::error::ChunkedError;
use super::lines::{Lines, Part, decompress};
use super::places::ChunkedPlaces;
use super::rows::Table;

/// The files of a layer that have content, in the order of the archive.
#[derive(Debug)]
pub struct ChunkedContents {
    pub(super) files: Vec<ChunkedFile>,
    pub(super) chunks: Vec<Chunk>,
    tar_split: Digest,
}

/// A file that has content.
#[derive(Clone, Debug)]
pub struct ChunkedFile {
    /// The SHA-256 digest of its content, as the table says it.
    pub digest: Digest,
    /// Its size in bytes; never 0.
    pub size: u64,
    /// Which chunks it has.
    pub(super) chunks: Range<usize>,
}

/// A part of a file that is compressed on its own.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// Where it is in the blob, in bytes.
    pub(super) place: Range<u64>,
    /// Its size when it is decompressed, in bytes; never 0.
    pub(super) size: u64,
}

impl ChunkedContents {
    /// Reads the table, whose compressed bytes these are.
    ///
    /// # Errors
    /// When it is not the one that the descriptor speaks of, or makes no sense.
    pub fn parse(packed: &[u8], places: &ChunkedPlaces) -> Result<Self, ChunkedError> {
        if !places.table_digest.matches(packed) {
            let why = format!("its digest is not `{}`", places.table_digest);
            return Err(ChunkedError::Table(why));
        }
        let wrong = |error: &dyn std::fmt::Display| ChunkedError::Table(error.to_string());
        let reader = decompress(packed).map_err(|error| wrong(&error))?;
        let reader = BufReader::with_capacity(BUFFER, reader.take(places.table_size));
        let mut json = serde_json::Deserializer::from_reader(reader);
        let table = Table::read(&mut json, places.end_of_contents());
        let table = table.map_err(|error| wrong(&error))?;
        json.end().map_err(|error| wrong(&error))?;
        let tar_split = table.tar_split.as_deref().map(Digest::parse);
        let tar_split = tar_split.and_then(Result::ok);
        let tar_split = tar_split.filter(|digest| digest.algorithm() == Algorithm::Sha256);
        Ok(Self {
            files: table.rows.files,
            chunks: table.rows.chunks,
            tar_split: tar_split.ok_or_else(|| wrong(&"it has no digest for the tar-split"))?,
        })
    }

    /// Returns the files.
    pub fn files(&self) -> impl Iterator<Item = &ChunkedFile> {
        self.files.iter()
    }

    /// Returns which parts of the blob hold the files that are `lacking`, ascending. Those with no
    /// more than `gap` bytes between them are one.
    pub fn parts(&self, lacking: impl Fn(&ChunkedFile) -> bool, gap: u64) -> Vec<Range<u64>> {
        let mut parts: Vec<Range<u64>> = Vec::new();
        let files = self.files.iter().filter(|file| lacking(file));
        for chunk in files.flat_map(|file| &self.chunks[file.chunks.clone()]) {
            match parts.last_mut() {
                Some(last) if chunk.place.start - last.end <= gap => last.end = chunk.place.end,
                _ => parts.push(chunk.place.clone()),
            }
        }
        parts
    }

    /// Checks that the tar-split, whose compressed bytes these are, speaks of the same files; returns
    /// the size of the archive in bytes.
    ///
    /// # Errors
    /// When it does not, or is not the one that the table speaks of.
    pub fn check(&self, tar_split: &Bytes, places: &ChunkedPlaces) -> Result<u64, ChunkedError> {
        let wrong = |why: String| ChunkedError::TarSplit(why);
        if !self.tar_split.matches(tar_split) {
            return Err(wrong(format!("its digest is not `{}`", self.tar_split)));
        }
        let broken = |error: std::io::Error| wrong(error.to_string());
        let mut lines = Lines::new(tar_split.clone(), places.tar_split_size).map_err(broken)?;
        let mut files = self.files.iter();
        let mut size = 0_u64;
        while let Some(part) = lines.next().map_err(broken)? {
            let length = match part {
                Part::Raw(bytes) => bytes.len() as u64,
                Part::File(length) if files.next().is_some_and(|file| file.size == length) => {
                    length
                }
                Part::File(_) => return Err(wrong("the table has other files".to_owned())),
            };
            let sum = size.checked_add(length);
            size = sum.ok_or_else(|| wrong("the archive has no size".to_owned()))?;
        }
        match files.next() {
            None => Ok(size),
            Some(_) => Err(wrong("the table has more files".to_owned())),
        }
    }
}

/// How much of the table is decompressed at a time, in bytes.
const BUFFER: usize = 64 * 1024;
