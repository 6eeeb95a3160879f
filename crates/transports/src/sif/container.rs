//! What is in a SIF file: its header, and the descriptors of the objects in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::file_blob::Part;

/// The header, and the objects that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    /// The architecture, as OCI names it.
    pub(super) architecture: &'static str,
    /// The image's identity, as a UUID in text.
    pub(super) id: String,
    /// When the file was changed last, in seconds since the epoch.
    pub(super) modified: i64,
    /// The file system.
    pub(super) root: Part,
    /// The definition file.
    pub(super) definition: Option<Part>,
}

impl Container {
    /// Reads header and descriptors.
    ///
    /// # Errors
    /// `InvalidData` with what is wrong with them.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut header = [0; HEADER];
        if size < HEADER as u64 {
            return Err(invalid("the file is too small to be a SIF file"));
        }
        file.read_exact_at(&mut header, 0)?;
        if header[32..42] != *MAGIC {
            return Err(invalid(not_sif(&header)));
        }
        let version = text(&header[42..45]);
        if version != "01" {
            return Err(invalid(format!(
                "the SIF format has version `{}`, and only 01 is known",
                version.escape_debug()
            )));
        }
        let objects = objects(file, &header, size)?;
        let root = objects.root()?;
        let said = [&header[45..48], &root.extra[8..11]].map(architecture);
        Ok(Self {
            architecture: said.into_iter().flatten().next().unwrap_or("unknown"),
            id: uuid(&header[48..64]),
            modified: number(&header, 72),
            root: root.part,
            definition: objects
                .0
                .iter()
                .find(|object| object.kind == DEFINITION)
                .map(|found| found.part),
        })
    }
}

/// One object in the file.
struct Object {
    kind: i32,
    part: Part,
    extra: [u8; 384],
}

struct Objects(Vec<Object>);

fn objects(file: &File, header: &[u8; HEADER], size: u64) -> io::Result<Objects> {
    let count = u64::try_from(number(header, 88)).unwrap_or(u64::MAX);
    let start = u64::try_from(number(header, 96)).unwrap_or(u64::MAX);
    if count > MOST_OBJECTS {
        return Err(invalid(format!(
            "the SIF header tells of {count} objects, more than {MOST_OBJECTS}"
        )));
    }
    let end = start.checked_add(count * DESCRIPTOR as u64);
    if end.is_none_or(|end| end > size) {
        return Err(invalid("the SIF descriptors are not in the file"));
    }
    let mut objects = Vec::new();
    let mut bytes = [0; DESCRIPTOR];
    for at in 0..count {
        file.read_exact_at(&mut bytes, start + at * DESCRIPTOR as u64)?;
        if bytes[4] == 0 {
            continue;
        }
        let (offset, length) = (number(&bytes, 17), number(&bytes, 25));
        let part = Part {
            offset: u64::try_from(offset).unwrap_or(u64::MAX),
            size: u64::try_from(length).unwrap_or(u64::MAX),
        };
        let end = part.offset.checked_add(part.size);
        if end.is_none_or(|end| end > size) {
            return Err(invalid(format!(
                "object {} of the SIF file is not in the file, which may have been cut off",
                at + 1
            )));
        }
        let mut extra = [0; 384];
        extra.copy_from_slice(&bytes[201..]);
        objects.push(Object {
            kind: short(&bytes, 0),
            part,
            extra,
        });
    }
    Ok(Objects(objects))
}

impl Objects {
    /// Returns the partition with the root file system: the primary one, else the first of a system.
    fn root(&self) -> io::Result<&Object> {
        let of = |use_as: i32| {
            let mut partitions = self.0.iter().filter(|object| object.kind == PARTITION);
            partitions.find(|object| short(&object.extra, 4) == use_as)
        };
        let found = of(PRIMARY).or_else(|| of(SYSTEM));
        let found = found.ok_or_else(|| invalid("the SIF file has no root file system"))?;
        match short(&found.extra, 0) {
            SQUASHFS => Ok(found),
            ENCRYPTED => Err(invalid("the root file system is encrypted")),
            EXT3 => Err(invalid(
                "the root file system is ext3, and only squashfs can be read",
            )),
            other => Err(invalid(format!(
                "the root file system is of type {other}, and only squashfs (1) can be read"
            ))),
        }
    }
}

pub(super) fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Says what a file is that is no SIF file.
fn not_sif(header: &[u8; HEADER]) -> &'static str {
    if header.starts_with(b"hsqs") {
        return "the file is a squashfs without a SIF header around it";
    }
    "the file has no SIF header"
}

fn number(bytes: &[u8], at: usize) -> i64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    i64::from_le_bytes(number)
}

fn short(bytes: &[u8], at: usize) -> i32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    i32::from_le_bytes(number)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn architecture(code: &[u8]) -> Option<&'static str> {
    let number: usize = text(code).parse().ok()?;
    ARCHITECTURES.get(number.checked_sub(1)?).copied()
}

fn uuid(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&at) {
            text.push('-');
        }
        for half in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(half.into(), 16));
        }
    }
    text
}

/// In bytes; before it is the line with which the file can be run.
const HEADER: usize = 128;
const MAGIC: &[u8; 10] = b"SIF_MAGIC\0";
/// In bytes.
const DESCRIPTOR: usize = 585;
/// Files that tools make have room for 48.
const MOST_OBJECTS: u64 = 4096;

/// Kinds of objects.
const DEFINITION: i32 = 0x4001;
const PARTITION: i32 = 0x4004;
/// What a partition is for.
const SYSTEM: i32 = 1;
const PRIMARY: i32 = 2;
/// What is in it.
const SQUASHFS: i32 = 1;
const EXT3: i32 = 2;
const ENCRYPTED: i32 = 5;

/// By the codes `01` to `12`.
const ARCHITECTURES: [&str; 12] = [
    "386", "amd64", "arm", "arm64", "ppc64", "ppc64le", "mips", "mipsle", "mips64", "mips64le",
    "s390x", "riscv64",
];
