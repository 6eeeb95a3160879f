//! Tells the linker to put the functions that daily commands run side by side, to pack the
//! relocations, and to take the compiler's own library in (docs/decisions/
//! 0018-functions-side-by-side.md). All make a process smaller and its start shorter, and change
//! nothing else; where they may not work they are left out.
#![expect(
    clippy::disallowed_methods,
    reason = "cargo tells build scripts in the environment"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={LIST}");
    if !is_for_release() || !links_with_lld() {
        return Ok(());
    }
    let script = write_script(Path::new(LIST))?;
    println!("cargo::rustc-link-arg-bin=dhow=-Wl,-T,{}", script.display());
    if system_knows_packed_relocations() {
        println!("cargo::rustc-link-arg-bin=dhow=-Wl,-z,pack-relative-relocs");
    }
    if let Some(library) = compiler_library() {
        let folder = write_library(&library)?;
        println!("cargo::rustc-link-search=native={}", folder.display());
    }
    Ok(())
}

/// The names of the functions, as `cargo xtask link-order` writes them.
const LIST: &str = "link/used.txt";

/// What stands before the name in the section of a function that is marked cold, or that runs at the start or
/// the end of the process.
const KINDS: [&str; 4] = ["", "unlikely.", "startup.", "exit."];

/// Files in assembler, whose functions have no sections of their own: what every command hashes with, and what
/// random numbers and TLS keys come from.
const ASSEMBLED: [&str; 4] = [
    "sha256-x86_64",
    "aesni-x86_64",
    "rdrand-x86_64",
    "curve25519_x25519*",
];

fn is_for_release() -> bool {
    env::var("PROFILE").is_ok_and(|profile| profile == "release")
}

/// Returns whether rustc's own linker will be used: it is for this target, unless somebody has
/// chosen another.
fn links_with_lld() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu")
        && env::var_os("RUSTC_LINKER").is_none()
        && !["link-arg", "linker", "link-self-contained"]
            .iter()
            .any(|flag| flags.contains(flag))
}

/// Writes a linker script that adds one section to what the linker does anyway.
fn write_script(list: &Path) -> io::Result<PathBuf> {
    let mut script = String::from("SECTIONS\n{\n  .text.used :\n  {\n");
    for name in fs::read_to_string(list)?.lines() {
        let sections = KINDS.map(|kind| format!(".text.{kind}{name}"));
        writeln!(script, "    *({})", sections.join(" ")).map_err(io::Error::other)?;
    }
    for object in ASSEMBLED {
        writeln!(script, "    *[0-9a-f]-{object}.o(.text)").map_err(io::Error::other)?;
    }
    script.push_str("  }\n}\nINSERT AFTER .text;\n");
    let path = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("used.ld");
    fs::write(&path, script)?;
    Ok(path)
}

/// Returns the library with which the compiler unwinds, as a part for programs.
fn compiler_library() -> Option<PathBuf> {
    let output = Command::new("cc")
        .arg("-print-file-name=libgcc_eh.a")
        .output();
    let path = String::from_utf8(output.ok()?.stdout).ok()?;
    // What is not found is told as it was asked for.
    let path = PathBuf::from(path.trim_end());
    path.is_absolute().then_some(path)
}

/// Writes what the linker finds in place of the shared library: one library less to be found and
/// mapped at every start, and to be there at all.
fn write_library(library: &Path) -> io::Result<PathBuf> {
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("lib");
    fs::create_dir_all(&folder)?;
    let text = format!("INPUT({})\n", library.display());
    fs::write(folder.join("libgcc_s.so"), text)?;
    Ok(folder)
}

/// Returns whether programs with packed relocations start here: glibc has them since 2.36.
fn system_knows_packed_relocations() -> bool {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let version = text.split_whitespace().nth(1).unwrap_or_default();
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
        return false;
    };
    (major, minor) >= (2, 36)
}
