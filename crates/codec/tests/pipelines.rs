//! Round trips through every format, and what becomes of input that is not what it should be.

#![expect(clippy::unwrap_used, reason = "a test that is wrong about this fails")]

use std::io::{self, Read as _, Write as _};
use std::process::{Command, Stdio};

use bytes::Bytes;
use dhow_codec::{
    BoxStream, PackFormat, Packing, detect, learn, pack, reader, unpack, unpack_unhashed,
};
use dhow_model::{Compression, Digest};
use futures_util::{StreamExt as _, stream};

type Stream = BoxStream<'static, io::Result<Bytes>>;

const FORMATS: [PackFormat; 3] = [PackFormat::Gzip, PackFormat::Zstd, PackFormat::ZstdChunked];

/// Text that compresses, of any length.
fn text(length: usize) -> Vec<u8> {
    let numbers = (0_u64..).flat_map(|n| format!("{} ", n * n % 7919).into_bytes());
    numbers.take(length).collect()
}

/// Text, and a file between that is compressed already.
async fn mixed() -> Vec<u8> {
    let digests = (0..6_000_u32).map(|n| Digest::sha256(&n.to_le_bytes()).to_string());
    let dense = packed(
        &digests.collect::<String>().into_bytes(),
        PackFormat::Zstd,
        None,
    )
    .await;
    [&text(300_001), dense.as_slice(), &text(300_001)].concat()
}

/// The bytes in pieces of uneven length.
fn pieces(bytes: &[u8]) -> Stream {
    let (mut rest, mut length) = (Bytes::copy_from_slice(bytes), 1);
    let mut cut = Vec::new();
    while !rest.is_empty() {
        cut.push(Ok(rest.split_to(length.min(rest.len()))));
        length = (length * 7 + 3) % 90_000 + 1;
    }
    stream::iter(cut).boxed()
}

async fn whole(mut stream: Stream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        assert!(!piece.is_empty(), "no piece is empty");
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

async fn packed(content: &[u8], format: PackFormat, level: Option<i32>) -> Vec<u8> {
    let (stream, facts) = pack(pieces(content), Packing { format, level }, None);
    let all = whole(stream).await.expect("it is compressed");
    let facts = facts.take().expect("there are facts");
    assert_eq!(facts.diff_id, Digest::sha256(content));
    assert_eq!(facts.unpacked_size, content.len() as u64);
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_packed_unpacks_to_what_it_was() {
    let block = 256 * 1024;
    for length in [0, 1, 511, block - 1, block, block + 1, 4 * block, 2_000_003] {
        let content = text(length);
        for format in FORMATS {
            let all = packed(&content, format, None).await;
            assert_eq!(
                detect(&all),
                Some(format.compression()),
                "{format} {length}"
            );
            let (stream, facts) = unpack(pieces(&all));
            assert_eq!(whole(stream).await.unwrap(), content, "{format} {length}");
            let facts = facts.take().expect("there are facts");
            assert_eq!(facts.compression, Some(format.compression()));
            assert_eq!(facts.diff_id, Digest::sha256(&content));
            assert_eq!(facts.unpacked_size, content.len() as u64);
            let (stream, learned) = learn(pieces(&all));
            assert_eq!(whole(stream).await.unwrap(), all);
            assert_eq!(learned.take(), Some(facts));
        }
    }
}

#[tokio::test]
async fn every_level_is_taken_and_the_result_is_always_the_same() {
    let content = text(700_000);
    for (format, levels) in [
        (PackFormat::Gzip, [-1, 0, 1, 5, 8, 9].as_slice()),
        (PackFormat::Zstd, &[-7, 1, 9, 19, 100]),
        (PackFormat::ZstdChunked, &[1, 12]),
    ] {
        for level in levels {
            let once = packed(&content, format, Some(*level)).await;
            assert_eq!(once, packed(&content, format, Some(*level)).await);
            let (stream, _) = unpack(pieces(&once));
            assert_eq!(whole(stream).await.unwrap(), content, "{format} {level}");
        }
    }
    let (stored, small) = (
        packed(&content, PackFormat::Gzip, Some(0)).await,
        packed(&content, PackFormat::Gzip, Some(9)).await,
    );
    assert!(stored.len() > content.len() && small.len() < content.len() / 2);
}

#[tokio::test]
async fn gzip_keeps_what_cannot_become_smaller_as_a_member_of_its_own() {
    let content = mixed().await;
    let length = content.len() - 2 * 300_001;
    assert!(length > 200_000, "{length}");
    let dense = &content[300_001..][..length];
    let all = packed(&content, PackFormat::Gzip, None).await;
    let inside = &dense[length / 2..][..1_000];
    assert!(all.windows(1_000).any(|window| window == inside));
    let alone = packed(dense, PackFormat::Gzip, None).await;
    assert!(alone.len() < length + length / 500, "{}", alone.len());
    let (stream, _) = unpack(pieces(&all));
    assert_eq!(whole(stream).await.unwrap(), content);
    // Before it and behind it there is a member more than there are blocks.
    let member = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
    let members = all.windows(8).filter(|window| *window == member).count();
    assert_eq!(members, content.len().div_ceil(256 * 1024) + 2);
}

#[tokio::test]
async fn what_is_not_compressed_passes_as_it_is() {
    for content in [Vec::new(), text(3), text(300_000)] {
        let (stream, facts) = unpack(pieces(&content));
        assert_eq!(whole(stream).await.unwrap(), content);
        let facts = facts.take().unwrap();
        assert_eq!(
            (facts.compression, facts.diff_id),
            (None, Digest::sha256(&content))
        );
        let (stream, learned) = learn(pieces(&content));
        assert_eq!(whole(stream).await.unwrap(), content);
        assert_eq!(learned.take(), Some(facts));
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the cable was cut")]
struct Cut;

#[tokio::test]
async fn an_error_of_the_body_comes_out_as_it_is_and_there_are_no_facts() {
    let broken = || {
        let start = stream::iter([Ok(Bytes::from(text(200_000)))]);
        start
            .chain(stream::iter([Err(io::Error::other(Cut))]))
            .boxed()
    };
    let check = |result: io::Result<Vec<u8>>| {
        let error = result.expect_err("the body broke");
        assert!(
            error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<Cut>())
                .is_some(),
            "{error}"
        );
    };
    for format in FORMATS {
        let (stream, facts) = pack(
            broken(),
            Packing {
                format,
                level: None,
            },
            None,
        );
        check(whole(stream).await);
        assert!(facts.take().is_none());
    }
    let (stream, facts) = unpack(broken());
    check(whole(stream).await);
    assert!(facts.take().is_none());
    let (stream, facts) = learn(broken());
    check(whole(stream).await);
    assert!(facts.take().is_none());
}

#[tokio::test]
async fn a_digest_that_is_known_is_told_and_changes_no_byte() {
    let content = text(300_000);
    for format in FORMATS {
        let packing = Packing {
            format,
            level: None,
        };
        let known = Digest::sha256(&content);
        let (stream, facts) = pack(pieces(&content), packing, Some(known));
        let packed = whole(stream).await.unwrap();
        let (stream, found) = pack(pieces(&content), packing, None);
        assert_eq!(packed, whole(stream).await.unwrap());
        assert_eq!(facts.take(), found.take());
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_ends_its_threads() {
    let piece = Bytes::from(text(60_000));
    let endless = || {
        let piece = piece.clone();
        stream::repeat_with(move || Ok(piece.clone())).boxed()
    };
    let held = std::sync::Arc::new(());
    let watched = |held: &std::sync::Arc<()>| {
        let held = std::sync::Arc::clone(held);
        endless()
            .map(move |piece| {
                assert!(std::sync::Arc::strong_count(&held) > 1);
                piece
            })
            .boxed()
    };
    for format in FORMATS {
        let (mut stream, facts) = pack(
            watched(&held),
            Packing {
                format,
                level: None,
            },
            None,
        );
        assert!(stream.next().await.unwrap().is_ok());
        drop(stream);
        // The thread shares the facts, and lets go of them when it ends.
        while !facts.is_alone() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    let (mut stream, facts) = learn(watched(&held));
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    while !facts.is_alone() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
}

/// Compresses with the program of that name.
fn by_program(program: &str, content: &[u8]) -> Option<Vec<u8>> {
    run(Command::new(program).arg("-c"), content)
}

#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "CI says so in the environment, and who runs tests wants to know"
)]
fn run(command: &mut Command, input: &[u8]) -> Option<Vec<u8>> {
    let started = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = match started.spawn() {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{command:?}: {error}");
            eprintln!("skipped: {command:?}: {error}");
            return None;
        }
    };
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.status.success().then_some(output.stdout)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_other_programs_are_read_and_cut_or_longer_ones_refused() {
    let content = text(400_000);
    for (program, compression) in [
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
        ("bzip2", Compression::Bzip2),
        ("xz", Compression::Xz),
    ] {
        let Some(file) = by_program(program, &content) else {
            continue;
        };
        assert_eq!(detect(&file), Some(compression));
        let read = |bytes: Vec<u8>| {
            let mut all = Vec::new();
            reader(io::Cursor::new(bytes), compression)?.read_to_end(&mut all)?;
            Ok::<_, io::Error>(all)
        };
        assert_eq!(read(file.clone()).unwrap(), content, "{program}");
        // Two files behind each other are one.
        let twice = [file.clone(), file.clone()].concat();
        assert_eq!(
            read(twice).unwrap(),
            [content.clone(), content.clone()].concat()
        );
        for cut in [7, file.len() / 2, file.len() - 1] {
            assert!(
                read(file[..cut].to_vec()).is_err(),
                "{program} cut at {cut}"
            );
            let (stream, facts) = unpack(pieces(&file[..cut]));
            assert!(whole(stream).await.is_err(), "{program} cut at {cut}");
            assert!(facts.take().is_none());
            let (stream, _) = learn(pieces(&file[..cut]));
            assert!(whole(stream).await.is_err(), "{program} cut at {cut}");
        }
        let mut more = file.clone();
        more.extend_from_slice(b"and more");
        assert!(read(more).is_err(), "{program} with something behind it");
        let mut wrong = file.clone();
        let middle = wrong.len() / 2;
        wrong[middle] ^= 0x55;
        assert!(
            read(wrong).map_or(true, |all| all != content),
            "{program} with a wrong byte"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checksum_or_a_size_that_is_wrong_is_found_in_every_member_of_a_gzip_file() {
    let member = |length: usize| {
        let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        member.write_all(&text(length)).unwrap();
        member.finish().unwrap()
    };
    // Some end where a piece does that comes out, and two at the same place.
    let members: Vec<_> = [1, 0, 0, 64 * 1024 - 1, 300_000, 5].map(member).into();
    let content = [1, 64 * 1024 - 1, 300_000, 5].map(text).concat();
    let file = members.concat();
    let (stream, facts) = unpack_unhashed(pieces(&file));
    assert_eq!(whole(stream).await.unwrap(), content);
    assert_eq!(facts.take(), Some(Some(Compression::Gzip)));
    let mut end = 0;
    for member in &members {
        end += member.len();
        for back in 1..=8 {
            let mut wrong = file.clone();
            wrong[end - back] ^= 0x10;
            for stream in [
                unpack(pieces(&wrong)).0,
                unpack_unhashed(pieces(&wrong)).0,
                learn(pieces(&wrong)).0,
            ] {
                let error = whole(stream).await.expect_err("it is found");
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{end} {back}");
            }
            let mut reader = reader(io::Cursor::new(wrong), Compression::Gzip).unwrap();
            assert!(reader.read_to_end(&mut Vec::new()).is_err(), "{end} {back}");
        }
    }
}

#[test]
fn zeros_behind_a_gzip_file_are_padding_and_skippable_frames_are_skipped() {
    let mut file = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    file.write_all(b"content").unwrap();
    let mut file = file.finish().unwrap();
    file.resize(file.len() + 1000, 0);
    let mut all = Vec::new();
    reader(io::Cursor::new(file), Compression::Gzip)
        .unwrap()
        .read_to_end(&mut all)
        .unwrap();
    assert_eq!(all, b"content");
    let frame = zstd::encode_all(&b"content"[..], 1).unwrap();
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &frame].concat();
    let mut all = Vec::new();
    let both = [frame, skipped].concat();
    reader(io::Cursor::new(both), Compression::Zstd)
        .unwrap()
        .read_to_end(&mut all)
        .unwrap();
    assert_eq!(all, b"contentcontent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_programs_read_what_is_packed_here() {
    let content = mixed().await;
    let gzip = packed(&content, PackFormat::Gzip, None).await;
    let python =
        "import sys,gzip;sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
    for command in [
        Command::new("gzip").arg("-dc"),
        Command::new("python3").args(["-c", python]),
    ] {
        if let Some(all) = run(command, &gzip) {
            assert_eq!(all, content, "{command:?}");
        }
    }
    for format in [PackFormat::Zstd, PackFormat::ZstdChunked] {
        let zstd = packed(&content, format, None).await;
        if let Some(all) = run(Command::new("zstd").arg("-dc"), &zstd) {
            assert_eq!(all, content, "{format}");
        }
    }
}

#[test]
fn formats_and_levels_are_checked() {
    for (name, level, good) in [
        ("gzip", None, true),
        ("gzip", Some(9), true),
        ("gzip", Some(-1), true),
        ("gzip", Some(10), false),
        ("gzip", Some(-2), false),
        ("zstd", Some(99), true),
        ("zstd:chunked", None, true),
        ("bzip2", None, false),
        ("Xz", None, false),
        ("foo", None, false),
    ] {
        assert_eq!(
            Packing::parse(name, level).is_ok(),
            good,
            "{name} {level:?}"
        );
    }
}
