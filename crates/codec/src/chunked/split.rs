//! tar-split: everything of a tar file but the contents of its files, so that the file can be put
//! together again from them, byte for byte (github.com/vbatts/tar-split, *JSON packer*).

use std::io::{self, Write as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dhow_model::Digest;
use serde_json::{Value, json};
use zstd::stream::write::Encoder;

use super::lines::{FILE_LINE, SEGMENT_LINE};

/// The lines so far, compressed as they come.
pub(super) struct TarSplit {
    lines: Encoder<'static, Vec<u8>>,
    size: u64,
    position: u64,
    /// Bytes between files that are not in a line yet.
    segment: Vec<u8>,
}

/// What is needed of it at the end.
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) unpacked_size: u64,
}

impl TarSplit {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        Ok(Self {
            lines: Encoder::new(Vec::new(), level)?,
            size: 0,
            position: 0,
            segment: Vec::new(),
        })
    }

    /// Takes bytes that are not the content of a file.
    pub(super) fn between(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.segment.extend_from_slice(bytes);
        if self.segment.len() >= SEGMENT {
            self.segment()?;
        }
        Ok(())
    }

    /// Ends a segment, if there is one.
    pub(super) fn segment(&mut self) -> io::Result<()> {
        if self.segment.is_empty() {
            return Ok(());
        }
        let payload = BASE64_STANDARD.encode(std::mem::take(&mut self.segment));
        self.line(json!({ "type": SEGMENT_LINE, "payload": payload }))
    }

    /// Takes note of a file with content.
    pub(super) fn file(&mut self, name: &str, size: u64, crc: Crc) -> io::Result<()> {
        let sum = BASE64_STANDARD.encode(crc.sum());
        self.line(json!({ "type": FILE_LINE, "name": name, "size": size, "payload": sum }))
    }

    /// Takes note of a member without content.
    pub(super) fn nothing(&mut self, name: &str) -> io::Result<()> {
        self.line(json!({ "type": FILE_LINE, "name": name, "payload": Value::Null }))
    }

    fn line(&mut self, mut line: Value) -> io::Result<()> {
        line["position"] = json!(self.position);
        self.position += 1;
        let mut text = line.to_string();
        text.push('\n');
        self.size += text.len() as u64;
        self.lines.write_all(text.as_bytes())
    }

    pub(super) fn finish(mut self) -> io::Result<Packed> {
        self.segment()?;
        let bytes = self.lines.finish()?;
        Ok(Packed {
            digest: Digest::sha256(&bytes),
            unpacked_size: self.size,
            bytes,
        })
    }
}

/// CRC-64 with the polynomial of ISO 3309.
#[derive(Clone, Copy, Default)]
pub(super) struct Crc(u64);

impl Crc {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let mut crc = !self.0;
        for byte in bytes {
            crc = CRC[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
        }
        self.0 = !crc;
    }

    pub(super) const fn sum(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

const CRC: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xd800_0000_0000_0000
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// How many bytes one segment holds at most.
const SEGMENT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_iso_3309() {
        let mut crc = Crc::default();
        crc.update(b"1234");
        crc.update(b"56789");
        // The check value of CRC-64/GO-ISO.
        assert_eq!(crc.sum(), 0xb909_56c7_75a4_1001_u64.to_be_bytes());
    }
}
