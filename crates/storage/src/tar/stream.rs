//! Reading an archive from front to end (POSIX.1-1988 ustar, pax, GNU tar).

use std::io::{BufRead, Read as _};

use super::header::{Entry, EntryKind, Time};
use super::pax::Extended;
use crate::error::{Error, Result};

/// An archive that arrives. Whatever is not content of a file is collected as raw bytes, so that the
/// archive can be put together again.
#[derive(Debug)]
pub(crate) struct TarStream<R> {
    input: R,
    raw: Vec<u8>,
    content: u64,
    padding: u64,
    ended: bool,
}

impl<R: BufRead> TarStream<R> {
    /// Returns the stream for an uncompressed archive.
    pub(crate) const fn new(input: R) -> Self {
        Self {
            input,
            raw: Vec::new(),
            content: 0,
            padding: 0,
            ended: false,
        }
    }

    /// Goes to the next entry, past what is left of this one; `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        while !self.piece()?.is_empty() {
            let length = self.piece()?.len();
            self.consume(length);
        }
        let padding = std::mem::take(&mut self.padding);
        self.take_raw(padding)?;
        let mut extended = Extended::default();
        loop {
            let Some(block) = self.block()? else {
                return Ok(None);
            };
            let size = number(&block[124..136]).and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| not_tar("a header without a size"))?;
            match block[156] {
                b'x' => extended.take(&self.meta(size)?).map_err(Error::NotTar)?,
                b'g' => drop(self.meta(size)?),
                b'L' => extended.name = Some(until_nul(&self.meta(size)?).to_vec()),
                b'K' => extended.link = Some(until_nul(&self.meta(size)?).to_vec()),
                _ => return self.entry(&block, size, extended).map(Some),
            }
            if self.raw.len() > MAX_RAW {
                return Err(not_tar("headers without end"));
            }
        }
    }

    /// Returns what is there of the content of this entry, without taking it; nothing at its end.
    pub(crate) fn piece(&mut self) -> Result<&[u8]> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let piece = self.input.fill_buf().map_err(Error::Stream)?;
        if piece.is_empty() {
            return Err(not_tar("unexpected end in the content of an entry"));
        }
        let length = usize::try_from(self.content).unwrap_or(usize::MAX);
        Ok(&piece[..piece.len().min(length)])
    }

    /// Takes so many bytes of what [`TarStream::piece`] gave.
    pub(crate) fn consume(&mut self, length: usize) {
        self.input.consume(length);
        self.content -= length as u64;
    }

    /// Takes the rest of the content as raw bytes, where it is not what the file will hold.
    pub(crate) fn take_content_raw(&mut self, length: u64) -> Result<()> {
        let length = length.min(self.content);
        self.content -= length;
        self.take_raw(length)
    }

    /// Returns the bytes that were not content since the last time, and forgets them.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.raw)
    }

    /// Puts raw bytes back that were taken for a look, in front of what is read from now on.
    pub(crate) fn give_back(&mut self, mut before: Vec<u8>, after: &[u8]) {
        before.extend_from_slice(after);
        before.append(&mut self.raw);
        self.raw = before;
    }

    /// Reads what comes after the end of the archive. Gives it in pieces.
    pub(crate) fn rest(&mut self, mut give: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        loop {
            let piece = self.input.fill_buf().map_err(Error::Stream)?;
            if piece.is_empty() {
                return Ok(());
            }
            give(piece)?;
            let length = piece.len();
            self.input.consume(length);
        }
    }

    /// Reads the next header; `None` at the end.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.whole_block()? else {
            return Ok(None);
        };
        if block.iter().any(|byte| *byte != 0) {
            check_sum(&block)?;
            return Ok(Some(block));
        }
        // SPEC: two blocks of zeros end an archive. Writers that leave one or both away are
        // understood, as everybody does.
        match self.whole_block()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => {
                Err(not_tar("a header that is half zeros"))
            }
            _ => {
                self.ended = true;
                Ok(None)
            }
        }
    }

    fn whole_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let before = self.raw.len();
        let mut bounded = (&mut self.input).take(BLOCK as u64);
        let read = bounded.read_to_end(&mut self.raw);
        match read.map_err(Error::Stream)? {
            0 => {
                self.ended = true;
                Ok(None)
            }
            BLOCK => {
                let block = self.raw[before..].try_into();
                block.map(Some).map_err(|_| not_tar("a short header"))
            }
            _ => Err(not_tar("unexpected end in a header")),
        }
    }

    /// Reads the content of a header that describes the next one.
    fn meta(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_META {
            return Err(not_tar("an extended header that is too large"));
        }
        let before = self.raw.len();
        self.take_raw(size)?;
        let meta = self.raw[before..].to_vec();
        self.take_raw(padding(size))?;
        Ok(meta)
    }

    /// Reads so many bytes into the raw ones.
    fn take_raw(&mut self, length: u64) -> Result<()> {
        let mut bounded = (&mut self.input).take(length);
        let read = bounded.read_to_end(&mut self.raw).map_err(Error::Stream)?;
        if (read as u64) < length {
            return Err(not_tar("unexpected end"));
        }
        Ok(())
    }

    fn entry(&mut self, block: &[u8; BLOCK], size: u64, mut extended: Extended) -> Result<Entry> {
        let sparse = extended.sparse();
        let name = extended.name.unwrap_or_else(|| name(block));
        let link = extended.link;
        let link = link.unwrap_or_else(|| until_nul(&block[157..257]).to_vec());
        let field = |range: std::ops::Range<usize>, what: &'static str| {
            let value = number(&block[range]).and_then(|value| u64::try_from(value).ok());
            value.ok_or_else(|| Error::entry(&name, format!("its {what} is not a number")))
        };
        let kind = EntryKind::of(block[156], &name);
        let size = extended.size.unwrap_or(size);
        self.content = if kind.has_content() { size } else { 0 };
        self.padding = padding(self.content);
        let device = if matches!(kind, EntryKind::Character | EntryKind::Block) {
            let part = |range, what| {
                field(range, what).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
            };
            (
                part(329..337, "major number")?,
                part(337..345, "minor number")?,
            )
        } else {
            (0, 0)
        };
        let uid = extended.uid.map_or_else(|| field(108..116, "owner"), Ok)?;
        let gid = extended.gid.map_or_else(|| field(116..124, "group"), Ok)?;
        let mode = u32::try_from(field(100..108, "mode")? & 0o7777).unwrap_or_default();
        let mtime = Time {
            seconds: number(&block[136..148]).unwrap_or_default(),
            nanos: 0,
        };
        Ok(Entry {
            link,
            kind,
            mode,
            uid,
            gid,
            size: self.content,
            mtime: extended.mtime.unwrap_or(mtime),
            atime: extended.atime,
            device,
            xattrs: extended.xattrs,
            sparse,
            name,
        })
    }
}

/// Returns the name that the header itself tells.
fn name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = until_nul(&block[345..500]);
    // SPEC: GNU tar has other things where ustar has the prefix; its magic has a space.
    if &block[257..263] != b"ustar\0" || prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

/// Returns the value of a numeric field: octal digits, or a binary number (GNU tar, *base-256*).
fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let start = i64::from(first & 0x3f) - i64::from(first & 0x40);
        return rest.iter().try_fold(start, |sum, byte| {
            sum.checked_mul(256)?.checked_add(i64::from(*byte))
        });
    }
    let text = std::str::from_utf8(until_nul(field))
        .ok()?
        .trim_matches(' ');
    if text.is_empty() {
        return Some(0);
    }
    i64::from_str_radix(text, 8).ok()
}

/// Checks that a header is one.
fn check_sum(block: &[u8; BLOCK]) -> Result<()> {
    let wanted = number(&block[148..156]);
    let blank = 8 * i64::from(b' ');
    let others = || block[..148].iter().chain(&block[156..]);
    let unsigned = blank + others().map(|byte| i64::from(*byte)).sum::<i64>();
    // SPEC: old writers added the bytes up as signed ones.
    let signed = blank
        + others()
            .map(|byte| i64::from(byte.cast_signed()))
            .sum::<i64>();
    if wanted == Some(unsigned) || wanted == Some(signed) {
        return Ok(());
    }
    Err(not_tar("a header with a wrong checksum"))
}

fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// Returns how many bytes fill up the last block.
const fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn not_tar(what: &str) -> Error {
    Error::NotTar(what.to_owned())
}

/// The size of a block, in bytes.
const BLOCK: usize = 512;

/// The largest extended header, in bytes: as much as Go's archive/tar takes.
const MAX_META: u64 = 1 << 20;

/// The most that headers of one entry may have, in bytes.
const MAX_RAW: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\x01\x02", Some(258)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfb", Some(-5)),
            (b"00009\0\0\0", None),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn every_byte_is_either_content_or_raw() {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in [("a", &b"hello"[..]), ("b/c", b""), ("long", &[7; 1300])] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o640);
            let name = name.repeat(if name == "long" { 60 } else { 1 });
            builder
                .append_data(&mut header, name, content)
                .expect("memory takes it");
        }
        let mut archive = builder.into_inner().expect("memory takes it");
        archive.extend(b"after the end");
        let mut stream = TarStream::new(&archive[..]);
        let mut seen = Vec::new();
        let mut names = Vec::new();
        while let Some(entry) = stream.next().expect("a good archive") {
            seen.extend(stream.take());
            names.push(entry.name);
            loop {
                let piece = stream.piece().expect("a good archive").to_vec();
                if piece.is_empty() {
                    break;
                }
                stream.consume(piece.len());
                seen.extend(piece);
            }
        }
        seen.extend(stream.take());
        stream
            .rest(|piece| {
                seen.extend(piece);
                Ok(())
            })
            .expect("memory gives it");
        assert_eq!(seen, archive);
        assert_eq!(names, [&b"a"[..], b"b/c", "long".repeat(60).as_bytes()]);
    }

    #[test]
    fn an_archive_with_any_wrong_byte_ends() {
        let mut builder = tar::Builder::new(Vec::new());
        let pax = [("SCHILY.xattr.user.a", &b"b"[..]), ("mtime", b"1.5")];
        builder.append_pax_extensions(pax).expect("memory takes it");
        let mut header = tar::Header::new_ustar();
        header.set_size(600);
        builder
            .append_data(&mut header, "a/b", &[1; 600][..])
            .expect("memory takes it");
        let archive = builder.into_inner().expect("memory takes it");
        for place in 0..archive.len() {
            for value in [0, b'7', 0x7f, 0x80, 0xff] {
                let mut changed = archive.clone();
                changed[place] = value;
                let mut stream = TarStream::new(&changed[..]);
                let mut entries = 0;
                while let Ok(Some(_)) = stream.next() {
                    entries += 1;
                    assert!(entries < 10, "byte {place} as {value}");
                }
            }
        }
    }
}
