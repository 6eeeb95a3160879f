//! A layer of a store as a stream.

use std::io::{self, Read};

use bytes::Bytes;
use dhow_model::{Algorithm, Digest, Hasher};
use dhow_storage::{LayerRecord, Store};
use dhow_transport::Result;
use futures_core::stream::BoxStream;
use tokio::sync::mpsc;

use super::store_error;
use crate::file_blob::produced;

/// Opens a layer from this byte of its archive on. It is read from the first poll on.
pub(super) fn open(
    store: Store,
    layer: LayerRecord,
    skip: u64,
) -> BoxStream<'static, io::Result<Bytes>> {
    produced(move |sender| {
        if let Err(error) = send(&store, &layer, skip, sender) {
            drop(sender.blocking_send(Err(error)));
        }
    })
}

fn send(
    store: &Store,
    layer: &LayerRecord,
    skip: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let opened = store.read_layer(layer);
    let mut reader = opened.map_err(|error| io::Error::other(store_error(error)))?;
    io::copy(&mut (&mut reader).take(skip), &mut io::sink())?;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        (&mut reader).take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() || sender.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
}

/// Reads a layer to find out its digest and its size. Blocks.
pub(super) fn measure(store: &Store, layer: &LayerRecord) -> Result<(Digest, u64)> {
    let mut reader = store.read_layer(layer).map_err(store_error)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut size = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let read = reader.read(&mut piece);
        let read = read.map_err(dhow_transport::Error::from_stream)?;
        if read == 0 {
            return Ok((hasher.finish(), size));
        }
        hasher.update(&piece[..read]);
        size += read as u64;
    }
}

/// The size of a piece, in bytes.
const PIECE: usize = 128 << 10;
