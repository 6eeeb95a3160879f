//! The rows of a table of contents, read one by one: a table need not fit into memory.

use std::fmt;

use dhow_model::{Algorithm, Digest};
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::contents::{Chunk, ChunkedFile};

/// What is taken from a table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: Rows,
    /// The digest of the tar-split, as it is written.
    pub(super) tar_split: Option<String>,
}

impl Table {
    /// Reads a table of a blob whose files end before `end` (bytes).
    pub(super) fn read<'de, D: Deserializer<'de>>(json: D, end: u64) -> Result<Self, D::Error> {
        json.deserialize_map(Fields(end))
    }
}

/// Reads the object that a table is.
struct Fields(u64);

impl<'de> Visitor<'de> for Fields {
    type Value = Table;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
        let (mut rows, mut tar_split) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            let first = match key.as_str() {
                "entries" => rows
                    .replace(map.next_value_seed(Rows::new(self.0))?)
                    .is_none(),
                "tarSplitDigest" => tar_split.replace(map.next_value()?).is_none(),
                _ => map.next_value::<IgnoredAny>().map(|_| true)?,
            };
            if !first {
                return Err(A::Error::custom(format_args!("`{key}` comes twice")));
            }
        }
        Ok(Table {
            rows: rows.ok_or_else(|| A::Error::missing_field("entries"))?,
            tar_split,
        })
    }
}

/// Files and their chunks, as far as they are read.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) files: Vec<ChunkedFile>,
    pub(super) chunks: Vec<Chunk>,
    open: Option<Open>,
    /// Where the last file has ended in the blob.
    at: u64,
    /// Where all files must have ended.
    end: u64,
}

/// A file of which more chunks may come.
#[derive(Debug)]
struct Open {
    digest: Digest,
    size: u64,
    /// Where it ends in the blob.
    end: u64,
    first_chunk: usize,
    /// How much of it its chunks have.
    filled: u64,
}

/// What a row says that matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Row {
    #[serde(rename = "type")]
    kind: String,
    size: u64,
    digest: String,
    offset: u64,
    end_offset: u64,
    chunk_size: u64,
    chunk_offset: u64,
}

impl<'de> DeserializeSeed<'de> for Rows {
    type Value = Self;

    fn deserialize<D: Deserializer<'de>>(self, rows: D) -> Result<Self, D::Error> {
        rows.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<Self, A::Error> {
        while let Some(row) = rows.next_element()? {
            self.add(&row).map_err(A::Error::custom)?;
        }
        self.close().map_err(A::Error::custom)?;
        Ok(self)
    }
}

impl Rows {
    const fn new(end: u64) -> Self {
        Self {
            files: Vec::new(),
            chunks: Vec::new(),
            open: None,
            at: 0,
            end,
        }
    }

    fn add(&mut self, row: &Row) -> Result<(), &'static str> {
        if row.kind == "chunk" {
            return self.further_chunk(row);
        }
        self.close()?;
        if row.kind == "reg" && row.size > 0 {
            return self.file(row);
        }
        Ok(())
    }

    fn file(&mut self, row: &Row) -> Result<(), &'static str> {
        if self.files.len() == MAX_FILES {
            return Err("it has too many files");
        }
        let digest = Digest::parse(&row.digest).ok();
        let digest = digest.filter(|digest| digest.algorithm() == Algorithm::Sha256);
        if row.offset < self.at || row.end_offset > self.end {
            return Err("a file is where something else is");
        }
        self.open = Some(Open {
            digest: digest.ok_or("a file has no digest of sha256")?,
            size: row.size,
            end: row.end_offset,
            first_chunk: self.chunks.len(),
            filled: 0,
        });
        self.chunk(row.offset, row.chunk_size)
    }

    fn further_chunk(&mut self, row: &Row) -> Result<(), &'static str> {
        let open = self.open.as_ref().ok_or("a chunk is of no file")?;
        if row.chunk_offset != open.filled {
            return Err("a chunk does not follow the one before it");
        }
        if let Some(before) = self.chunks.last_mut() {
            before.place.end = row.offset;
            check(before)?;
        }
        self.chunk(row.offset, row.chunk_size)
    }

    /// Adds a chunk to the file that is open; without a size it is all that is left of the file.
    fn chunk(&mut self, start: u64, size: u64) -> Result<(), &'static str> {
        let open = self.open.as_mut().ok_or("a chunk is of no file")?;
        let left = open.size - open.filled;
        let size = if size == 0 { left } else { size };
        if size == 0 || size > left {
            return Err("chunks are larger than their file");
        }
        if self.chunks.len() == MAX_CHUNKS {
            return Err("it has too many chunks");
        }
        open.filled += size;
        let place = start..open.end;
        self.chunks.push(Chunk { place, size });
        Ok(())
    }

    /// Ends the file that is open.
    fn close(&mut self) -> Result<(), &'static str> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        if let Some(last) = self.chunks.last() {
            check(last)?;
        }
        if open.filled != open.size {
            return Err("chunks are smaller than their file");
        }
        self.at = open.end;
        self.files.push(ChunkedFile {
            digest: open.digest,
            size: open.size,
            chunks: open.first_chunk..self.chunks.len(),
        });
        Ok(())
    }
}

/// Checks that a chunk has a place. Together with the order of files it follows that none overlap.
const fn check(chunk: &Chunk) -> Result<(), &'static str> {
    if chunk.place.start < chunk.place.end {
        Ok(())
    } else {
        Err("a chunk is where something else is")
    }
}

/// The most files that are read; some 80 bytes are held for each. Images have some hundred thousand
/// at most.
const MAX_FILES: usize = 300_000;

/// The most chunks, 24 bytes each: 64 GiB in pieces of 64 KiB.
const MAX_CHUNKS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(rows: &Value) -> Result<Rows, serde_json::Error> {
        let table = json!({"version": 1, "entries": rows, "tarSplitDigest": "x"});
        Table::read(table, 1000).map(|table| table.rows)
    }

    fn file(size: u64, from: u64, to: u64) -> Value {
        let digest = Digest::sha256(b"a").to_string();
        json!({"type": "reg", "name": "a", "size": size, "digest": digest,
            "offset": from, "endOffset": to})
    }

    fn with(mut row: Value, more: &Value) -> Value {
        for (key, value) in more.as_object().expect("an object") {
            row[key] = value.clone();
        }
        row
    }

    #[test]
    fn files_have_their_chunks_and_what_has_no_content_is_passed() {
        let first = with(file(100, 20, 90), &json!({"chunkSize": 60}));
        let rows = json!([
            {"type": "dir", "name": "d", "mode": 493, "modtime": "2020-01-01T00:00:00Z"},
            {"type": "reg", "name": "empty"},
            file(5, 10, 20),
            first,
            {"type": "chunk", "name": "a", "offset": 50, "chunkSize": 10, "chunkOffset": 60},
            {"type": "chunk", "name": "a", "offset": 70, "chunkOffset": 70, "chunkType": "zeros"},
            {"type": "symlink", "name": "l", "linkName": "a"},
            file(1, 95, 100),
        ]);
        let rows = read(&rows).expect("a good table");
        let chunks = |file: &ChunkedFile| -> Vec<_> {
            let chunks = rows.chunks[file.chunks.clone()].iter();
            chunks
                .map(|chunk| (chunk.place.clone(), chunk.size))
                .collect()
        };
        let found: Vec<_> = rows.files.iter().map(chunks).collect();
        let expected = [
            vec![(10..20, 5)],
            vec![(20..50, 60), (50..70, 10), (70..90, 30)],
            vec![(95..100, 1)],
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_table_that_lies_about_places_and_sizes_is_refused() {
        let chunk = |offset: u64, size: u64, at: u64| json!({"type": "chunk", "offset": offset, "chunkSize": size, "chunkOffset": at});
        let cut = |size: u64| with(file(100, 20, 90), &json!({"chunkSize": size}));
        for (rows, what) in [
            (json!([file(5, 20, 20)]), "a file has no place"),
            (json!([file(5, 30, 20)]), "a file ends before it begins"),
            (json!([file(5, 20, 1001)]), "a file ends behind the files"),
            (
                json!([file(5, 20, 30), file(5, 29, 40)]),
                "two files overlap",
            ),
            (
                json!([file(5, 20, 30), file(5, 10, 20)]),
                "files are not in order",
            ),
            (
                json!([file(u64::MAX, 20, 30), chunk(25, 1, 0)]),
                "a chunk more than there is",
            ),
            (json!([chunk(25, 1, 0)]), "a chunk is of no file"),
            (
                json!([file(0, 0, 0), chunk(25, 1, 0)]),
                "a chunk of an empty file",
            ),
            (
                json!([{"type": "dir", "name": "d"}, chunk(25, 1, 0)]),
                "a chunk of a folder",
            ),
            (json!([cut(101)]), "a chunk is larger than the file"),
            (json!([cut(50)]), "a chunk is missing"),
            (
                json!([cut(50), chunk(10, 50, 50)]),
                "a chunk before the file",
            ),
            (
                json!([cut(50), chunk(90, 50, 50)]),
                "a chunk behind the file",
            ),
            (
                json!([cut(50), chunk(60, 50, 49)]),
                "chunks overlap in the file",
            ),
            (json!([cut(50), chunk(60, 50, 51)]), "a hole in the file"),
            (
                json!([cut(50), chunk(60, u64::MAX, 50)]),
                "a sum that no number holds",
            ),
            (
                json!([with(file(5, 20, 30), &json!({"digest": "sha256:1"}))]),
                "no digest",
            ),
            (
                json!([with(file(5, 20, 30), &json!({"size": -5}))]),
                "less than nothing",
            ),
            (
                json!([with(file(5, 20, 30), &json!({"offset": 1.5}))]),
                "half a byte",
            ),
            (json!([1]), "a row is no object"),
            (json!({}), "rows are no list"),
        ] {
            assert!(read(&rows).is_err(), "{what}");
        }
        let twice = r#"{"entries": [], "entries": []}"#;
        let mut twice = serde_json::Deserializer::from_str(twice);
        assert!(Table::read(&mut twice, 1000).is_err());
    }

    #[test]
    fn a_table_without_end_is_refused_when_there_are_too_many_files() {
        let mut rows = Rows::new(u64::MAX);
        let row = |number: u64| Row {
            kind: "reg".to_owned(),
            size: 1,
            digest: Digest::sha256(b"").to_string(),
            offset: number,
            end_offset: number + 1,
            ..Row::default()
        };
        let most = MAX_FILES as u64;
        assert!((0..most).all(|number| rows.add(&row(number)).is_ok()));
        assert!(rows.add(&row(most)).is_err());
    }
}
