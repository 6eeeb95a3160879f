//! Writing the table of a layer that is being unpacked.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use dhow_model::Digest;
use serde::Serialize;

use super::find::{Folder, is_file_of};
use crate::error::{Error, Result};

/// The files so far.
///
/// A name is no proof: another entry may have replaced the file, by the same name in other words or
/// through a link. So files are known by their inodes until all is unpacked, and what a name leads
/// to is looked at then.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: PathBuf,
    files: HashMap<u64, Row>,
    /// How many bytes all names have.
    names: usize,
}

/// A file with content.
#[derive(Debug)]
struct Row {
    name: String,
    size: u64,
    digest: Digest,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    size: u64,
    digest: &'a Digest,
}

impl Recorder {
    /// Begins a table that will be written into a file.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            files: HashMap::new(),
            names: 0,
        }
    }

    /// Notes a file that was written, by its name in the archive. Not more are noted than fit into
    /// memory; the others cannot be found then.
    pub(crate) fn note(&mut self, file: impl AsFd, name: &[u8], digest: Digest) {
        let (Ok(name), Ok(about)) = (std::str::from_utf8(name), rustix::fs::fstat(file)) else {
            return;
        };
        let Ok(size @ 1..) = u64::try_from(about.st_size) else {
            return;
        };
        let row = Row {
            name: name.to_owned(),
            size,
            digest,
        };
        if self.files.len() < MAX_FILES && self.names + name.len() <= MAX_NAMES {
            self.names += name.len();
            // Who had this inode before is gone.
            self.files.insert(about.st_ino, row);
        } else {
            self.files.remove(&about.st_ino);
        }
    }

    /// Writes the table of what is in the folder now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn finish(self, folder: &Path) -> Result<()> {
        let folder = Folder::open(folder)?;
        let is_there = |inode: u64, row: &Row| {
            let found = folder.look(row.name.as_bytes());
            found.is_ok_and(|found| found.st_ino == inode && is_file_of(&found, row.size))
        };
        let rows = self.files.iter();
        let rows = rows.filter(|(inode, row)| is_there(**inode, row));
        let mut rows: Vec<&Row> = rows.map(|(_, row)| row).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600);
        let file = file.open(&self.path);
        let file = file.map_err(Error::file("create", &self.path))?;
        write(&rows, file).map_err(Error::file("write", &self.path))
    }
}

fn write(rows: &[&Row], file: File) -> std::io::Result<()> {
    let mut output = BufWriter::new(file);
    output.write_all(br#"{"version":1,"entries":["#)?;
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            output.write_all(b",")?;
        }
        let line = Line {
            kind: "reg",
            name: &row.name,
            size: row.size,
            digest: &row.digest,
        };
        serde_json::to_writer(&mut output, &line)?;
    }
    output.write_all(b"]}")?;
    output.flush()
}

/// The most files of a table.
const MAX_FILES: usize = 200_000;

/// The most bytes of all their names.
const MAX_NAMES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::*;
    use crate::unpack::{Means, Target, Whiteouts, unpack};

    /// An archive of files with content, and of links.
    fn archive(entries: &[(tar::EntryType, &str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, name, what) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1_600_000_000);
            let field = &mut header.as_old_mut().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            let content = match kind {
                tar::EntryType::Regular => what.as_bytes(),
                tar::EntryType::Directory => b"",
                _ => {
                    header.set_link_name(what).unwrap();
                    b""
                }
            };
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// The names in the table that comes of an archive; what it says of them is so.
    fn noted(entries: &[(tar::EntryType, &str, &str)]) -> Vec<String> {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("diff");
        fs::create_dir(&folder).unwrap();
        let path = place.path().join("table");
        let target = Target {
            folder: &folder,
            description: File::create(place.path().join("description")).unwrap(),
            table: Some(Recorder::new(path.clone())),
        };
        let means = Means {
            ignore_chown_errors: true,
            ..Means::default()
        };
        unpack(&archive(entries)[..], target, Whiteouts::Applied, means).unwrap();
        let table: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let rows = table["entries"].as_array().unwrap().iter();
        rows.map(|row| {
            let name = row["name"].as_str().unwrap();
            let content = fs::read(folder.join(name.trim_start_matches(['/', '.']))).unwrap();
            let digest = Digest::sha256(&content).to_string();
            assert_eq!(row["digest"], digest.as_str(), "{name}");
            assert_eq!(row["size"], content.len(), "{name}");
            name.to_owned()
        })
        .collect()
    }

    #[test]
    fn a_table_says_nothing_that_is_not_so_at_the_end() {
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        let (good, evil) = ("good content", "evil content");
        for (entries, expected) in [
            (
                vec![
                    (Directory, "d/", ""),
                    (Regular, "d/a", good),
                    (Regular, "b", evil),
                    (Regular, "empty", ""),
                    (Link, "c", "b"),
                    (Symlink, "l", "b"),
                ],
                vec!["b", "d/a"],
            ),
            // The same file by three names; the last one stays.
            (
                vec![(Regular, "a", good), (Regular, "/a", evil)],
                vec!["/a"],
            ),
            (
                vec![(Regular, "a", good), (Regular, "../a", evil)],
                vec!["../a"],
            ),
            // Through a link.
            (
                vec![
                    (Regular, "d/a", good),
                    (Symlink, "l", "d"),
                    (Regular, "l/a", evil),
                ],
                vec![],
            ),
            // Replaced by a link, and by a folder.
            (
                vec![
                    (Regular, "a", good),
                    (Regular, "b", evil),
                    (Link, "/a", "b"),
                ],
                vec!["b"],
            ),
            (
                vec![
                    (Regular, "a", good),
                    (Directory, "/a/", ""),
                    (Regular, "a/b", evil),
                ],
                vec!["a/b"],
            ),
        ] {
            assert_eq!(noted(&entries), expected, "{entries:?}");
        }
    }
}
