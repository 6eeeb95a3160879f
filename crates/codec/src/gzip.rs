//! gzip, RFC 1952: all members of a file, one behind the other.
//!
//! Decompressing is what takes the time; so whoever takes what comes out can check it on a thread of
//! his own.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::Crc;
use flate2::bufread::{DeflateDecoder, GzDecoder};
use futures_util::{StreamExt as _, stream};

use crate::stage::Stream;

/// The content of a gzip file. Zeros behind the last member are padding, as tapes leave it.
pub(crate) struct Gzip<R> {
    member: Option<DeflateDecoder<R>>,
    check: Check,
    /// How much has come out of all members.
    position: u64,
}

/// Checks what comes out.
enum Check {
    Here(Crc),
    /// The next who has it does.
    Behind(Endings),
}

/// Where members end in the content, and what their bytes should add up to: told by the one who
/// decompresses, before it says what comes behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endings(Arc<Mutex<VecDeque<Ending>>>);

#[derive(Clone, Copy, Debug)]
struct Ending {
    position: u64,
    crc: u32,
    /// Whoever decompresses checks what comes behind.
    is_last: bool,
}

impl<R: BufRead> Gzip<R> {
    /// Returns the content, checked.
    pub(crate) fn new(from: R) -> io::Result<Self> {
        Self::with(from, Check::Here(Crc::new()))
    }

    /// Returns the content for someone who checks it with [`checked`].
    pub(crate) fn unchecked(from: R, endings: Endings) -> io::Result<Self> {
        Self::with(from, Check::Behind(endings))
    }

    fn with(from: R, check: Check) -> io::Result<Self> {
        Ok(Self {
            member: Some(member(from)?),
            check,
            position: 0,
        })
    }

    /// Reads what is behind the content of a member, and goes on to the next, if there is one.
    fn advance(&mut self) -> io::Result<()> {
        let Some(ended) = self.member.take() else {
            return Ok(());
        };
        let size = ended.total_out();
        let mut from = ended.into_inner();
        let (crc, expected) = trailer(&mut from)?;
        if size & u64::from(u32::MAX) != u64::from(expected) {
            return Err(corrupt());
        }
        self.check.end(self.position, crc)?;
        if goes_on(&mut from)? {
            self.member = Some(member(from)?);
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            match member.read(to)? {
                0 if !to.is_empty() => self.advance()?,
                length => {
                    self.position += length as u64;
                    self.check.take(&to[..length]);
                    return Ok(length);
                }
            }
        }
        Ok(0)
    }
}

impl Check {
    fn take(&mut self, content: &[u8]) {
        if let Self::Here(crc) = self {
            crc.update(content);
        }
    }

    fn end(&mut self, position: u64, expected: u32) -> io::Result<()> {
        match self {
            Self::Here(crc) => compare(crc, expected),
            Self::Behind(endings) => {
                if endings.add(position, expected) {
                    *self = Self::Here(Crc::new());
                }
                Ok(())
            }
        }
    }
}

impl Endings {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Ending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an end. Returns whether it is the last: a file of tiny members could have millions.
    fn add(&self, position: u64, crc: u32) -> bool {
        let mut noted = self.lock();
        let is_last = noted.len() + 1 == MOST;
        noted.push_back(Ending {
            position,
            crc,
            is_last,
        });
        is_last
    }

    /// Returns the next end, if it is not behind this position.
    fn up_to(&self, position: u64) -> Option<Ending> {
        self.lock().pop_front_if(|next| next.position <= position)
    }
}

/// Checks content while it passes.
pub(crate) fn checked(content: Stream, endings: Endings) -> Stream {
    let mut check = Some(Checking::new(endings));
    let check = move |piece: &[u8]| -> io::Result<()> {
        if let Some(checking) = &mut check
            && checking.take(piece)?
        {
            check = None;
        }
        Ok(())
    };
    let state = Some((content, check));
    stream::try_unfold(state, |state| async move {
        let Some((mut content, mut check)) = state else {
            return Ok(None);
        };
        let piece = content.next().await.transpose()?;
        check(piece.as_deref().unwrap_or_default())?;
        Ok(piece.map(|piece| (piece, Some((content, check)))))
    })
    .boxed()
}

/// How far content is checked.
struct Checking {
    endings: Endings,
    crc: Crc,
    position: u64,
}

impl Checking {
    fn new(endings: Endings) -> Self {
        Self {
            endings,
            crc: Crc::new(),
            position: 0,
        }
    }

    /// Checks the next piece, and at the end of all an empty one. Returns whether that was the last.
    fn take(&mut self, mut piece: &[u8]) -> io::Result<bool> {
        while let Some(ending) = self.endings.up_to(self.position + piece.len() as u64) {
            let length = usize::try_from(ending.position - self.position);
            let (of_this, next) = piece.split_at(length.unwrap_or(piece.len()));
            self.crc.update(of_this);
            compare(&mut self.crc, ending.crc)?;
            if ending.is_last {
                return Ok(true);
            }
            (piece, self.position) = (next, ending.position);
        }
        self.crc.update(piece);
        self.position += piece.len() as u64;
        Ok(false)
    }
}

/// Reads the header of a member.
fn member<R: BufRead>(from: R) -> io::Result<DeflateDecoder<R>> {
    let mut whole = GzDecoder::new(from);
    if whole.header().is_none() {
        // Why it cannot be read is said to whoever reads on.
        whole.read_exact(&mut [0])?;
    }
    Ok(DeflateDecoder::new(whole.into_inner()))
}

/// Reads what a member ends with: the CRC-32 of its content, and its size modulo 2^32.
fn trailer(from: &mut impl BufRead) -> io::Result<(u32, u32)> {
    let mut crc = [0; 4];
    let mut size = [0; 4];
    from.read_exact(&mut crc)?;
    from.read_exact(&mut size)?;
    Ok((u32::from_le_bytes(crc), u32::from_le_bytes(size)))
}

/// Returns whether there is one more member.
fn goes_on(from: &mut impl BufRead) -> io::Result<bool> {
    let mut padded = false;
    loop {
        let ahead = from.fill_buf()?;
        let zeros = ahead.iter().take_while(|byte| **byte == 0).count();
        match (ahead.is_empty(), zeros == ahead.len()) {
            (true, _) => return Ok(false),
            (false, true) => {
                padded = true;
                from.consume(zeros);
            }
            (false, false) if padded || zeros > 0 || ahead[0] != MAGIC => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "there is something behind the end of the gzip stream",
                ));
            }
            (false, false) => return Ok(true),
        }
    }
}

/// Compares what has passed with what should have, and begins anew.
fn compare(crc: &mut Crc, expected: u32) -> io::Result<()> {
    if crc.sum() != expected {
        return Err(corrupt());
    }
    crc.reset();
    Ok(())
}

fn corrupt() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the content of the gzip stream is not what its checksum says",
    )
}

/// The first byte of every member.
const MAGIC: u8 = 0x1f;

/// How many members may end before they are checked: those of 256 KiB that dhow makes are never so many.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn however_many_members_there_are_few_wait_to_be_checked() {
        let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        member.write_all(b"x").unwrap();
        let member = member.finish().unwrap();
        let (count, length) = (3 * MOST, member.len());
        let file = member.repeat(count);
        let unpacked = |file: &[u8]| {
            let endings = Endings::default();
            let mut all = Vec::new();
            Gzip::unchecked(file, endings.clone())?.read_to_end(&mut all)?;
            assert_eq!(endings.lock().len(), MOST);
            Checking::new(endings)
                .take(&all)
                .map(|is_last| (all, is_last))
        };
        let (all, is_last) = unpacked(&file).unwrap();
        assert_eq!((all, is_last), (b"x".repeat(count), true));
        for wrong in [0, MOST - 2, MOST - 1, MOST, count - 1] {
            let mut file = file.clone();
            file[(wrong + 1) * length - 8] ^= 1;
            assert!(unpacked(&file).is_err(), "{wrong}");
        }
    }
}
