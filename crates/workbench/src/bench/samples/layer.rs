//! A layer: a tar archive of a few files, written once compressed and once not.

use std::io::{self, Write};

use dhow_model::{Algorithm, Descriptor, Digest, Hasher, MediaType};
use dhow_testkit::image::tar_header;
use flate2::{Compression, GzBuilder};

use super::content;

/// A layer that has been written.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// The blob, which is compressed.
    pub(super) blob: Descriptor,
    /// The digest of the tar archive.
    pub(super) diff_id: Digest,
    /// The size of the tar archive in bytes.
    pub(super) unpacked_size: u64,
    label: String,
    size: usize,
}

impl Layer {
    /// Writes a layer as gzip, with codes made for each block, as other tools do. What it holds depends on
    /// `label`; its files have `size` bytes.
    pub(super) fn write(out: impl Write, label: &str, size: usize) -> io::Result<Self> {
        let packer = GzBuilder::new()
            .mtime(0)
            .write(Counted::new(out), Compression::new(LEVEL));
        let mut tar = Counted::new(packer);
        write_tar(&mut tar, label, size)?;
        let (diff_id, unpacked_size, packer) = tar.finish();
        let (digest, packed_size, _) = packer.finish()?.finish();
        Ok(Self {
            blob: Descriptor::new(MediaType::OCI_LAYER_GZIP, digest, packed_size),
            diff_id,
            unpacked_size,
            label: label.to_owned(),
            size,
        })
    }

    /// Writes the tar archive.
    pub(super) fn write_unpacked(&self, out: &mut impl Write) -> io::Result<()> {
        write_tar(out, &self.label, self.size)
    }
}

fn write_tar(out: &mut impl Write, label: &str, size: usize) -> io::Result<()> {
    let seed = label.bytes().fold(SEED, |seed, byte| {
        seed.wrapping_mul(0x0100_0000_01B3) ^ u64::from(byte)
    });
    let folder = label.replace([' ', '/'], "-");
    for (number, start) in (0..size).step_by(FILE).enumerate() {
        let length = FILE.min(size - start);
        out.write_all(&tar_header(&format!("opt/{folder}/file-{number}"), length))?;
        content::write(out, seed.wrapping_add(number as u64), length)?;
        out.write_all(&[0; BLOCK][..length.next_multiple_of(BLOCK) - length])?;
    }
    out.write_all(&[0; 2 * BLOCK])
}

/// Counts and hashes what passes.
struct Counted<W> {
    out: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Counted<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
        }
    }

    fn finish(self) -> (Digest, u64, W) {
        (self.hasher.finish(), self.size, self.out)
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let length = self.out.write(data)?;
        self.hasher.update(&data[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The fastest level that has no fixed codes, which are read by other functions.
const LEVEL: u32 = 2;

const SEED: u64 = 0xCBF2_9CE4_8422_2325;

/// The size of a file in bytes.
const FILE: usize = 1 << 20;

/// Files in a tar archive begin at multiples of this, in bytes.
const BLOCK: usize = 512;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_layer_is_what_its_digests_say() {
        let mut packed = Vec::new();
        let layer = Layer::write(&mut packed, "a layer", 1_500_000).unwrap();
        assert!(layer.blob.digest.matches(&packed));
        assert_eq!(layer.blob.size, packed.len() as u64);
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice())
            .read_to_end(&mut tar)
            .unwrap();
        assert!(layer.diff_id.matches(&tar));
        assert_eq!(layer.unpacked_size, tar.len() as u64);
        let mut again = Vec::new();
        layer.write_unpacked(&mut again).unwrap();
        assert_eq!(again, tar);
    }
}
