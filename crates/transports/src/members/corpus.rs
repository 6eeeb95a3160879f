//! Odd tar files, as three programs read them: GNU tar, Python's tarfile, and this one, which agrees
//! with both or refuses. What one program sees and another does not is how files are smuggled.

mod blocks;
mod odd;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use dhow_model::Digest;

use self::odd::by_hand;
use super::{Members, ReadAt};

/// The regular files of an archive by name: size, and digest of the content.
type Files = BTreeMap<String, (u64, String)>;

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
