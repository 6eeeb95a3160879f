//! A gap in an archive that is left for a layer, as large as the layer will probably be: so layers that
//! come at once are written at once.
//!
//! ```text
//! │ header, layer │ header, (layer) │ header, (layer) │ ◀─ the end, where others go on
//! ```
//!
//! A layer that does not fit exactly moves into a file of its own. What lies behind the gap moves up when
//! all layers are there.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use dhow_model::Digest;
use dhow_transport::Result;

use super::spool::{Pieces, unwritten};
use super::tail::layer_header;
use crate::file_blob::Part;
use crate::tar_entry::{self, BLOCK};

/// A gap for one layer.
#[derive(Debug)]
pub(super) struct Gap {
    archive: File,
    /// Where its header goes, in bytes.
    offset: u64,
    /// The index of the layer.
    layer: usize,
    /// How many bytes it will probably have.
    size: u64,
}

/// What became of a layer.
pub(super) enum Filled {
    /// It has filled the gap.
    Exactly,
    /// It is in this file, and the gap is empty.
    Aside(File),
}

impl Gap {
    pub(super) const fn new(archive: File, offset: u64, (layer, size): (usize, u64)) -> Self {
        Self {
            archive,
            offset,
            layer,
            size,
        }
    }

    pub(super) const fn layer(&self) -> usize {
        self.layer
    }

    /// Returns where it is in the archive, in bytes.
    pub(super) const fn range(&self) -> Range<u64> {
        let end = self.offset + BLOCK + self.size.next_multiple_of(BLOCK);
        self.offset..end
    }

    /// Writes a layer as it comes: here, and if it does not fit into a file of its own in `folder`.
    pub(super) fn fill(&self, pieces: Pieces, folder: &Path) -> Result<(Digest, u64, Filled)> {
        let mut filling = Filling {
            gap: self,
            folder,
            written: 0,
            aside: None,
        };
        let (digest, size) = pieces.write(&mut filling)?;
        let filled = filling.end(&digest).map_err(unwritten)?;
        Ok((digest, size, filled))
    }
}

/// A gap that is being filled.
struct Filling<'a> {
    gap: &'a Gap,
    folder: &'a Path,
    written: u64,
    aside: Option<File>,
}

impl Filling<'_> {
    fn end(mut self, digest: &Digest) -> io::Result<Filled> {
        let Gap {
            archive,
            offset,
            size,
            ..
        } = self.gap;
        if self.written < *size {
            self.move_aside()?;
        }
        if let Some(aside) = self.aside {
            return Ok(Filled::Aside(aside));
        }
        let content = offset + BLOCK;
        archive.write_all_at(&tar_entry::padding(*size), content + size)?;
        archive.write_all_at(layer_header(digest, *size)?.as_bytes(), *offset)?;
        Ok(Filled::Exactly)
    }

    fn move_aside(&mut self) -> io::Result<()> {
        let mut aside = tempfile::tempfile_in(self.folder)?;
        let written = Part {
            offset: self.gap.offset + BLOCK,
            size: self.written,
        };
        tar_entry::copy(&self.gap.archive, written, &mut aside)?;
        self.aside = Some(aside);
        Ok(())
    }
}

impl Write for Filling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.gap.size.saturating_sub(self.written);
        if self.aside.is_none() && bytes.len() as u64 > room {
            self.move_aside()?;
        }
        let written = if let Some(aside) = &mut self.aside {
            aside.write(bytes)?
        } else {
            let position = self.gap.offset + BLOCK + self.written;
            self.gap.archive.write_at(bytes, position)?
        };
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Moves what lies behind empty gaps to where they begin, up to the end of the archive.
pub(super) fn close(archive: &File, end: &mut u64, mut gaps: Vec<Range<u64>>) -> io::Result<()> {
    gaps.sort_unstable_by_key(|gap| gap.start);
    let Some(first) = gaps.first() else {
        return Ok(());
    };
    let mut to = first.start;
    let ends = gaps.iter().skip(1).map(|gap| gap.start).chain([*end]);
    for (gap, end) in gaps.iter().zip(ends) {
        move_up(archive, gap.end..end, to)?;
        to += end - gap.end;
    }
    *end = to;
    Ok(())
}

/// Moves bytes of a file nearer to its start, where they may lie already in part: piece by piece, each
/// read before it is written.
fn move_up(mut file: &File, from: Range<u64>, to: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(to))?;
    let part = Part {
        offset: from.start,
        size: from.end - from.start,
    };
    tar_entry::copy_bytes(file, part, &mut file)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use dhow_transport::Blob;
    use futures_util::{StreamExt as _, stream};

    use super::super::assembly::tests::{assembly, layer, slow};
    use super::super::tail::Tail;
    use super::super::turns::{Place, SMALL};
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_lies_aside_is_written_behind_a_gap_that_is_still_empty() {
        let folder = tempfile::tempdir().unwrap();
        let assembly = assembly(folder.path(), SMALL);
        let (aside, _) = assembly
            .put(&layer(1), slow(1, Duration::ZERO))
            .await
            .unwrap();
        let (go_on, held) = tokio::sync::oneshot::channel();
        let body = stream::once(async move {
            held.await.map_err(io::Error::other)?;
            Ok(Bytes::from_static(b"base"))
        });
        let content = Blob::from_stream(None, body.boxed()).likely(Some(4));
        let in_place = || matches!(assembly.stored(&aside).unwrap().place, Place::Archive);
        let looks = async {
            while !in_place() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            go_on.send(()).unwrap();
        };
        let base = layer(0);
        let both = futures_util::future::join(assembly.put(&base, content), looks);
        let both = tokio::time::timeout(Duration::from_secs(10), both).await;
        both.unwrap().0.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn layers_whose_sizes_are_likely_are_written_beside_each_other() {
        // Nothing can be set aside there.
        let assembly = assembly(Path::new("/nowhere"), SMALL);
        let all_are_here = Arc::new(tokio::sync::Barrier::new(3));
        let puts = (0..3).rev().map(|index| {
            let (assembly, all_are_here) = (&assembly, Arc::clone(&all_are_here));
            let body = stream::once(async move {
                all_are_here.wait().await;
                Ok(Bytes::from(vec![0; 1000 + index]))
            });
            let likely = Some(1000 + index as u64);
            let blob = Blob::from_stream(None, body.boxed()).likely(likely);
            async move { assembly.put(&layer(index), blob).await }
        });
        let puts = futures_util::future::join_all(puts);
        for put in tokio::time::timeout(Duration::from_secs(10), puts)
            .await
            .unwrap()
        {
            put.unwrap();
        }
        let Tail::File { mut file, .. } = assembly.close().unwrap() else {
            unreachable!("it was opened as a file");
        };
        file.rewind().unwrap();
        let mut archive = tar::Archive::new(file);
        let sizes = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().size());
        assert_eq!(sizes.collect::<Vec<_>>(), [1000, 1001, 1002]);
    }
}
