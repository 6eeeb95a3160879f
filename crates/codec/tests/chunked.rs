//! zstd:chunked as one reads it who knows the format: by the footer, the table and single frames.

#![expect(clippy::unwrap_used, reason = "a test that is wrong about this fails")]

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use dhow_codec::{PackFormat, Packing, pack, unpack};
use dhow_model::{Annotations, Digest};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

/// Returns what comes out, and the annotations.
async fn packed(content: &[u8]) -> (Vec<u8>, Annotations) {
    let pieces: Vec<io::Result<Bytes>> = content
        .chunks(10_007)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let packing = Packing {
        format: PackFormat::ZstdChunked,
        level: None,
    };
    let (stream, facts) = pack(stream::iter(pieces).boxed(), packing, None);
    let all: Vec<Bytes> = stream.map(|piece| piece.unwrap()).collect().await;
    let facts = facts.take().unwrap();
    assert_eq!(facts.diff_id, Digest::sha256(content));
    (all.concat(), facts.annotations)
}

/// A tar file with everything that a layer has.
fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, size: usize| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(0o755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_700_000_000);
        header
    };
    let mut directory = header(tar::EntryType::Directory, 0);
    tar.append_data(&mut directory, "bin/", io::empty())
        .unwrap();
    let noise: Vec<u8> = (0_u64..1_500_000)
        .map(|n| (n.wrapping_mul(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect();
    for (name, content) in [
        ("bin/large".to_owned(), noise.as_slice()),
        ("bin/small".to_owned(), b"small".as_slice()),
        ("bin/empty".to_owned(), b""),
        (
            format!("deep/{}", "name/".repeat(40)) + "end",
            b"a name that needs an extension",
        ),
    ] {
        let mut file = header(tar::EntryType::Regular, content.len());
        tar.append_data(&mut file, name, content).unwrap();
    }
    let attributes = [
        ("SCHILY.xattr.user.note", b"noted".as_slice()),
        ("mtime", b"1700000000.5"),
    ];
    tar.append_pax_extensions(attributes).unwrap();
    let mut file = header(tar::EntryType::Regular, 3);
    tar.append_data(&mut file, "noted", &b"yes"[..]).unwrap();
    let mut link = header(tar::EntryType::Symlink, 0);
    tar.append_link(&mut link, "bin/link", "small").unwrap();
    let mut link = header(tar::EntryType::Link, 0);
    tar.append_link(&mut link, "bin/hard", "bin/small").unwrap();
    let mut all = tar.into_inner().unwrap();
    all.extend_from_slice(&[0; 4096]);
    all
}

fn numbers(text: &str) -> Vec<usize> {
    text.split(':')
        .map(|number| number.parse().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_file_can_be_fetched_by_its_frames_alone() {
    let content = archive();
    let (all, annotations) = packed(&content).await;
    let value = |key: &str| {
        let key = format!("io.github.containers.zstd-chunked.{key}");
        annotations.value(&key).unwrap().to_owned()
    };
    let place = numbers(&value("manifest-position"));
    let split = numbers(&value("tarsplit-position"));
    // The footer says the same as the annotations.
    let footer = &all[all.len() - 64..];
    let fields: Vec<usize> = footer[..56]
        .chunks(8)
        .map(|field| usize::try_from(u64::from_le_bytes(field.try_into().unwrap())).unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            place[0], place[1], place[2], place[3], split[0], split[1], split[2]
        ]
    );
    assert_eq!(&footer[56..], b"GNUlInUx");
    let table = &all[place[0]..place[0] + place[1]];
    assert_eq!(
        Digest::sha256(table).to_string(),
        value("manifest-checksum")
    );
    let table = zstd::decode_all(table).unwrap();
    assert_eq!(table.len(), place[2]);
    let table: Value = serde_json::from_slice(&table).unwrap();
    assert_eq!(table["version"], 1);

    let mut files = std::collections::BTreeMap::<String, Vec<u8>>::new();
    let entries = table["entries"].as_array().unwrap();
    let mut ends = entries
        .iter()
        .rev()
        .filter_map(|entry| entry["endOffset"].as_u64());
    assert!(ends.next().is_some());
    for (number, entry) in entries.iter().enumerate() {
        let name = entry["name"].as_str().unwrap().to_owned();
        let Some(start) = entry["offset"].as_u64() else {
            continue;
        };
        let next = entries
            .get(number + 1)
            .filter(|next| next["type"] == "chunk");
        let main = entries
            .iter()
            .find(|main| main["name"] == name && main["type"] == "reg")
            .unwrap();
        let end = next
            .map_or(&main["endOffset"], |next| &next["offset"])
            .as_u64()
            .unwrap();
        let frame = &all[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
        let chunk = zstd::decode_all(frame).unwrap();
        if let Some(digest) = entry["chunkDigest"].as_str() {
            assert_eq!(Digest::sha256(&chunk).to_string(), digest);
            assert_eq!(entry["chunkSize"], chunk.len());
        }
        let file = files.entry(name).or_default();
        assert_eq!(
            entry["chunkOffset"].as_u64().unwrap_or_default(),
            file.len() as u64
        );
        file.extend_from_slice(&chunk);
    }
    for entry in entries.iter().filter(|entry| entry["type"] == "reg") {
        let name = entry["name"].as_str().unwrap();
        match files.get(name) {
            Some(file) => assert_eq!(entry["digest"], Digest::sha256(file).to_string()),
            None => assert_eq!(name, "bin/empty"),
        }
    }
    assert_eq!(files["bin/small"], b"small");
    assert_eq!(files["bin/large"].len(), 1_500_000);
    let rows_of_large = entries.iter().filter(|entry| entry["name"] == "bin/large");
    assert!(rows_of_large.count() > 3);
    let find = |name: &str| entries.iter().find(|entry| entry["name"] == name).unwrap();
    assert_eq!(
        find("noted")["xattrs"]["user.note"],
        BASE64_STANDARD.encode("noted")
    );
    assert_eq!(find("noted")["modtime"], "2023-11-14T22:13:20.5Z");
    assert_eq!(find("bin/hard")["linkName"], "bin/small");
    assert_eq!(
        (&find("bin/link")["type"], &find("bin/hard")["type"]),
        (&"symlink".into(), &"hardlink".into())
    );
    assert_eq!(find("bin/")["type"], "dir");
    assert!(find(&(format!("deep/{}", "name/".repeat(40)) + "end"))["size"].as_u64() == Some(30));
    assert_eq!(
        put_together(&all[split[0]..split[0] + split[1]], &table, &files),
        content
    );
}

/// Makes the tar file from tar-split and the files.
fn put_together(
    split: &[u8],
    table: &Value,
    files: &std::collections::BTreeMap<String, Vec<u8>>,
) -> Vec<u8> {
    assert_eq!(table["tarSplitDigest"], Digest::sha256(split).to_string());
    let mut all = Vec::new();
    let lines = String::from_utf8(zstd::decode_all(split).unwrap()).unwrap();
    for (position, line) in lines.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["position"], position);
        if line["type"] == 2 {
            let bytes = BASE64_STANDARD
                .decode(line["payload"].as_str().unwrap())
                .unwrap();
            all.extend_from_slice(&bytes);
        } else if line["size"].as_u64().is_some() {
            all.extend_from_slice(&files[line["name"].as_str().unwrap()]);
        }
    }
    all
}

#[tokio::test]
async fn what_is_no_tar_file_has_no_table_and_comes_out_whole() {
    let tar = archive();
    let mut wrong_sum = tar.clone();
    wrong_sum[600] ^= 1;
    wrong_sum[5] ^= 1;
    let global = {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XGlobalHeader);
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
        tar.into_inner().unwrap()
    };
    for content in [
        b"no tar file at all".to_vec(),
        vec![b'x'; 300_000],
        wrong_sum,
        global,
        tar[..5_000].to_vec(),
    ] {
        let (all, annotations) = packed(&content).await;
        assert!(annotations.is_empty());
        let (stream, _) = unpack(stream::iter([Ok(Bytes::from(all))]).boxed());
        let back: Vec<Bytes> = stream.map(|piece| piece.unwrap()).collect().await;
        assert_eq!(back.concat(), content);
    }
}
