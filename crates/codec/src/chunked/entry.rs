//! What the table of contents says of a member.

use std::collections::BTreeMap;
use std::ops::Range;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dhow_model::Digest;
use serde_json::{Map, Value, json};

use super::frames::Place;

/// A member of the tar file.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) link: String,
    pub(super) mode: u64,
    /// The size of the content in bytes; 0 for what has none.
    pub(super) size: u64,
    pub(super) user: u64,
    pub(super) group: u64,
    pub(super) user_name: String,
    pub(super) group_name: String,
    /// As RFC 3339.
    pub(super) modified: Option<String>,
    pub(super) device: (u64, u64),
    pub(super) attributes: BTreeMap<String, Vec<u8>>,
    pub(super) digest: Option<Digest>,
    /// Which frames hold the content.
    pub(super) frames: Range<usize>,
}

/// All members; not more than fit into memory.
#[derive(Default)]
pub(super) struct Entries {
    all: Vec<Entry>,
    bytes: usize,
}

impl Entries {
    /// Adds a member; `false` when there are too many.
    pub(super) fn add(&mut self, entry: Entry) -> bool {
        let attributes = entry.attributes.iter();
        self.bytes += entry.name.len()
            + entry.link.len()
            + attributes
                .map(|(key, value)| key.len() + value.len())
                .sum::<usize>();
        self.all.push(entry);
        self.all.len() <= MAX_ENTRIES && self.bytes <= MAX_BYTES
    }

    /// Returns the table, once it is known where each frame is.
    pub(super) fn table(self, places: &[Place], tar_split: &Digest) -> Value {
        let entries = self.all.iter().flat_map(|entry| entry.rows(places));
        json!({
            "version": 1,
            "entries": entries.collect::<Vec<_>>(),
            "tarSplitDigest": tar_split,
        })
    }
}

impl Entry {
    /// Returns the rows of the member: its own, and one for each further chunk.
    fn rows(&self, places: &[Place]) -> Vec<Value> {
        let chunks = places.get(self.frames.clone()).unwrap_or_default();
        let mut row = self.row();
        if let (Some(first), Some(last)) = (chunks.first(), chunks.last()) {
            row.insert("offset".to_owned(), json!(first.offset));
            row.insert("endOffset".to_owned(), json!(last.end));
        }
        if chunks.len() < 2 {
            return vec![Value::Object(row)];
        }
        let mut rows = Vec::with_capacity(chunks.len());
        let mut start = 0;
        for (number, chunk) in chunks.iter().enumerate() {
            let mut row = if number == 0 {
                std::mem::take(&mut row)
            } else {
                let mut row = Map::new();
                row.insert("type".to_owned(), json!("chunk"));
                row.insert("name".to_owned(), json!(self.name));
                row.insert("offset".to_owned(), json!(chunk.offset));
                row.insert("chunkOffset".to_owned(), json!(start));
                row
            };
            row.insert("chunkSize".to_owned(), json!(chunk.size));
            row.insert("chunkDigest".to_owned(), json!(chunk.digest));
            start += chunk.size;
            rows.push(Value::Object(row));
        }
        rows
    }

    fn row(&self) -> Map<String, Value> {
        let mut row = Map::new();
        row.insert("type".to_owned(), json!(self.kind));
        row.insert("name".to_owned(), json!(self.name));
        let mut text = |key: &str, value: &str| {
            if !value.is_empty() {
                row.insert(key.to_owned(), json!(value));
            }
        };
        text("linkName", &self.link);
        text("userName", &self.user_name);
        text("groupName", &self.group_name);
        text("modtime", self.modified.as_deref().unwrap_or_default());
        for (key, value) in [
            ("mode", self.mode),
            ("size", self.size),
            ("uid", self.user),
            ("gid", self.group),
            ("devMajor", self.device.0),
            ("devMinor", self.device.1),
        ] {
            if value != 0 {
                row.insert(key.to_owned(), json!(value));
            }
        }
        if !self.attributes.is_empty() {
            let attributes = self.attributes.iter();
            let attributes: BTreeMap<_, _> = attributes
                .map(|(key, value)| (key, BASE64_STANDARD.encode(value)))
                .collect();
            row.insert("xattrs".to_owned(), json!(attributes));
        }
        if let Some(digest) = &self.digest {
            row.insert("digest".to_owned(), json!(digest));
        }
        row
    }
}

/// The most members that a table lists. Images have some hundred thousand files at most.
const MAX_ENTRIES: usize = 2_000_000;

/// The most bytes of all names, targets and attributes together.
const MAX_BYTES: usize = 256 * 1024 * 1024;
