//! Decompression of whole files: gzip, Zstandard, bzip2 and xz, with all their members and frames.
//!
//! What ends too early or goes on with something else is an error. Windows are bounded, so that a
//! few bytes cannot ask for gigabytes.

use std::io::{self, BufRead, Read};

use bzip2::bufread::MultiBzDecoder;
use dhow_model::Compression;
use liblzma::bufread::XzDecoder;

use crate::gzip::{Endings, Gzip};
use crate::stage::Output;

/// Returns the content of a compressed file. Blocks where `from` does.
///
/// # Errors
/// When the decoder cannot be set up, and when the header of a gzip file is wrong. Errors in the data
/// come from reading: `InvalidData`, `InvalidInput`, `UnexpectedEof` or `Other`.
pub fn reader<'a, R: BufRead + Send + 'a>(
    from: R,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::Gzip => Box::new(Gzip::new(from)?),
        Compression::Zstd => Box::new(zstd_reader(from)?),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(from)),
        Compression::Xz => Box::new(xz_reader(from)?),
    })
}

/// Decompresses what `from` holds into `to`. What gzip says of its content is left to whoever takes it.
pub(crate) fn decompress_into(
    from: impl BufRead + Send,
    compression: Compression,
    to: &mut Output,
    endings: &Endings,
) -> io::Result<()> {
    let mut from = match compression {
        Compression::Gzip => Box::new(Gzip::unchecked(from, endings.clone())?),
        _ => reader(from, compression)?,
    };
    until_end(|| to.take_from(&mut from))
}

/// Decompresses what `from` holds, and gives it to `to` piece by piece.
pub(crate) fn decompress(
    from: impl BufRead + Send,
    compression: Compression,
    mut to: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut from = reader(from, compression)?;
    let mut buffer = vec![0; PIECE];
    until_end(|| {
        let length = from.read(&mut buffer)?;
        to(&buffer[..length])?;
        Ok(length)
    })
}

/// Goes on with a step until nothing comes any more.
fn until_end(mut step: impl FnMut() -> io::Result<usize>) -> io::Result<()> {
    loop {
        match step() {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn zstd_reader<R: BufRead>(from: R) -> io::Result<impl Read + use<R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(from)?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(decoder)
}

fn xz_reader<R: BufRead>(from: R) -> io::Result<impl Read + use<R>> {
    let stream =
        liblzma::stream::Stream::new_stream_decoder(MAX_XZ_MEMORY, liblzma::stream::CONCATENATED)?;
    Ok(XzDecoder::new_stream(from, stream))
}

/// The largest window of a zstd frame as a power of two: 128 MiB, what `zstd -d` takes unasked.
const MAX_WINDOW_LOG: u32 = 27;

/// How much memory an xz file may ask for, in bytes; `xz -9` needs 65 MiB.
const MAX_XZ_MEMORY: u64 = 128 * 1024 * 1024;

/// How much is decompressed at once, in bytes.
const PIECE: usize = 64 * 1024;
