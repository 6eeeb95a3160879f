//! The archive of a zstd:chunked layer, put together again from its tar-split, from files that are
//! here already, and from parts of the blob.
//!
//! ```text
//! tar-split ─▶ raw bytes ───────────────┐
//!           └▶ a file ─▶ here? ─▶ open ─┼─▶ the archive, as it was compressed
//!                     └▶ chunks ─▶ zstd ┘
//! ```
//!
//! Whoever reads it takes its digest and compares: nothing else says that it is right.

use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use zstd::stream::raw::{DParameter, Decoder, Operation as _};

use super::contents::{ChunkedContents, ChunkedFile};
use super::fetched::Fetched;
use super::lines::{Lines, MAX_WINDOW_LOG, Part};
use super::places::ChunkedPlaces;

/// The archive. Blocks where what it is made from does.
pub struct Rebuilt<R, H> {
    contents: Arc<ChunkedContents>,
    lines: Lines,
    next_file: usize,
    fetched: Fetched<R>,
    here: H,
    decoder: Decoder<'static>,
    now: Now,
}

/// A file that is here already, opened; `None`: it comes with the parts.
pub type Here = io::Result<Option<Box<dyn Read + Send>>>;

/// What is being read.
enum Now {
    Nothing,
    Raw(Vec<u8>, usize),
    /// A file that is here, and how much of it is left.
    Here(Box<dyn Read + Send>, u64),
    /// Chunks that were fetched: those that follow, and the one that is being decompressed.
    Chunks(Range<usize>, Inflating),
    Ended,
}

/// A chunk that is being decompressed: how much is left of it, compressed and not.
#[derive(Clone, Copy, Default)]
struct Inflating {
    packed: u64,
    unpacked: u64,
}

impl<R: BufRead, H: FnMut(&ChunkedFile) -> Here> Rebuilt<R, H> {
    /// Returns the archive of a tar-split that was checked. `parts` are those that
    /// [`ChunkedContents::parts`] gave for the files of which `here` says nothing, and their bytes
    /// come from `fetched`, one part after another.
    ///
    /// # Errors
    /// When the decoders cannot be set up.
    pub fn new(
        (contents, places): (Arc<ChunkedContents>, &ChunkedPlaces),
        tar_split: Bytes,
        (parts, fetched): (Vec<Range<u64>>, R),
        here: H,
    ) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
        Ok(Self {
            contents,
            lines: Lines::new(tar_split, places.tar_split_size)?,
            next_file: 0,
            fetched: Fetched::new(fetched, parts),
            here,
            decoder,
            now: Now::Nothing,
        })
    }

    /// Goes to what comes next in the archive.
    fn advance(&mut self) -> io::Result<Now> {
        match self.lines.next()? {
            None => Ok(Now::Ended),
            Some(Part::Raw(bytes)) => Ok(Now::Raw(bytes, 0)),
            Some(Part::File(size)) => {
                let file = self.contents.files.get(self.next_file);
                let file = file.filter(|file| file.size == size);
                let file = file.ok_or_else(|| invalid("the table has other files"))?;
                self.next_file += 1;
                Ok(match (self.here)(file)? {
                    Some(opened) => Now::Here(opened, size),
                    None => Now::Chunks(file.chunks.clone(), Inflating::default()),
                })
            }
        }
    }

    /// Decompresses some of a chunk; returns how much came out.
    fn inflate(&mut self, chunk: &mut Inflating, to: &mut [u8]) -> io::Result<usize> {
        // What ends a frame comes behind its content: a byte too many is looked for there.
        let mut beyond = [0; 1];
        let room = usize::try_from(chunk.unpacked).unwrap_or(usize::MAX);
        let room = room.min(to.len());
        let to = if room == 0 {
            &mut beyond[..]
        } else {
            &mut to[..room]
        };
        let ahead = if chunk.packed == 0 {
            &[]
        } else {
            self.fetched.ahead(chunk.packed)?
        };
        let done = self.decoder.run_on_buffers(ahead, to)?;
        self.fetched.consume(done.bytes_read);
        chunk.packed -= done.bytes_read as u64;
        let written = done.bytes_written as u64;
        chunk.unpacked = chunk
            .unpacked
            .checked_sub(written)
            .ok_or_else(wrong_chunk)?;
        let is_done = chunk.packed == 0 && chunk.unpacked == 0;
        let stands_still = done.bytes_read == 0 && done.bytes_written == 0;
        if stands_still || (is_done && done.remaining > 0) {
            return Err(wrong_chunk());
        }
        Ok(done.bytes_written)
    }

    /// Reads on in chunks; `Ok(0)` when they are at their end.
    fn read_chunks(
        &mut self,
        (left, chunk): (&mut Range<usize>, &mut Inflating),
        to: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            if chunk.packed == 0 && chunk.unpacked == 0 {
                let Some(next) = left.next() else {
                    return Ok(0);
                };
                let next = &self.contents.chunks[next];
                let (place, size) = (next.place.clone(), next.size);
                self.decoder.reinit()?;
                self.fetched.go_to(place.start)?;
                *chunk = Inflating {
                    packed: place.end - place.start,
                    unpacked: size,
                };
            }
            match self.inflate(chunk, to)? {
                0 => {}
                length => return Ok(length),
            }
        }
    }
}

impl<R: BufRead, H: FnMut(&ChunkedFile) -> Here> Read for Rebuilt<R, H> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        loop {
            let mut now = std::mem::replace(&mut self.now, Now::Nothing);
            let length = match &mut now {
                Now::Ended => {
                    self.now = Now::Ended;
                    return Ok(0);
                }
                Now::Nothing | Now::Here(_, 0) => 0,
                Now::Raw(bytes, at) => {
                    let length = (&bytes[*at..]).read(to)?;
                    *at += length;
                    length
                }
                Now::Here(file, left) => {
                    let room = usize::try_from(*left).unwrap_or(usize::MAX);
                    let room = room.min(to.len());
                    let length = file.read(&mut to[..room])?;
                    if length == 0 {
                        return Err(invalid("a file that is here has become shorter"));
                    }
                    *left -= length as u64;
                    length
                }
                Now::Chunks(left, chunk) => self.read_chunks((left, chunk), to)?,
            };
            if length > 0 {
                self.now = now;
                return Ok(length);
            }
            self.now = self.advance()?;
        }
    }
}

impl<R, H> std::fmt::Debug for Rebuilt<R, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rebuilt")
            .field("next_file", &self.next_file)
            .finish_non_exhaustive()
    }
}

fn wrong_chunk() -> io::Error {
    invalid("a chunk does not hold what the table says")
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;
    use crate::sample::noise;
    use crate::{PackFormat, Packing, pack};

    /// A layer of zstd:chunked, as dhow makes it.
    struct Layer {
        archive: Vec<u8>,
        blob: Bytes,
        places: ChunkedPlaces,
    }

    fn layer(files: &[(&str, Vec<u8>)]) -> Layer {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1_600_000_000);
            let added = builder.append_data(&mut header, name, &content[..]);
            added.expect("memory takes it");
        }
        let archive = builder.into_inner().expect("memory takes it");
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let (blob, facts) = runtime.expect("a runtime starts").block_on(async {
            let body = stream::iter([Ok(Bytes::from(archive.clone()))]).boxed();
            let packing = Packing {
                format: PackFormat::ZstdChunked,
                level: None,
            };
            let (packed, facts) = pack(body, packing, None);
            let pieces: Vec<_> = packed
                .map(|piece| piece.expect("it is packed"))
                .collect()
                .await;
            (pieces.concat(), facts.take().expect("it has ended well"))
        });
        let places = ChunkedPlaces::parse(&facts.annotations, blob.len() as u64);
        Layer {
            archive,
            blob: blob.into(),
            places: places.expect("good annotations").expect("they are there"),
        }
    }

    impl Layer {
        fn at(&self, part: &Range<u64>) -> Bytes {
            let index = |at: u64| usize::try_from(at).expect("memory holds it");
            self.blob.slice(index(part.start)..index(part.end))
        }

        fn contents(&self) -> Arc<ChunkedContents> {
            let table = self.at(&self.places.table());
            let contents = ChunkedContents::parse(&table, &self.places).expect("a good table");
            let split = self.at(&self.places.tar_split());
            let size = contents
                .check(&split, &self.places)
                .expect("a good tar-split");
            assert_eq!(size, self.archive.len() as u64);
            Arc::new(contents)
        }

        /// Puts the archive together from these files and the rest of the blob; returns how many
        /// bytes of it were needed, too.
        fn rebuilt(
            &self,
            here: &[&[u8]],
            spoil: impl Fn(&mut Vec<u8>),
        ) -> io::Result<(Vec<u8>, u64)> {
            let contents = self.contents();
            let known =
                |file: &ChunkedFile| here.iter().find(|content| file.digest.matches(content));
            let parts = contents.parts(|file| known(file).is_none(), 100);
            let mut bytes: Vec<u8> = parts.iter().flat_map(|part| self.at(part)).collect();
            let count = bytes.len() as u64;
            spoil(&mut bytes);
            let opened = |file: &ChunkedFile| -> Here {
                Ok(known(file).map(|content| {
                    Box::new(io::Cursor::new(content.to_vec())) as Box<dyn Read + Send>
                }))
            };
            let split = self.at(&self.places.tar_split());
            let what = (contents, &self.places);
            let mut rebuilt = Rebuilt::new(what, split, (parts, &bytes[..]), opened)?;
            let mut archive = Vec::new();
            rebuilt.read_to_end(&mut archive)?;
            Ok((archive, count))
        }
    }

    fn files() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("a", noise(1).take(700_000).collect()),
            ("small", b"x".to_vec()),
            ("empty", Vec::new()),
            ("b", noise(2).take(5_000).collect()),
            ("zeros", vec![0; 1_000_000]),
            ("c", noise(3).take(300_000).collect()),
        ]
    }

    #[test]
    fn the_archive_is_the_same_whatever_is_here() {
        let files = files();
        let layer = layer(&files);
        for here in 0..1 << files.len() {
            let known: Vec<&[u8]> = files.iter().map(|(_, content)| &content[..]).collect();
            let known: Vec<&[u8]> = known
                .into_iter()
                .enumerate()
                .filter_map(|(number, content)| (here >> number & 1 == 1).then_some(content))
                .collect();
            let (archive, count) = layer.rebuilt(&known, |_| {}).expect("it is put together");
            assert_eq!(archive, layer.archive, "{here:b}");
            let all = known.len() == files.len();
            assert_eq!(
                count == 0,
                all || known.len() == 5 && here & 4 == 0,
                "{here:b}"
            );
        }
    }

    #[test]
    fn bytes_that_are_not_those_of_the_blob_are_an_error() {
        let files = files();
        let layer = layer(&files);
        for (what, spoil) in [
            (
                "cut",
                (|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2)) as fn(&mut Vec<u8>),
            ),
            ("cut at the end", |bytes| bytes.truncate(bytes.len() - 1)),
            ("empty", Vec::clear),
            ("changed", |bytes| bytes[1000] ^= 1),
            ("zeros", |bytes| bytes.fill(0)),
            ("shifted", |bytes| bytes.rotate_left(1)),
        ] {
            let found = layer.rebuilt(&[&files[3].1], spoil);
            assert!(found.is_err(), "{what}");
        }
    }

    #[test]
    fn a_file_that_has_become_another_is_an_error_or_another_archive() {
        let files = files();
        let layer = layer(&files);
        let contents = layer.contents();
        for (what, content, broken) in [
            ("shorter", vec![0_u8; 10], true),
            ("other content", vec![0; 700_000], false),
            ("longer", vec![0; 800_000], false),
        ] {
            let first = contents.files[0].digest;
            let parts = contents.parts(|file| file.digest != first, 0);
            let bytes: Vec<u8> = parts.iter().flat_map(|part| layer.at(part)).collect();
            let opened = |file: &ChunkedFile| -> Here {
                let is_it = file.digest == first;
                let content = io::Cursor::new(content.clone());
                Ok(is_it.then(|| Box::new(content) as Box<dyn Read + Send>))
            };
            let split = layer.at(&layer.places.tar_split());
            let what_is_made = (Arc::clone(&contents), &layer.places);
            let rebuilt = Rebuilt::new(what_is_made, split, (parts, &bytes[..]), opened);
            let mut archive = Vec::new();
            let read = rebuilt.expect("it begins").read_to_end(&mut archive);
            assert_eq!(read.is_err(), broken, "{what}");
            assert_ne!(archive, layer.archive, "{what}");
        }
    }

    #[test]
    fn a_description_of_another_layer_is_refused() {
        let (one, other) = (layer(&files()), layer(&files()[1..]));
        let table = other.at(&other.places.table());
        assert!(ChunkedContents::parse(&table, &one.places).is_err());
        let split = other.at(&other.places.tar_split());
        assert!(one.contents().check(&split, &one.places).is_err());
    }
}
