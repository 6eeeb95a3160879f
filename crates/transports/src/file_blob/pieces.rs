//! Reading a part of a file piece by piece.
//!
//! ```text
//! in memory: the kernel has it  ─▶ read where it is wanted, while it is
//! else                          ─▶ blocking thread: read ─▶ 2 pieces at most ─▶
//! ```
//!
//! What is read where it is wanted needs no queue and wakes nobody, and is hashed and sent from the
//! processor's own cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use dhow_codec::Buffers;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::coop;

use super::{DEPTH, Part, blocking, produced};

/// The size of the pieces that are read from files, in bytes.
const PIECE: usize = 64 * 1024;

/// Returns a part of a file piece by piece. It is read from the first poll on.
pub(super) fn of(file: Arc<File>, part: Part) -> BoxStream<'static, io::Result<Bytes>> {
    stream::unfold(Pieces::new(file, part), |mut pieces| async move {
        pieces.next().await.map(|piece| (piece, pieces))
    })
    .boxed()
}

/// The pieces of a part of a file, from wherever they are read.
enum Pieces {
    /// Where they are wanted, without waiting.
    Here(Reader),
    /// By a thread, once something had to be waited for.
    There(BoxStream<'static, io::Result<Bytes>>),
}

/// What is left to be read of a part of a file.
struct Reader {
    file: Arc<File>,
    part: Part,
    buffers: Buffers,
    access: Access,
}

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// As long as the kernel has in memory what comes next.
    Cached,
    /// Whatever it takes: in a thread, or where its file system has no disk.
    Plain,
}

impl Pieces {
    fn new(file: Arc<File>, part: Part) -> Self {
        Self::Here(Reader {
            file,
            part,
            // One is being written, and one is being read.
            buffers: Buffers::new(room(part.size), DEPTH + 2),
            access: Access::Cached,
        })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let reader = match self {
                Self::There(pieces) => return pieces.next().await,
                Self::Here(reader) if reader.part.size == 0 => return None,
                Self::Here(reader) => reader,
            };
            // What never waits would keep all others waiting.
            coop::consume_budget().await;
            match reader.read() {
                Ok(piece) => return Some(Ok(piece)),
                Err(error) if reader.may_be_in_memory(&error) && reader.is_in_memory().await => {
                    reader.access = Access::Plain;
                }
                // Not now, or not at all: the thread finds out.
                Err(_) => {
                    let rest = reader.take();
                    *self = Self::There(produced(move |sender| send(rest, sender)));
                }
            }
        }
    }
}

impl Reader {
    fn read(&mut self) -> io::Result<Bytes> {
        let (file, access, offset) = (&self.file, self.access, self.part.offset);
        let room = room(self.part.size);
        let piece = loop {
            let read = |buffer: &mut [u8]| access.read(file, &mut buffer[..room], offset);
            match self.buffers.fill(read) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.part.offset += piece.len() as u64;
        self.part.size -= piece.len() as u64;
        Ok(piece)
    }

    fn may_be_in_memory(&self, error: &io::Error) -> bool {
        self.access == Access::Cached && error.kind() == io::ErrorKind::Unsupported
    }

    /// Asks the file system; that may block.
    fn is_in_memory(&self) -> impl Future<Output = bool> + use<> {
        let file = Arc::clone(&self.file);
        let asked = blocking(move || dhow_layout::lies_in_memory(&file));
        async { asked.await.unwrap_or(false) }
    }

    /// Returns a reader of the same, which waits, and has the buffers.
    fn take(&mut self) -> Self {
        Self {
            file: Arc::clone(&self.file),
            part: self.part,
            buffers: std::mem::replace(&mut self.buffers, Buffers::new(0, 0)),
            access: Access::Plain,
        }
    }
}

impl Access {
    fn read(self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Cached => read_cached(file, buffer, offset),
            Self::Plain => file.read_at(buffer, offset),
        }
    }
}

#[cfg(target_os = "linux")]
fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};

    let mut buffers = [io::IoSliceMut::new(buffer)];
    Ok(preadv2(file, &mut buffers, offset, ReadWriteFlags::NOWAIT)?)
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: &mut [u8], _: u64) -> io::Result<usize> {
    Err(io::ErrorKind::WouldBlock.into())
}

/// Sends what is left of a part of a file. Blocks.
fn send(mut rest: Reader, sender: &mpsc::Sender<io::Result<Bytes>>) {
    while rest.part.size > 0 {
        let result = rest.read();
        let is_over = result.is_err();
        if sender.blocking_send(result).is_err() || is_over {
            return;
        }
    }
}

fn room(left: u64) -> usize {
    usize::try_from(left).map_or(PIECE, |left| left.min(PIECE))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::{Path, PathBuf};

    use futures_util::TryStreamExt as _;

    use super::*;

    fn file_in(folder: &Path, bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile_in(folder).unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    /// Two file systems, one of them in memory, where there are two.
    fn folders() -> Vec<PathBuf> {
        let mut folders = vec![std::env::temp_dir(), PathBuf::from("/dev/shm")];
        folders.retain(|folder| folder.is_dir());
        folders
    }

    #[tokio::test]
    async fn a_part_is_read_whole_whatever_it_lies_on() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        for folder in folders() {
            let file = file_in(&folder, &bytes);
            for (offset, size) in [(0, 300_000), (7, 65_536), (100_000, 200_000), (5, 0)] {
                let part = Part { offset, size };
                let pieces: Vec<Bytes> = of(Arc::clone(&file), part).try_collect().await.unwrap();
                assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
                let range = usize::try_from(offset).unwrap()..;
                assert_eq!(
                    pieces.concat(),
                    bytes[range][..usize::try_from(size).unwrap()]
                );
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_ends_early_is_an_error() {
        for folder in folders() {
            let part = Part {
                offset: 90_000,
                size: 20_000,
            };
            let mut pieces = of(file_in(&folder, &vec![1; 100_000]), part);
            assert_eq!(pieces.next().await.unwrap().unwrap().len(), 10_000);
            let error = pieces.next().await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert!(pieces.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn what_is_in_memory_is_read_without_a_thread() {
        let file = file_in(&std::env::temp_dir(), &vec![1; 100_000]);
        let part = Part {
            offset: 0,
            size: 100_000,
        };
        let told = read_cached(&file, &mut [0], 0).is_ok();
        let mut pieces = Pieces::new(file, part);
        while let Some(piece) = pieces.next().await {
            piece.unwrap();
        }
        // A file system that cannot tell has a thread, or is in memory itself.
        assert!(matches!(pieces, Pieces::Here(_)) || !told);
    }
}
