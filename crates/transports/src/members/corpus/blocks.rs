//! Members and headers by hand.

use dhow_testkit::tar::pax_records;

/// A header by hand, with a right checksum.
#[derive(Clone)]
pub(super) struct Block([u8; 512]);

impl Block {
    pub(super) fn new(name: &[u8], kind: u8, size: u64) -> Self {
        let block = Self([0; 512]);
        let block = block
            .field(0, name)
            .field(100, b"0000644\0")
            .field(108, b"0000000\0");
        let block = block.field(116, b"0000000\0").field(136, b"00000000000\0");
        let block = block.field(124, format!("{size:011o}\0").as_bytes());
        block.field(156, &[kind]).field(257, b"ustar\x0000")
    }

    pub(super) fn field(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn summed(mut self, content: &[u8]) -> Vec<u8> {
        self.0[148..156].copy_from_slice(b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.raw(content)
    }

    pub(super) fn raw(self, content: &[u8]) -> Vec<u8> {
        let mut all = self.0.to_vec();
        all.extend_from_slice(content);
        all.resize(all.len().next_multiple_of(512), 0);
        all
    }
}

pub(super) fn file(name: &str, content: &[u8]) -> Vec<u8> {
    special(name, b'0', content)
}

pub(super) fn special(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    Block::new(name.as_bytes(), kind, content.len() as u64).summed(content)
}

pub(super) fn link(name: &str, kind: u8, target: &str) -> Vec<u8> {
    Block::new(name.as_bytes(), kind, 0)
        .field(157, target.as_bytes())
        .summed(b"")
}

/// A pax header with records.
pub(super) fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    special("PaxHeaders/x", b'x', &pax_records(records))
}

pub(super) fn end() -> Vec<u8> {
    vec![0; 1024]
}

pub(super) fn after() -> Vec<u8> {
    file("after", b"after")
}

/// An archive to hide in another one.
pub(super) fn inner() -> Vec<u8> {
    [file("smuggled", b"inner"), end()].concat()
}

pub(super) fn long() -> String {
    format!("{}/end", "deep/".repeat(60))
}

pub(super) fn base256(size: u64) -> [u8; 12] {
    let mut field = [0; 12];
    field[0] = 0x80;
    field[4..].copy_from_slice(&size.to_be_bytes());
    field
}

pub(super) fn sized(field: &[u8]) -> Vec<u8> {
    Block::new(b"a", b'0', 0).field(124, field).summed(b"hello")
}

pub(super) fn summed_as(field: &[u8]) -> Vec<u8> {
    Block::new(b"a", b'0', 2).field(148, field).raw(b"hi")
}

/// A member whose sum is that of signed bytes, as some old programs made it.
pub(super) fn signed() -> Vec<u8> {
    let mut block = Block::new("h\u{e9}llo".as_bytes(), b'0', 2);
    block.0[148..156].copy_from_slice(b"        ");
    let bytes = block.0.iter().map(|byte| i32::from(byte.cast_signed()));
    let sum: i32 = bytes.sum();
    block.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.raw(b"hi")
}

pub(super) fn v7() -> Vec<u8> {
    Block::new(b"old", b'\0', 3)
        .field(257, &[0; 8])
        .summed(b"old")
}

pub(super) fn prefixed() -> Vec<u8> {
    Block::new(b"name", b'0', 2)
        .field(345, b"some/prefix")
        .summed(b"hi")
}

pub(super) fn full() -> Vec<u8> {
    Block::new(&[b'n'; 100], b'0', 2).summed(b"hi")
}

pub(super) fn truncated() -> Vec<u8> {
    let mut truncated = file("cut", &[7; 2000]);
    truncated.truncate(1200);
    truncated
}
