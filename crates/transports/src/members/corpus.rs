//! Odd tar files, as three programs read them: GNU tar, Python's tarfile, and this one, which agrees
//! with both or refuses. What one program sees and another does not is how files are smuggled.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use dhow_model::Digest;

use super::{Members, ReadAt};

/// The regular files of an archive by name: size, and digest of the content.
type Files = BTreeMap<String, (u64, String)>;

/// A header by hand, with a right checksum.
#[derive(Clone)]
struct Block([u8; 512]);

impl Block {
    fn new(name: &[u8], kind: u8, size: u64) -> Self {
        let block = Self([0; 512]);
        let block = block
            .field(0, name)
            .field(100, b"0000644\0")
            .field(108, b"0000000\0");
        let block = block.field(116, b"0000000\0").field(136, b"00000000000\0");
        let block = block.field(124, format!("{size:011o}\0").as_bytes());
        block.field(156, &[kind]).field(257, b"ustar\x0000")
    }

    fn field(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn summed(mut self, content: &[u8]) -> Vec<u8> {
        self.0[148..156].copy_from_slice(b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.raw(content)
    }

    fn raw(self, content: &[u8]) -> Vec<u8> {
        let mut all = self.0.to_vec();
        all.extend_from_slice(content);
        all.resize(all.len().next_multiple_of(512), 0);
        all
    }
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    Block::new(name.as_bytes(), b'0', content.len() as u64).summed(content)
}

fn special(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    Block::new(name.as_bytes(), kind, content.len() as u64).summed(content)
}

fn link(name: &str, kind: u8, target: &str) -> Vec<u8> {
    Block::new(name.as_bytes(), kind, 0)
        .field(157, target.as_bytes())
        .summed(b"")
}

/// A pax header with records, whose lengths are right.
fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        content.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    special("PaxHeaders/x", b'x', &content)
}

const END: [u8; 1024] = [0; 1024];

/// An archive by hand: what is odd about it, and its parts.
type Odd = (&'static str, Vec<Vec<u8>>);

/// Archives made by hand, with what is odd about them.
fn by_hand() -> Vec<(&'static str, Vec<u8>)> {
    let all = [
        plain(),
        extended(),
        more_extended(),
        sizes(),
        names(),
        kinds(),
        ends(),
    ];
    let all = all.into_iter().flatten();
    all.map(|(name, parts)| (name, parts.concat())).collect()
}

fn end() -> Vec<u8> {
    END.to_vec()
}

fn after() -> Vec<u8> {
    file("after", b"after")
}

/// An archive to hide in another one.
fn inner() -> Vec<u8> {
    [file("smuggled", b"inner"), end()].concat()
}

fn long() -> String {
    format!("{}/end", "deep/".repeat(60))
}

fn base256(size: u64) -> [u8; 12] {
    let mut field = [0; 12];
    field[0] = 0x80;
    field[4..].copy_from_slice(&size.to_be_bytes());
    field
}

fn sized(field: &[u8]) -> Vec<u8> {
    Block::new(b"a", b'0', 0).field(124, field).summed(b"hello")
}

fn summed_as(field: &[u8]) -> Vec<u8> {
    Block::new(b"a", b'0', 2).field(148, field).raw(b"hi")
}

/// A member whose sum is that of signed bytes, as some old programs made it.
fn signed() -> Vec<u8> {
    let mut block = Block::new("h\u{e9}llo".as_bytes(), b'0', 2);
    block.0[148..156].copy_from_slice(b"        ");
    let bytes = block.0.iter().map(|byte| i32::from(byte.cast_signed()));
    let sum: i32 = bytes.sum();
    block.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.raw(b"hi")
}

fn v7() -> Vec<u8> {
    Block::new(b"old", b'\0', 3)
        .field(257, &[0; 8])
        .summed(b"old")
}

fn prefixed() -> Vec<u8> {
    Block::new(b"name", b'0', 2)
        .field(345, b"some/prefix")
        .summed(b"hi")
}

fn full() -> Vec<u8> {
    Block::new(&[b'n'; 100], b'0', 2).summed(b"hi")
}

fn truncated() -> Vec<u8> {
    let mut truncated = file("cut", &[7; 2000]);
    truncated.truncate(1200);
    truncated
}

/// What everybody writes.
fn plain() -> Vec<Odd> {
    vec![
        ("plain", vec![file("a", b"hello"), after(), end()]),
        ("v7", vec![v7(), after(), end()]),
        ("prefix", vec![prefixed(), end()]),
        ("name without end", vec![full(), end()]),
    ]
}

/// Extended headers.
fn extended() -> Vec<Odd> {
    vec![
        (
            "pax path",
            vec![pax(&[("path", &long())]), file("short", b"x"), end()],
        ),
        (
            "pax size",
            vec![pax(&[("size", "5")]), sized(b"00000000000\0"), end()],
        ),
        (
            "pax size that hides an archive",
            vec![
                pax(&[("size", &inner().len().to_string())]),
                Block::new(b"outer", b'0', 0).summed(&inner()),
                after(),
                end(),
            ],
        ),
        (
            "size that hides an archive",
            vec![
                pax(&[("size", "0")]),
                special("outer", b'0', &inner()),
                after(),
                end(),
            ],
        ),
        (
            "two pax headers",
            vec![
                pax(&[("path", "one")]),
                pax(&[("path", "two")]),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "pax header without member",
            vec![pax(&[("path", "one")]), end()],
        ),
        (
            "pax length too long",
            vec![special("x", b'x', b"99 path=a\n"), file("a", b"x"), end()],
        ),
        (
            "pax length too short",
            vec![special("x", b'x', b"5 path=abc\n"), file("a", b"x"), end()],
        ),
        (
            "pax length no number",
            vec![special("x", b'x', b"aa path=abc\n"), file("a", b"x"), end()],
        ),
        (
            "pax without newline",
            vec![special("x", b'x', b"11 path=abc"), file("a", b"x"), end()],
        ),
        (
            "pax with nothing",
            vec![special("x", b'x', b""), file("a", b"x"), end()],
        ),
    ]
}

/// More extended headers.
fn more_extended() -> Vec<Odd> {
    vec![
        (
            "pax negative size",
            vec![pax(&[("size", "-5")]), file("a", b"x"), end()],
        ),
        (
            "pax size with a sign",
            vec![pax(&[("size", "+1")]), file("a", b"x"), end()],
        ),
        (
            "pax size no number",
            vec![pax(&[("size", "five")]), file("a", b"x"), end()],
        ),
        (
            "pax empty path",
            vec![pax(&[("path", "")]), file("a", b"x"), end()],
        ),
        (
            "pax path with a zero byte",
            vec![pax(&[("path", "a\0b")]), file("c", b"x"), end()],
        ),
        (
            "pax sparse",
            vec![
                pax(&[
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.minor", "0"),
                    ("GNU.sparse.name", "s"),
                ]),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "global pax path",
            vec![special("g", b'g', b"11 path=abc\n"), file("a", b"x"), end()],
        ),
        (
            "global pax comment",
            vec![
                special("g", b'g', b"14 comment=ab\n"),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "long name",
            vec![
                special("././@LongLink", b'L', format!("{}\0", long()).as_bytes()),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "long name and pax path",
            vec![
                special("././@LongLink", b'L', b"by-gnu\0"),
                pax(&[("path", "by-pax")]),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "pax path and long name",
            vec![
                pax(&[("path", "by-pax")]),
                special("././@LongLink", b'L', b"by-gnu\0"),
                file("a", b"x"),
                end(),
            ],
        ),
    ]
}

/// Sizes and sums.
fn sizes() -> Vec<Odd> {
    vec![
        ("base 256", vec![sized(&base256(5)), after(), end()]),
        (
            "base 256 too large",
            vec![sized(&base256(u64::MAX / 2)), after(), end()],
        ),
        (
            "base 256 negative",
            vec![sized(&[0xff; 12]), after(), end()],
        ),
        (
            "size with blanks",
            vec![sized(b"          5 "), after(), end()],
        ),
        (
            "size without end",
            vec![sized(b"000000000005"), after(), end()],
        ),
        (
            "size no number",
            vec![sized(b"five\0\0\0\0\0\0\0\0"), after(), end()],
        ),
        (
            "size with rubbish",
            vec![sized(b"5x\0\0\0\0\0\0\0\0\0\0"), after(), end()],
        ),
        ("size nothing", vec![sized(&[0; 12]), end()]),
        ("signed sum", vec![signed(), after(), end()]),
        ("wrong sum", vec![summed_as(b"0000001\0"), after(), end()]),
        ("no sum", vec![summed_as(b"zzzzzzz\0"), after(), end()]),
    ]
}

/// Names and links.
fn names() -> Vec<Odd> {
    vec![
        (
            "names twice",
            vec![file("a", b"first"), file("a", b"second"), end()],
        ),
        (
            "file then link",
            vec![
                file("a", b"x"),
                file("b", b"y"),
                link("a", b'2', "b"),
                end(),
            ],
        ),
        (
            "link then file",
            vec![
                file("b", b"y"),
                link("a", b'2', "b"),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "root names",
            vec![
                special("./", b'5', b""),
                special("/", b'5', b""),
                special(".", b'5', b""),
                file("./a", b"x"),
                end(),
            ],
        ),
        ("empty name", vec![file("", b"x"), after(), end()]),
        ("absolute", vec![file("/etc/a", b"x"), end()]),
        (
            "climbing",
            vec![
                file("../a", b"x"),
                file("b/../after", b"wrong"),
                after(),
                end(),
            ],
        ),
        ("double slashes", vec![file("a//b", b"x"), end()]),
        (
            "links in a ring",
            vec![link("a", b'2', "b"), link("b", b'2', "a"), after(), end()],
        ),
        (
            "hard link",
            vec![file("a", b"x"), link("b", b'1', "a"), end()],
        ),
        (
            "hard link to what comes later",
            vec![link("b", b'1', "a"), file("a", b"x"), end()],
        ),
        (
            "hard link with content",
            vec![file("a", b"x"), special("b", b'1', b"y"), after(), end()],
        ),
    ]
}

/// Types of members.
fn kinds() -> Vec<Odd> {
    vec![
        (
            "directory with content",
            vec![special("d", b'5', &inner()), after(), end()],
        ),
        (
            "symlink with content",
            vec![special("s", b'2', &inner()), after(), end()],
        ),
        (
            "device with content",
            vec![special("n", b'3', &inner()), after(), end()],
        ),
        (
            "file that is a directory",
            vec![file("d/", b""), after(), end()],
        ),
        ("contiguous", vec![special("c", b'7', b"x"), after(), end()]),
        (
            "unknown type",
            vec![special("z", b'Z', b"x"), after(), end()],
        ),
        ("old sparse", vec![special("s", b'S', b"x"), after(), end()]),
        ("volume", vec![special("v", b'V', b""), after(), end()]),
        (
            "part of many",
            vec![special("m", b'M', b"x"), after(), end()],
        ),
        (
            "dumped directory",
            vec![special("d", b'D', b"Ya\0\0"), after(), end()],
        ),
    ]
}

/// How archives end.
fn ends() -> Vec<Odd> {
    vec![
        ("cut off", vec![file("a", b"x"), truncated()]),
        ("no end", vec![file("a", b"x"), after()]),
        ("half an end", vec![file("a", b"x"), vec![0; 512]]),
        (
            "one empty block between",
            vec![file("a", b"x"), vec![0; 512], after(), end()],
        ),
        (
            "something behind the end",
            vec![file("a", b"x"), end(), after(), end()],
        ),
        ("nothing", vec![end()]),
        ("rubbish", vec![vec![b'r'; 2048]]),
    ]
}

fn ours(path: &Path) -> io::Result<Files> {
    let file = File::open(path)?;
    let members = Members::read(&file)?;
    let files = members
        .names()
        .filter(|name| members.target(name).is_none());
    files
        .map(|name| {
            let part = members.file(name).ok_or(io::ErrorKind::NotFound)?;
            let mut content = vec![0; usize::try_from(part.size).map_err(io::Error::other)?];
            let read = ReadAt::read_at(&file, &mut content, part.offset)?;
            assert_eq!(read, content.len());
            Ok((name.to_owned(), (part.size, Digest::sha256(&content).hex())))
        })
        .collect()
}

/// What another program makes of an archive.
enum Verdict {
    Taken(Files),
    Refused,
    /// There is no such program here.
    Absent,
}

/// What a program prints: name, size and digest of each regular file, a line each.
fn theirs(command: &mut Command) -> Verdict {
    let Ok(output) = command.env("LC_ALL", "C.UTF-8").output() else {
        return Verdict::Absent;
    };
    if !output.status.success() {
        return Verdict::Refused;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut files = Files::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, size, digest] = fields.as_slice() else {
            continue;
        };
        let name = name.split('/').filter(|part| !matches!(*part, "" | "."));
        let name = name.collect::<Vec<_>>().join("/");
        let digest = digest.split(' ').next().unwrap_or_default().to_owned();
        files.insert(name, (size.parse().unwrap_or(u64::MAX), digest));
    }
    Verdict::Taken(files)
}

const PYTHON: &str = "
import hashlib, sys, tarfile
with tarfile.open(sys.argv[1], 'r:') as archive:
    last = {}
    for member in archive:
        last['/'.join(p for p in member.name.split('/') if p not in ('', '.'))] = member
    for name, member in last.items():
        if member.isreg():
            content = archive.extractfile(member).read()
            if len(content) != member.size:
                sys.exit(1)
            print(name, member.size, hashlib.sha256(content).hexdigest(), sep='\\t')
";

const SHELL: &str = r#"printf '%s\t%s\t' "$TAR_FILENAME" "$TAR_SIZE"; sha256sum"#;

/// Compares three readers; returns whether ours took the archive.
fn compare(name: &str, path: &Path, wrong: &mut Vec<String>) -> bool {
    let Ok(mut ours) = ours(path) else {
        return false;
    };
    // Names that climb are nobody's.
    ours.retain(|name, _| !name.contains(".."));
    let mut gnu = Command::new("tar");
    gnu.arg("-xf").arg(path).arg("--to-command").arg(SHELL);
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON]).arg(path);
    for (program, mut command) in [("GNU tar", gnu), ("Python", python)] {
        // It hands out the file before the link takes its place.
        if program == "GNU tar" && name == "file then link" {
            continue;
        }
        match theirs(&mut command) {
            Verdict::Absent => missing(program),
            // It stops where ours goes on: what ours saw must not be less.
            Verdict::Refused if TOLERATED.contains(&name) => {}
            Verdict::Refused => wrong.push(format!("{name}: {program} refuses it")),
            Verdict::Taken(mut files) => {
                files.retain(|name, _| !name.contains("..") && !name.is_empty());
                if ours != files {
                    wrong.push(format!("{name}: {program} sees {files:?}, not {ours:?}"));
                }
            }
        }
    }
    true
}

/// Archives that one of the others ends with an error about something that is not read here: the
/// name that climbs, the target of a hard link.
const TOLERATED: [&str; 4] = [
    "climbing",
    "hard link to what comes later",
    "links in a ring",
    "empty name",
];

#[expect(
    clippy::disallowed_methods,
    reason = "CI says so in the environment, and who runs tests wants to know"
)]
fn missing(program: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{program} is not installed"
    );
    eprintln!("skipped: {program} is not installed");
}

#[test]
fn odd_headers_are_read_as_others_read_them_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut taken, mut wrong) = (Vec::new(), Vec::new());
    for (name, bytes) in by_hand() {
        let path = folder.path().join("archive.tar");
        fs::write(&path, bytes).unwrap();
        if compare(name, &path, &mut wrong) {
            taken.push(name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What everybody writes must be taken.
    for name in [
        "plain",
        "v7",
        "prefix",
        "name without end",
        "pax path",
        "pax size",
        "long name",
        "base 256",
        "names twice",
        "root names",
        "absolute",
        "hard link",
        "global pax comment",
        "contiguous",
        "no end",
        "half an end",
        "something behind the end",
    ] {
        assert!(taken.contains(&name), "{name} is refused");
    }
    // What hides something must not.
    for name in [
        "pax length too long",
        "pax length no number",
        "pax sparse",
        "global pax path",
        "wrong sum",
        "no sum",
        "base 256 too large",
        "base 256 negative",
        "size no number",
        "unknown type",
        "old sparse",
        "part of many",
        "cut off",
        "rubbish",
        "pax negative size",
        "directory with content",
        "symlink with content",
        "hard link with content",
    ] {
        assert!(!taken.contains(&name), "{name} is taken");
    }
}

#[test]
fn archives_of_gnu_tar_and_python_in_every_format_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    let deep = tree.join("deep/".repeat(30));
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir_all(tree.join("sp\u{e4}t")).unwrap();
    fs::write(tree.join("a"), b"hello").unwrap();
    fs::write(tree.join("empty"), b"").unwrap();
    fs::write(tree.join("sp\u{e4}t/\u{540d}"), vec![7; 70_000]).unwrap();
    fs::write(deep.join("end"), b"end").unwrap();
    fs::hard_link(tree.join("a"), tree.join("hard")).unwrap();
    std::os::unix::fs::symlink("a", tree.join("soft")).unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.set_len(3_000_000).unwrap();
    let mut made = Vec::new();
    for format in ["v7", "oldgnu", "gnu", "ustar", "pax"] {
        for sparse in [false, true] {
            let path = folder.path().join(format!("{format}-{sparse}.tar"));
            let mut tar = Command::new("tar");
            tar.arg(format!("--format={format}"))
                .arg("-C")
                .arg(&tree)
                .arg("-cf")
                .arg(&path);
            if sparse {
                tar.arg("-S");
            }
            match tar.arg(".").output() {
                Ok(output) if output.status.success() => {
                    made.push((format!("GNU {format} {sparse}"), path));
                }
                Ok(_) => {} // names and holes that the format cannot hold
                Err(_) => missing("GNU tar"),
            }
        }
    }
    for format in ["USTAR", "GNU", "PAX"] {
        let path = folder.path().join(format!("python-{format}.tar"));
        let script = format!(
            "import sys, tarfile\nwith tarfile.open(sys.argv[1], 'w', format=tarfile.{format}_FORMAT) as t: t.add(sys.argv[2], arcname='.')"
        );
        match Command::new("python3")
            .args(["-c", &script])
            .arg(&path)
            .arg(&tree)
            .output()
        {
            Ok(output) if output.status.success() => made.push((format!("Python {format}"), path)),
            Ok(_) => {} // names that the format cannot hold
            Err(_) => missing("Python"),
        }
    }
    let mut wrong = Vec::new();
    for (name, path) in made {
        let taken = compare(&name, &path, &mut wrong);
        // Sparse files are refused; the formats that know none are not.
        let sparse = name.ends_with("true") && !name.contains("v7") && !name.contains("ustar");
        assert_eq!(taken, !sparse, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
