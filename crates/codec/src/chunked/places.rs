//! Where a zstd:chunked layer has its table of contents and its tar-split, as the annotations of its
//! descriptor say (containers/storage, `docs/containers-storage-zstd-chunked.md`).

use std::ops::Range;

use dhow_model::{Algorithm, Annotations, Digest};

use super::error::ChunkedError;

/// Two parts of a layer, by which the rest can be fetched file by file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkedPlaces {
    table: Range<u64>,
    pub(super) table_size: u64,
    pub(super) table_digest: Digest,
    tar_split: Range<u64>,
    pub(super) tar_split_size: u64,
}

impl ChunkedPlaces {
    /// Returns the places in a blob of this size (bytes); `None`: it is not zstd:chunked, or says
    /// nothing of a tar-split.
    ///
    /// # Errors
    /// When an annotation makes no sense, or more is described than is ever read.
    pub fn parse(annotations: &Annotations, blob_size: u64) -> Result<Option<Self>, ChunkedError> {
        let (Some(checksum), Some(table_at), Some(split_at)) = (
            annotations.value(CHECKSUM),
            annotations.value(TABLE),
            annotations.value(TAR_SPLIT),
        ) else {
            return Ok(None);
        };
        let wrong = |key, value: &str| ChunkedError::Annotation {
            key,
            value: value.chars().take(SHOWN).collect(),
        };
        let digest = Digest::parse(checksum).ok();
        let digest = digest.filter(|digest| digest.algorithm() == Algorithm::Sha256);
        let table_digest = digest.ok_or_else(|| wrong(CHECKSUM, checksum))?;
        let [table_start, table_length, table_size, _] = numbers::<4>(table_at)
            .filter(|[.., kind]| *kind == TABLE_KIND)
            .ok_or_else(|| wrong(TABLE, table_at))?;
        let [split_start, split_length, tar_split_size] =
            numbers::<3>(split_at).ok_or_else(|| wrong(TAR_SPLIT, split_at))?;
        let table = part(table_start, table_length, blob_size);
        let table = table.ok_or_else(|| wrong(TABLE, table_at))?;
        let tar_split = part(split_start, split_length, blob_size);
        let tar_split = tar_split
            .filter(|split| split.end <= table.start || table.end <= split.start)
            .ok_or_else(|| wrong(TAR_SPLIT, split_at))?;
        for (what, size, most) in [
            ("table of contents", table_length, MAX_PACKED),
            ("table of contents", table_size, MAX_TABLE),
            ("tar-split", split_length, MAX_PACKED),
            ("tar-split", tar_split_size, MAX_TAR_SPLIT),
        ] {
            if size > most {
                return Err(ChunkedError::TooLarge { what, size, most });
            }
        }
        Ok(Some(Self {
            table,
            table_size,
            table_digest,
            tar_split,
            tar_split_size,
        }))
    }

    /// Returns where the table of contents is: bytes of the blob.
    pub fn table(&self) -> Range<u64> {
        self.table.clone()
    }

    /// Returns where the tar-split is.
    pub fn tar_split(&self) -> Range<u64> {
        self.tar_split.clone()
    }

    /// Returns where the contents of files have ended.
    pub(super) fn end_of_contents(&self) -> u64 {
        self.table.start.min(self.tar_split.start)
    }
}

/// Returns the numbers between colons, if there are so many.
fn numbers<const COUNT: usize>(text: &str) -> Option<[u64; COUNT]> {
    let numbers: Vec<u64> = text
        .split(':')
        .map(|number| number.parse().ok())
        .collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// Returns a part that has something in it and lies in the blob.
fn part(start: u64, length: u64, blob_size: u64) -> Option<Range<u64>> {
    let end = start.checked_add(length)?;
    (length > 0 && end <= blob_size).then_some(start..end)
}

/// The annotation with the digest of the table, as it is compressed.
pub(super) const CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";

/// The annotation that says where the table is: start, length, size when decompressed, kind.
pub(super) const TABLE: &str = "io.github.containers.zstd-chunked.manifest-position";

/// The annotation that says where the tar-split is: start, length, size when decompressed.
pub(super) const TAR_SPLIT: &str = "io.github.containers.zstd-chunked.tarsplit-position";

/// The kind of table: that of CRFS.
pub(super) const TABLE_KIND: u64 = 1;

/// The most that is read of either, compressed, in bytes: it is held in memory.
const MAX_PACKED: u64 = 50 << 20;

/// The largest table when it is decompressed, in bytes; it is read piece by piece.
const MAX_TABLE: u64 = 256 << 20;

/// The largest tar-split when it is decompressed, in bytes, likewise.
const MAX_TAR_SPLIT: u64 = 1 << 30;

/// How much of an annotation is shown, in characters.
const SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(table: &str, tar_split: &str) -> Result<Option<ChunkedPlaces>, ChunkedError> {
        let digest = Digest::sha256(b"").to_string();
        let annotations = [
            (CHECKSUM, digest.as_str()),
            (TABLE, table),
            (TAR_SPLIT, tar_split),
        ];
        ChunkedPlaces::parse(&annotations.into_iter().collect(), 1000)
    }

    #[test]
    fn places_that_make_sense_are_taken_and_no_others() {
        let good = parsed("100:50:500:1", "158:20:30").unwrap().unwrap();
        assert_eq!((good.table(), good.tar_split()), (100..150, 158..178));
        for (table, tar_split) in [
            ("100:50:500:2", "158:20:30"),   // Another kind of table.
            ("100:50:500", "158:20:30"),     // A number is missing.
            ("100:50:500:1:1", "158:20:30"), // There is one too many.
            ("-1:50:500:1", "158:20:30"),    // No such place.
            ("980:50:500:1", "158:20:30"),   // Behind the end.
            ("100:0:500:1", "158:20:30"),    // Nothing.
            ("100:50:500:1", "149:20:30"),   // One in the other.
            ("100:50:500:1", "18446744073709551615:20:30"), // More than a number holds.
            ("100:50:500:1", "158:20:2147483648"), // A bomb.
            ("100:50:300000000:1", "158:20:30"), // Another.
            ("", ""),
        ] {
            let found = parsed(table, tar_split);
            assert!(found.is_err(), "{table} {tar_split}: {found:?}");
        }
    }

    #[test]
    fn a_layer_without_all_annotations_is_not_zstd_chunked() {
        let some = [(TABLE, "100:50:500:1"), (TAR_SPLIT, "158:20:30")];
        assert_eq!(
            ChunkedPlaces::parse(&some.into_iter().collect(), 1000),
            Ok(None)
        );
        let wrong = [(CHECKSUM, "sha256:1"), some[0], some[1]];
        assert!(ChunkedPlaces::parse(&wrong.into_iter().collect(), 1000).is_err());
    }
}
