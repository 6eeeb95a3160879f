//! Decompression on the way, and finding out what a compressed stream holds.

use std::io;

use dhow_model::{Algorithm, Compression, Hasher};

use crate::gzip::{self, Endings};
use crate::reader::{decompress, decompress_into};
use crate::stage::{self, Input, QueueLength, Stream};
use crate::{Facts, MAGIC, UnpackFacts, detect};

/// Returns the content of a stream, decompressed if it is compressed, and the place where its facts
/// appear when it has ended well.
pub fn unpack(body: Stream) -> (Stream, Facts<UnpackFacts>) {
    let facts = Facts::default();
    let told = facts.clone();
    let stream = stage::run(body, QueueLength::MayBeLong, move |input, output| {
        let compression = detect(input.peek(MAGIC)?);
        let mut content = Content::new();
        if let Some(compression) = compression {
            decompress(input, compression, |piece| {
                content.take(piece);
                io::Write::write_all(output, piece)
            })?;
        } else {
            while let Some(piece) = input.piece()? {
                content.take(&piece);
                output.send(piece)?;
            }
        }
        told.set(content.facts(compression));
        Ok(())
    });
    (stream, facts)
}

/// Returns the content of a stream as [`unpack`] does, for someone who takes its digest anyway; only
/// how it was compressed is told.
pub fn unpack_unhashed(body: Stream) -> (Stream, Facts<Option<Compression>>) {
    let facts = Facts::default();
    let told = facts.clone();
    let endings = Endings::default();
    let noted = endings.clone();
    let stream = stage::run(body, QueueLength::MayBeLong, move |input, output| {
        let compression = detect(input.peek(MAGIC)?);
        if let Some(compression) = compression {
            decompress_into(input, compression, output, &noted)?;
        } else {
            while let Some(piece) = input.piece()? {
                output.send(piece)?;
            }
        }
        told.set(compression);
        Ok(())
    });
    (gzip::checked(stream, endings), facts)
}

/// Passes a stream on as it is, and finds out beside what it holds. What cannot be decompressed
/// ends the stream with an error.
pub fn learn(body: Stream) -> (Stream, Facts<UnpackFacts>) {
    let facts = Facts::default();
    let told = facts.clone();
    let stream = stage::beside(body, move |input| {
        told.set(look(input)?);
        Ok(())
    });
    (stream, facts)
}

fn look(input: &mut Input) -> io::Result<UnpackFacts> {
    let compression = detect(input.peek(MAGIC)?);
    let mut content = Content::new();
    if let Some(compression) = compression {
        decompress(&mut *input, compression, |piece| {
            content.take(piece);
            Ok(())
        })?;
    }
    // Without compression this is all; else there is nothing left.
    while let Some(piece) = input.piece()? {
        content.take(&piece);
    }
    Ok(content.facts(compression))
}

/// What came out so far.
struct Content {
    hasher: Hasher,
    size: u64,
}

impl Content {
    fn new() -> Self {
        Self {
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
        }
    }

    fn take(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        self.size += piece.len() as u64;
    }

    fn facts(self, compression: Option<Compression>) -> UnpackFacts {
        UnpackFacts {
            compression,
            diff_id: self.hasher.finish(),
            unpacked_size: self.size,
        }
    }
}
