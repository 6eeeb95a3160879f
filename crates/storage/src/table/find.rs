//! Finding files by the digests of their content.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use dhow_model::Digest;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::TABLE_KEY;
use crate::big_data;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::open::Store;

/// Files that are looked for: the SHA-256 digests of their contents, and their sizes in bytes.
pub type Wanted = HashSet<(Digest, u64)>;

/// Files of a store, by the digests that its tables give. Whether they have these digests is for the
/// reader to find out.
#[derive(Debug, Default)]
pub struct LocalFiles {
    folders: Vec<Folder>,
    /// Which folder a file is in, and what it is called there.
    files: HashMap<(Digest, u64), (usize, Vec<u8>)>,
}

impl LocalFiles {
    /// Returns whether there is a file with this digest and size.
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        self.files.contains_key(&(*digest, size))
    }

    /// Opens such a file; `None`: there is none.
    ///
    /// # Errors
    /// When it is not there any more, or has another size.
    pub fn open(&self, digest: &Digest, size: u64) -> io::Result<Option<File>> {
        let Some((folder, name)) = self.files.get(&(*digest, size)) else {
            return Ok(None);
        };
        let file = self.folders[*folder].open_file(name)?;
        let about = rustix::fs::fstat(&file)?;
        if !is_file_of(&about, size) {
            let name = name.escape_ascii();
            let why = format!("file `{name}` of a layer in the store has become another");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Some(file))
    }
}

impl Store {
    /// Returns whether any layer has a table, by which files of it could be found.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn has_tables(&self) -> Result<bool> {
        for home in self.homes() {
            let layers = home.layers()?;
            if layers.iter().any(|layer| table(home, &layer.id).exists()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Finds files in the layers of the store, the newest layers first. A table that cannot be read
    /// is passed.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn find_files(&self, wanted: &Wanted) -> Result<LocalFiles> {
        let mut found = LocalFiles::default();
        let mut left = MAX_TABLES;
        for home in self.homes() {
            let layers = home.layers()?;
            for layer in layers.iter().rev().filter(|layer| !layer.is_incomplete()) {
                if found.files.len() == wanted.len() || left == 0 {
                    return Ok(found);
                }
                if let Err(error) = found.look_into(home, &layer.id, wanted, &mut left) {
                    tracing::debug!(layer = layer.id, %error, "the table of a layer is of no use");
                }
            }
        }
        Ok(found)
    }
}

impl LocalFiles {
    /// Looks for files in one layer; at most so many bytes are `left` to be read.
    fn look_into(&mut self, home: &Home, id: &str, wanted: &Wanted, left: &mut u64) -> Result<()> {
        let path = table(home, id);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        let folder = Folder::open(&home.layer_files(id))?;
        let bound = (*left).min(MAX_TABLE);
        let mut reader = BufReader::with_capacity(BUFFER, file.take(bound));
        let search = Search {
            place: self.folders.len(),
            folder: &folder,
            wanted,
            files: &mut self.files,
        };
        let searched = search.deserialize(&mut serde_json::Deserializer::from_reader(&mut reader));
        *left -= bound - reader.get_ref().limit();
        // What was found before a table broke was looked at like the rest.
        self.folders.push(folder);
        searched.map_err(|error| Error::Malformed {
            path,
            reason: error.to_string(),
        })
    }
}

/// A search in the table of one layer.
struct Search<'a> {
    /// Which of all folders it is.
    place: usize,
    folder: &'a Folder,
    wanted: &'a Wanted,
    files: &'a mut HashMap<(Digest, u64), (usize, Vec<u8>)>,
}

/// What a row says that matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Row {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    size: u64,
    digest: String,
}

impl Search<'_> {
    /// Notes a file that is wanted and there.
    fn take(&mut self, row: Row) {
        if row.kind != "reg" || row.size == 0 {
            return;
        }
        let Some(key) = Digest::parse(&row.digest)
            .ok()
            .map(|digest| (digest, row.size))
        else {
            return;
        };
        if !self.wanted.contains(&key) || self.files.contains_key(&key) {
            return;
        }
        let name = row.name.into_bytes();
        if self
            .folder
            .look(&name)
            .is_ok_and(|about| is_file_of(&about, row.size))
        {
            self.files.insert(key, (self.place, name));
        }
    }
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, table: D) -> Result<(), D::Error> {
        table.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of contents")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "entries" {
                map.next_value_seed(Rows(&mut self))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The rows, which are read one by one: a table need not fit into memory.
struct Rows<'a, 'b>(&'a mut Search<'b>);

impl<'de> DeserializeSeed<'de> for Rows<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, rows: D) -> Result<(), D::Error> {
        rows.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element()? {
            self.0.take(row);
        }
        Ok(())
    }
}

/// The folder with the files of a layer. No name leads out of it, and none through a symlink.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty());
        folder.map(Self).map_err(Error::call("open", path))
    }

    /// Returns what stands under a name.
    pub(super) fn look(&self, name: &[u8]) -> Result<Stat, Errno> {
        rustix::fs::fstat(self.open_as(name, OFlags::PATH)?)
    }

    fn open_file(&self, name: &[u8]) -> io::Result<File> {
        let opened = self.open_as(name, OFlags::RDONLY | OFlags::NONBLOCK)?;
        Ok(File::from(opened))
    }

    fn open_as(&self, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let name = name.strip_prefix(b"/").unwrap_or(name);
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.0, name, flags, Mode::empty(), resolve)
    }
}

/// Returns whether something is a file of this size.
pub(super) fn is_file_of(about: &Stat, size: u64) -> bool {
    FileType::from_raw_mode(about.st_mode) == FileType::RegularFile
        && u64::try_from(about.st_size) == Ok(size)
}

/// Returns where a layer has its table.
fn table(home: &Home, id: &str) -> std::path::PathBuf {
    big_data::path(&home.big_data_folder(id), TABLE_KEY)
}

/// How much of a table is read at a time, in bytes.
const BUFFER: usize = 64 << 10;

/// The largest table that is read, in bytes: as large as Podman takes them.
const MAX_TABLE: u64 = 150 << 20;

/// The most that is read of all tables, in bytes: some two seconds' work.
const MAX_TABLES: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use serde_json::{Value, json};

    use super::*;
    use crate::open::Options;
    use crate::records::make_folder;

    /// A store of layers with a file `secret` beside each that no name leads to.
    fn store(root: &Path, layers: &[(&str, &str)]) -> Store {
        let store = Store::open(&Options {
            driver: Some("overlay".to_owned()),
            graph_root: root.to_owned(),
            ..Options::default()
        });
        let store = store.expect("the driver is known");
        let mut records = Vec::new();
        for (id, table_text) in layers {
            let files = store.home.layer_files(id);
            make_folder(&files).unwrap();
            fs::write(files.join("file"), "content").unwrap();
            fs::write(files.join("../secret"), "content").unwrap();
            symlink("../secret", files.join("link")).unwrap();
            symlink("/file", files.join("inner")).unwrap();
            symlink("..", files.join("up")).unwrap();
            make_folder(&files.join("folder")).unwrap();
            let path = table(&store.home, id);
            make_folder(path.parent().unwrap()).unwrap();
            fs::write(path, table_text).unwrap();
            records.push(json!({"id": id}));
        }
        make_folder(&store.home.layers_folder()).unwrap();
        fs::write(store.home.layers_list(), Value::from(records).to_string()).unwrap();
        store
    }

    fn row(name: &str, content: &str) -> Value {
        let digest = Digest::sha256(content.as_bytes());
        json!({"type": "reg", "name": name, "size": content.len(), "digest": digest})
    }

    fn wanted(content: &str) -> Wanted {
        let digest = Digest::sha256(content.as_bytes());
        [(digest, content.len() as u64)].into_iter().collect()
    }

    #[test]
    fn files_are_found_where_a_table_says_and_nowhere_outside() {
        for (name, found) in [
            ("file", true),
            ("./file", true),
            ("/file", true),
            ("../../file", true), // The root is above itself.
            ("secret", false),
            ("../secret", false),
            ("link", false),
            ("inner", false), // Links are not followed, even where they stay inside.
            ("up/secret", false),
            ("folder", false),
            ("missing", false),
            ("/proc/self/exe", false),
            ("", false),
        ] {
            let root = tempfile::tempdir().unwrap();
            let table = json!({"version": 1, "entries": [row(name, "content")]}).to_string();
            let store = store(root.path(), &[("one", &table)]);
            assert!(store.has_tables().unwrap());
            let files = store.find_files(&wanted("content")).unwrap();
            let (digest, size) = wanted("content").into_iter().next().unwrap();
            assert_eq!(files.has(&digest, size), found, "{name}");
            let opened = files.open(&digest, size).unwrap();
            assert_eq!(opened.is_some(), found, "{name}");
            if let Some(mut file) = opened {
                let mut content = String::new();
                file.read_to_string(&mut content).unwrap();
                assert_eq!(content, "content");
            }
        }
    }

    #[test]
    fn what_no_table_of_podman_or_dhow_says_is_passed() {
        let good = row("file", "content");
        let with = |key: &str, value: Value| {
            let mut row = good.clone();
            row[key] = value;
            row
        };
        let root = tempfile::tempdir().unwrap();
        let rows = [
            with("size", json!(8)),
            with("type", json!("hardlink")),
            with("digest", json!("sha256:1")),
            json!({"type": "dir", "name": "folder", "mode": 493, "modtime": "2020-01-01T00:00:00Z"}),
        ];
        let broken = json!({"entries": [good]})
            .to_string()
            .replace("]}", ", {\"size\": -1}]}");
        let store = store(
            root.path(),
            &[
                (
                    "last",
                    &json!({"version": 1, "entries": [good.clone()]}).to_string(),
                ),
                ("rows", &json!({"entries": rows}).to_string()),
                ("none", "{}"),
                ("empty", ""),
                ("list", "[]"),
                ("text", r#"{"entries": "none"}"#),
            ],
        );
        let files = store.find_files(&wanted("content")).unwrap();
        assert_eq!(files.files.len(), 1);
        assert!(store.find_files(&wanted("other")).unwrap().files.is_empty());
        // What stands before the break counts.
        fs::write(table(&store.home, "empty"), broken).unwrap();
        fs::remove_file(table(&store.home, "last")).unwrap();
        assert_eq!(store.find_files(&wanted("content")).unwrap().files.len(), 1);
    }

    #[test]
    fn a_file_that_has_changed_its_size_is_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let table = json!({"entries": [row("file", "content")]}).to_string();
        let store = store(root.path(), &[("one", &table)]);
        let files = store.find_files(&wanted("content")).unwrap();
        let (digest, size) = wanted("content").into_iter().next().unwrap();
        fs::write(store.home.layer_files("one").join("file"), "contents").unwrap();
        assert!(files.open(&digest, size).is_err());
        fs::remove_file(store.home.layer_files("one").join("file")).unwrap();
        assert!(files.open(&digest, size).is_err());
    }
}
