//! The members of a tar file, found without unpacking it (POSIX.1-2017 *pax Interchange Format*, and
//! GNU's long names): where each begins, and how long it is.
//!
//! Programs disagree about odd headers, and what one of them sees the other does not. So whatever
//! can be read in two ways is refused: sizes on members that have no content, sparse files, unknown
//! types, pax records that cannot be parsed. Nothing is ever written under a member's name.

#[cfg(test)]
mod corpus;
mod window;

use std::collections::HashMap;
use std::fs::File;
use std::io;

use tar::{EntryType, Header, PaxExtensions};

pub(crate) use self::window::ReadAt;
use self::window::Window;
use crate::file_blob::Part;

/// The size of a header, and what all content is padded to, in bytes.
const BLOCK: u64 = 512;
/// Where the type stands in a header.
const TYPE: usize = 156;
/// The most members of an archive; images have a few hundred.
const MAX_MEMBERS: usize = 1_000_000;
/// The largest extended header or long name, in bytes.
const MAX_EXTENSION: u64 = 1024 * 1024;
/// The most bytes of all names together.
const MAX_NAMES: usize = 128 * 1024 * 1024;
/// How many links are followed to a file.
const MAX_LINKS: usize = 8;

/// The members of an archive by name. Of several with one name the last counts, as it does for
/// those who unpack.
#[derive(Debug, Default)]
pub(crate) struct Members(HashMap<String, Member>);

#[derive(Debug)]
enum Member {
    File(Part),
    /// Leads to another name, counted from the root of the archive.
    Link(String),
}

/// What extended headers say of the member that follows them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    /// There was a pax header, or a long name or link of GNU's kind.
    pax: bool,
    gnu: bool,
}

impl Members {
    /// Finds the members. Reads headers only.
    ///
    /// # Errors
    /// `InvalidData`, with where and why, when the file is no tar file or an ambiguous one.
    pub(crate) fn read(file: &File) -> io::Result<Self> {
        Self::read_from(file, file.metadata()?.len())
    }

    /// Finds the members of anything that has so many bytes.
    fn read_from(file: &impl ReadAt, length: u64) -> io::Result<Self> {
        let mut window = Window::new(file);
        let mut members = Self::default();
        let mut extension = Extension::default();
        let (mut offset, mut names) = (0, 0);
        while offset + BLOCK <= length {
            let mut block = [0_u8; 512];
            block.copy_from_slice(window.bytes(offset, 512)?);
            if block.iter().all(|byte| *byte == 0) {
                break;
            }
            let wrong = |why: &str| invalid(offset, why);
            let header = Header::from_byte_slice(&block);
            check_sum(&block, header).map_err(|why| wrong(&why))?;
            let kind = header.entry_type();
            let announced = header
                .entry_size()
                .map_err(|_| wrong("its size is not a number"))?;
            let is_extension = is_extension(kind);
            let size = match extension.size {
                Some(size) if !is_extension => size,
                _ => announced,
            };
            let start = offset + BLOCK;
            let end = start.checked_add(size).filter(|end| *end <= length);
            let end = end.ok_or_else(|| wrong("it reaches beyond the end of the file"))?;
            let part = Part {
                offset: start,
                size,
            };
            if is_extension {
                extension
                    .take(
                        kind,
                        &read_extension(&mut window, part).map_err(|why| wrong(&why))?,
                    )
                    .map_err(|why| wrong(&why))?;
            } else {
                let found = std::mem::take(&mut extension);
                names += members
                    .add(header, found, part)
                    .map_err(|why| wrong(&why))?;
                if members.0.len() > MAX_MEMBERS || names > MAX_NAMES {
                    return Err(wrong("the archive has too many members"));
                }
            }
            offset = end.next_multiple_of(BLOCK);
        }
        if length < BLOCK {
            return Err(invalid(0, "the file is too short for a tar file"));
        }
        if extension.pax || extension.gnu {
            return Err(invalid(offset, "an extended header has no member"));
        }
        Ok(members)
    }

    /// Returns the file of a name, links followed.
    pub(crate) fn file(&self, name: &str) -> Option<Part> {
        let mut name = normalized(name)?;
        for _ in 0..MAX_LINKS {
            match self.0.get(&name)? {
                Member::File(part) => return Some(*part),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    /// Returns the name that a link leads to, counted from the root of the archive.
    pub(crate) fn target(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Member::Link(target) => Some(target),
            Member::File(_) => None,
        }
    }

    /// Returns the names of all members.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Adds a member; returns how long its name is.
    fn add(&mut self, header: &Header, found: Extension, part: Part) -> Result<usize, String> {
        let path = found
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = header.entry_type();
        let has_content = matches!(kind, EntryType::Regular | EntryType::Continuous);
        if !has_content && part.size != 0 {
            return Err("it has content, which members of its type have not".to_owned());
        }
        // Names that are not UTF-8, or lead out of the archive, are nobody's in an image.
        let Some(path) = std::str::from_utf8(&path).ok() else {
            return Ok(0);
        };
        // A name that climbs is refused by who unpacks; here it must not stand for another one.
        let Some(name) = normalized(path).filter(|_| !climbs(path)) else {
            return Ok(0);
        };
        let link = || {
            let link = found
                .link
                .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
            String::from_utf8(link.unwrap_or_default()).unwrap_or_default()
        };
        let member = match kind {
            // Old archives write directories as files whose names end in a slash. In newer ones some
            // see a directory there, and some a file.
            EntryType::Regular if path.ends_with('/') && header.as_bytes()[TYPE] == b'0' => {
                return Err("it is a file with the name of a directory".to_owned());
            }
            EntryType::Regular | EntryType::Continuous if path.ends_with('/') => None,
            EntryType::Regular | EntryType::Continuous => Some(Member::File(part)),
            EntryType::Link => normalized(&link()).map(Member::Link),
            EntryType::Symlink => {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                normalized(&format!("{folder}/{}", link())).map(Member::Link)
            }
            EntryType::Directory | EntryType::Char | EntryType::Block | EntryType::Fifo => None,
            other => return Err(format!("it has the type {:?}", char::from(other.as_byte()))),
        };
        let length = name.len();
        match member {
            Some(member) => self.0.insert(name, member),
            None => self.0.remove(&name),
        };
        Ok(length)
    }
}

impl Extension {
    fn take(&mut self, kind: EntryType, content: &[u8]) -> Result<(), String> {
        let text = || {
            let end = content.iter().position(|byte| *byte == 0);
            Some(content[..end.unwrap_or(content.len())].to_vec())
        };
        match kind {
            EntryType::GNULongName | EntryType::GNULongLink if self.pax => {
                return Err("it has extended headers of two kinds".to_owned());
            }
            EntryType::GNULongName => {
                self.path = text();
                self.gnu = true;
            }
            EntryType::GNULongLink => {
                self.link = text();
                self.gnu = true;
            }
            EntryType::XHeader if self.gnu => {
                return Err("it has extended headers of two kinds".to_owned());
            }
            _ => {
                // Some take the first of two, and some the last.
                if kind == EntryType::XHeader && std::mem::replace(&mut self.pax, true) {
                    return Err("it has two extended headers".to_owned());
                }
                for record in PaxExtensions::new(content) {
                    let record = record.map_err(|_| "its pax records cannot be parsed")?;
                    let value = record.value_bytes();
                    match record.key() {
                        Ok(key @ ("path" | "linkpath" | "size"))
                            if kind == EntryType::XGlobalHeader =>
                        {
                            return Err(format!("it sets `{key}` for all members"));
                        }
                        Ok("path" | "linkpath") if value.contains(&0) => {
                            return Err("there is a zero byte in its name".to_owned());
                        }
                        Ok("path") => self.path = Some(value.to_vec()),
                        Ok("linkpath") => self.link = Some(value.to_vec()),
                        Ok("size") => {
                            let digits = value.iter().all(u8::is_ascii_digit);
                            let size = std::str::from_utf8(value).ok().filter(|_| digits);
                            let size = size.and_then(|text| text.parse().ok());
                            self.size = Some(size.ok_or("its size is not a number")?);
                        }
                        Ok(key) if key.starts_with("GNU.sparse") => {
                            return Err("it is a sparse file".to_owned());
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

fn is_extension(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::XHeader
            | EntryType::XGlobalHeader
            | EntryType::GNULongName
            | EntryType::GNULongLink
    )
}

fn read_extension(window: &mut Window<'_, impl ReadAt>, part: Part) -> Result<Vec<u8>, String> {
    if part.size > MAX_EXTENSION {
        return Err(format!("its extended header has {} bytes", part.size));
    }
    let size = usize::try_from(part.size).unwrap_or_default();
    let content = window.bytes(part.offset, size);
    content
        .map(<[u8]>::to_vec)
        .map_err(|error| error.to_string())
}

fn check_sum(block: &[u8; 512], header: &Header) -> Result<(), String> {
    let sum: u32 = block[..148]
        .iter()
        .chain(&block[156..])
        .map(|byte| u32::from(*byte))
        .sum();
    // The sum counts its own field as blanks.
    match header.cksum() {
        Ok(written) if written == sum + 8 * u32::from(b' ') => Ok(()),
        _ => Err("there is no tar header".to_owned()),
    }
}

fn climbs(name: &str) -> bool {
    name.split('/').any(|part| part == "..")
}

/// Returns a name without `.`, `..` and slashes too many; `None` when it leads out of the archive or
/// to its root.
fn normalized(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn invalid(offset: u64, why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the member at byte {offset} is refused: {why}"),
    )
}
