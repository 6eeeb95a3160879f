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
                endings.lock().push_back(Ending {
                    position,
                    crc: expected,
                });
                Ok(())
            }
        }
    }
}

impl Endings {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Ending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next end, if it is not behind this position.
    fn up_to(&self, position: u64) -> Option<Ending> {
        self.lock().pop_front_if(|next| next.position <= position)
    }
}

/// Checks content while it passes.
pub(crate) fn checked(content: Stream, endings: Endings) -> Stream {
    let (mut crc, mut position) = (Crc::new(), 0);
    let check = move |piece: &[u8]| -> io::Result<()> {
        let mut left = piece;
        while let Some(ending) = endings.up_to(position + left.len() as u64) {
            let length = usize::try_from(ending.position - position).unwrap_or(left.len());
            let (of_this, next) = left.split_at(length);
            crc.update(of_this);
            compare(&mut crc, ending.crc)?;
            (left, position) = (next, ending.position);
        }
        crc.update(left);
        position += left.len() as u64;
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
