//! The end of the stream: the table of contents, tar-split and the footer, each in a frame that
//! decoders skip.

use std::io::{self, Write as _};

use dhow_model::{Annotations, Digest};

use super::entry::Entries;
use super::frames::Place;
use super::places::{CHECKSUM, TABLE, TABLE_KIND, TAR_SPLIT};
use super::split::TarSplit;
use crate::pack::Tally;

/// Writes the end; returns what the layer's descriptor has to say.
pub(super) fn write(
    output: &mut Tally<'_>,
    entries: Entries,
    places: &[Place],
    split: TarSplit,
    level: i32,
) -> io::Result<Annotations> {
    let split = split.finish()?;
    let table = entries.table(places, &split.digest).to_string();
    let packed = zstd::bulk::compress(table.as_bytes(), level)?;
    let table_place = skipped(output, &packed)?;
    let split_place = skipped(output, &split.bytes)?;
    let numbers = [
        table_place,
        packed.len() as u64,
        table.len() as u64,
        TABLE_KIND,
        split_place,
        split.bytes.len() as u64,
        split.unpacked_size,
    ];
    let mut footer: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    footer.extend_from_slice(FOOTER_MAGIC);
    skipped(output, &footer)?;
    let mut annotations = Annotations::new();
    annotations.insert(CHECKSUM, Digest::sha256(&packed).to_string());
    annotations.insert(
        TABLE,
        format!(
            "{table_place}:{}:{}:{TABLE_KIND}",
            packed.len(),
            table.len()
        ),
    );
    annotations.insert(
        TAR_SPLIT,
        format!(
            "{split_place}:{}:{}",
            split.bytes.len(),
            split.unpacked_size
        ),
    );
    Ok(annotations)
}

/// Writes a skippable frame (RFC 8878, section 3.1.2); returns where its content begins.
fn skipped(output: &mut Tally<'_>, content: &[u8]) -> io::Result<u64> {
    let size = u32::try_from(content.len())
        .map_err(|_| io::Error::other("the table of contents is larger than 4 GiB"))?;
    output.write_all(&SKIPPABLE)?;
    output.write_all(&size.to_le_bytes())?;
    let place = output.written();
    output.write_all(content)?;
    Ok(place)
}

const SKIPPABLE: [u8; 4] = 0x184d_2a50_u32.to_le_bytes();

const FOOTER_MAGIC: &[u8; 8] = b"GNUlInUx";
