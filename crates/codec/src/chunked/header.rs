//! Headers of a tar file, one after another: what the next member is.
//!
//! What is not understood to the last field is [`Header::Unknown`], and there will be no table: a
//! table that says something else than the tar file would be worse than none.

use super::entry::Entry;

/// What is known of the next member from the headers before it.
#[derive(Default)]
pub(super) struct Heading {
    extension: Option<Extension>,
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
    user: Option<u64>,
    group: Option<u64>,
    user_name: Option<String>,
    group_name: Option<String>,
    modified: Option<String>,
    attributes: std::collections::BTreeMap<String, Vec<u8>>,
}

/// Which header it was whose content comes next.
#[derive(Clone, Copy)]
enum Extension {
    Pax,
    LongName,
    LongLink,
}

/// What a header is.
pub(super) enum Header {
    /// It describes the next one; so many bytes of content follow.
    Extension(usize),
    /// It is that of a member.
    Member(Box<Entry>),
    /// It is none that is understood.
    Unknown,
}

impl Heading {
    /// Takes the next header.
    pub(super) fn take(&mut self, block: &[u8; 512]) -> Header {
        let header = tar::Header::from_byte_slice(block);
        if !has_sum(block, header) {
            return Header::Unknown;
        }
        let extension = match header.entry_type().as_byte() {
            b'x' => Some(Extension::Pax),
            b'L' => Some(Extension::LongName),
            b'K' => Some(Extension::LongLink),
            _ => None,
        };
        if extension.is_some() {
            self.extension = extension;
            let size = header
                .entry_size()
                .ok()
                .and_then(|size| usize::try_from(size).ok());
            return match size.filter(|size| *size <= MAX_EXTENSION) {
                Some(size) => Header::Extension(size),
                None => Header::Unknown,
            };
        }
        match std::mem::take(self).entry(header) {
            Some(entry) => Header::Member(Box::new(entry)),
            None => Header::Unknown,
        }
    }

    /// Takes the content of an extension; `false` when it makes no sense.
    pub(super) fn extend(&mut self, content: &[u8]) -> bool {
        let text = || {
            let end = content.iter().position(|byte| *byte == 0);
            String::from_utf8(content[..end.unwrap_or(content.len())].to_vec()).ok()
        };
        match self.extension.take() {
            Some(Extension::LongName) => {
                self.name = text();
                self.name.is_some()
            }
            Some(Extension::LongLink) => {
                self.link = text();
                self.link.is_some()
            }
            Some(Extension::Pax) => self.records(content).is_some(),
            None => false,
        }
    }

    fn records(&mut self, content: &[u8]) -> Option<()> {
        for record in tar::PaxExtensions::new(content) {
            let record = record.ok()?;
            let key = record.key().ok()?;
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                self.attributes
                    .insert(name.to_owned(), record.value_bytes().to_vec());
                continue;
            }
            let value = record.value().ok();
            match key {
                "path" => self.name = Some(value?.to_owned()),
                "linkpath" => self.link = Some(value?.to_owned()),
                "size" => self.size = Some(value?.parse().ok()?),
                "uid" => self.user = Some(value?.parse().ok()?),
                "gid" => self.group = Some(value?.parse().ok()?),
                "uname" => self.user_name = Some(value?.to_owned()),
                "gname" => self.group_name = Some(value?.to_owned()),
                "mtime" => self.modified = Some(time(value?)?),
                key if key.starts_with("GNU.sparse") => return None,
                _ => {}
            }
        }
        Some(())
    }

    fn entry(self, header: &tar::Header) -> Option<Entry> {
        let kind = match header.entry_type().as_byte() {
            b'0' | 0 => "reg",
            b'1' => "hardlink",
            b'2' => "symlink",
            b'3' => "char",
            b'4' => "block",
            b'5' => "dir",
            b'6' => "fifo",
            _ => return None,
        };
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes?.to_vec()).ok();
        let name = match self.name {
            Some(name) => name,
            None => String::from_utf8(header.path_bytes().into_owned()).ok()?,
        };
        let link = match self.link {
            Some(link) => link,
            None => match header.link_name_bytes() {
                Some(link) => String::from_utf8(link.into_owned()).ok()?,
                None => String::new(),
            },
        };
        let size = self.size.map_or_else(|| header.entry_size().ok(), Some)?;
        let is_device = matches!(kind, "char" | "block");
        let device = |number: std::io::Result<Option<u32>>| {
            u64::from(
                number
                    .ok()
                    .flatten()
                    .filter(|_| is_device)
                    .unwrap_or_default(),
            )
        };
        let modified = match self.modified {
            Some(modified) => Some(modified),
            None => match header.mtime().ok()? {
                0 => None,
                seconds => Some(time(&seconds.to_string())?),
            },
        };
        // Names that end in a slash are directories in the oldest archives.
        let kind = if kind == "reg" && name.ends_with('/') {
            "dir"
        } else {
            kind
        };
        if kind != "reg" && size != 0 {
            return None;
        }
        Some(Entry {
            kind,
            link: if matches!(kind, "hardlink" | "symlink") {
                link
            } else {
                String::new()
            },
            name,
            mode: u64::from(header.mode().ok()?),
            size,
            user: self.user.map_or_else(|| header.uid().ok(), Some)?,
            group: self.group.map_or_else(|| header.gid().ok(), Some)?,
            user_name: self
                .user_name
                .or_else(|| text(header.username_bytes()))
                .unwrap_or_default(),
            group_name: self
                .group_name
                .or_else(|| text(header.groupname_bytes()))
                .unwrap_or_default(),
            modified,
            device: (device(header.device_major()), device(header.device_minor())),
            attributes: self.attributes,
            digest: None,
            frames: 0..0,
        })
    }
}

/// Returns seconds since 1970, with or without a fraction, as RFC 3339.
fn time(text: &str) -> Option<String> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds: i32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let negative = seconds.starts_with('-');
    let nanoseconds = if negative { -nanoseconds } else { nanoseconds };
    let time = jiff::Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()?;
    Some(time.to_string())
}

fn has_sum(block: &[u8; 512], header: &tar::Header) -> bool {
    let outside = block[..148].iter().chain(&block[156..]);
    // The sum counts its own field as blanks.
    let sum: u32 = outside.map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ');
    header.cksum().is_ok_and(|written| written == sum)
}

/// The largest extension that is read, in bytes.
const MAX_EXTENSION: usize = 1024 * 1024;
