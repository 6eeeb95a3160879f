//! File systems with something of everything.

use std::io::Cursor;

use backhand::compression::{CompressionOptions, Compressor, Lz4};
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};

/// Returns a squashfs with files of all kinds.
pub(crate) fn file_system(compressor: Compressor) -> Vec<u8> {
    let mut tree = FilesystemWriter::default();
    // Only this one has options that have to be there.
    let lz4 = CompressionOptions::Lz4(Lz4 {
        version: 1,
        flags: 0,
    });
    let options = (compressor == Compressor::Lz4).then_some(lz4);
    let compressor = FilesystemCompressor::new(compressor, options).expect("it is known");
    tree.set_compressor(compressor);
    tree.set_time(7);
    tree.set_root_mode(0o755);
    let of = |mode, owner, group, time| NodeHeader::new(mode, owner, group, time);
    let usual = |mode| of(mode, 0, 0, 1_500_000_000);
    let long = format!("etc/{}", "n".repeat(200));
    let put = "the tree takes it";
    tree.push_dir("etc", of(0o700, 3_000_000, 7, 1_600_000_000))
        .expect(put);
    for folder in ["bin", "dev", &long] {
        tree.push_dir(folder, usual(0o755)).expect(put);
    }
    for (name, content, header) in [
        ("bin/big", noise(3_000_001), usual(0o4755)),
        ("bin/empty", Vec::new(), usual(0o644)),
        ("bin/zeros", vec![0; 400_000], usual(0o644)),
        (
            "etc/hello",
            b"hi\n".to_vec(),
            of(0o644, 5, 6, 1_600_000_000),
        ),
        (&format!("{long}/file"), b"inside".to_vec(), usual(0o644)),
    ] {
        tree.push_file(Cursor::new(content), name, header)
            .expect(put);
    }
    tree.push_symlink("../a//./b", "etc/sym", usual(0o777))
        .expect(put);
    tree.push_char_device(0x0103, "dev/null", usual(0o666))
        .expect(put);
    let disk = of(0o600, 0, 6, 1_500_000_000);
    tree.push_block_device(0x0811, "dev/disk", disk).expect(put);
    tree.push_fifo("dev/fifo", usual(0o600)).expect(put);
    tree.push_socket("dev/socket", usual(0o600)).expect(put);
    written(&mut tree)
}

/// Returns a squashfs with these files.
pub(crate) fn files(names: &[&str]) -> Vec<u8> {
    let mut tree = FilesystemWriter::default();
    tree.set_time(7);
    let header = NodeHeader::new(0o644, 0, 0, 7);
    for name in names {
        if let Some((folder, _)) = name.rsplit_once('/') {
            let folders = NodeHeader::new(0o755, 0, 0, 7);
            tree.push_dir_all(folder, folders)
                .expect("the tree takes it");
        }
        let content = Cursor::new(name.as_bytes().to_vec());
        tree.push_file(content, name, header)
            .expect("the tree takes it");
    }
    written(&mut tree)
}

fn written(tree: &mut FilesystemWriter<'_, '_, '_>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    tree.write(&mut bytes).expect("memory takes it");
    bytes.into_inner()
}

/// Returns bytes that do not compress, always the same.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
