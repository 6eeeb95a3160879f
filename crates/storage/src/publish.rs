//! Making layers and an image visible.

use std::fs;
use std::path::Path;

use dhow_model::{Compression, Digest};
use jiff::Timestamp;

use crate::big_data;
use crate::chance;
use crate::delete::remove_layer_files;
use crate::error::{Error, Result};
use crate::home::Driver;
use crate::lock::Lock;
use crate::open::Store;
use crate::overlay;
use crate::records::{self, ImageRecord, LayerRecord, MANIFEST_KEY, give_name, make_folder};
use crate::stage::Staged;
use crate::table::TABLE_KEY;

/// A layer that is to become visible.
#[derive(Debug)]
pub struct NewLayer {
    /// The layer, unpacked.
    pub staged: Staged,
    /// Its ID.
    pub id: String,
    /// The layer below.
    pub parent: Option<String>,
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// The size of the uncompressed archive, in bytes.
    pub diff_size: u64,
    /// The digest and the size of the blob it came in.
    pub blob: Option<(Digest, u64)>,
    /// How that blob was compressed; `None`: not at all.
    pub compression: Option<Compression>,
}

/// An image that is to become visible.
#[derive(Clone, Debug, Default)]
pub struct NewImage {
    /// Its ID; `None`: one of chance, for an index.
    pub id: Option<String>,
    /// Names that it is to have, besides those it has.
    pub names: Vec<String>,
    /// Its layers, the lowest first. All are there or become visible with it.
    pub layers: Vec<String>,
    /// Its manifest.
    pub manifest: Vec<u8>,
    /// The index that the manifest was chosen from.
    pub index: Option<Vec<u8>>,
    /// More that is kept beside it: the config under its digest.
    pub beside: Vec<(String, Vec<u8>)>,
    /// When it was made.
    pub created: Option<String>,
}

impl Store {
    /// Makes layers and the image they belong to visible. A layer that is there already stays as it
    /// is. Blocks while others use the store.
    ///
    /// # Errors
    /// When a layer is gone that was there before, or the store cannot be written; the image is not
    /// visible then.
    pub fn publish(&self, layers: Vec<NewLayer>, image: &NewImage) -> Result<ImageRecord> {
        self.prepare()?;
        self.pass()?;
        // Held until the image is there: nobody takes its layers away before.
        let lock = Lock::exclusive(&self.home.layers_lock())?;
        self.publish_layers(&lock, layers, &image.layers)?;
        self.publish_image(image)
    }

    fn publish_layers(&self, lock: &Lock, layers: Vec<NewLayer>, wanted: &[String]) -> Result<()> {
        records::sweep(&self.home.layers_folder());
        let path = self.home.layers_list();
        let mut list: Vec<LayerRecord> = records::read(&path)?;
        let cleaned = self.drop_incomplete(&mut list);
        let mut known: Vec<String> = list.iter().map(|layer| layer.id.clone()).collect();
        for home in &self.others {
            known.extend(home.layers()?.into_iter().map(|layer| layer.id));
        }
        let is_new = |layer: &NewLayer| !known.contains(&layer.id);
        let new: Vec<NewLayer> = layers.into_iter().filter(is_new).collect();
        let there = |id: &&String| known.contains(id) || new.iter().any(|layer| layer.id == **id);
        if let Some(lost) = wanted.iter().find(|id| !there(id)) {
            return Err(Error::Changed(format!(
                "layer `{lost}` was there and is gone: somebody deleted it meanwhile"
            )));
        }
        if new.is_empty() {
            if cleaned {
                records::write(&path, &list)?;
                lock.touch()?;
            }
            return Ok(());
        }
        list.extend(new.iter().map(record));
        let published = self
            .place_all(&new)
            .and_then(|()| records::write(&path, &list));
        if let Err(error) = published {
            for layer in &new {
                remove_layer_files(&self.home, &layer.id);
            }
            return Err(error);
        }
        lock.touch()
    }

    /// Renames layers into their places, the lowest first.
    fn place_all(&self, layers: &[NewLayer]) -> Result<()> {
        for layer in layers {
            layer.staged.note_layer(&layer.id)?;
            self.place(layer)?;
        }
        Ok(())
    }

    /// Removes layers that somebody did not come to the end with, as whoever writes next does;
    /// returns whether there were any.
    pub(crate) fn drop_incomplete(&self, list: &mut Vec<LayerRecord>) -> bool {
        let before = list.len();
        for layer in list.iter().filter(|layer| layer.is_incomplete()) {
            tracing::info!(layer = layer.id, "removing a layer that was not completed");
            remove_layer_files(&self.home, &layer.id);
        }
        list.retain(|layer| !layer.is_incomplete());
        list.len() < before
    }

    /// Renames a layer into its place.
    fn place(&self, layer: &NewLayer) -> Result<()> {
        let home = &self.home;
        let target = home.layer_folder(&layer.id);
        if target.exists() {
            // No record tells of it: somebody was stopped in between.
            remove_layer_files(home, &layer.id);
        }
        let description = home.description(&layer.id);
        rename(&layer.staged.description, &description)?;
        if let Some(table) = &layer.staged.table {
            let folder = home.big_data_folder(&layer.id);
            make_folder(&folder)?;
            rename(table, &big_data::path(&folder, TABLE_KEY))?;
        }
        match home.driver {
            Driver::Vfs => rename(&layer.staged.files(), &target),
            Driver::Overlay => {
                let folder = &layer.staged.folder;
                let link = self.dress_overlay(folder, layer)?;
                rename(folder, &target)?;
                overlay::link_layer(home, &layer.id, &link)
            }
        }
    }

    fn publish_image(&self, image: &NewImage) -> Result<ImageRecord> {
        let lock = Lock::exclusive(&self.home.images_lock())?;
        records::sweep(&self.home.images_folder());
        let path = self.home.images_list();
        let mut list: Vec<ImageRecord> = records::read(&path)?;
        let id = image.id.clone().unwrap_or_else(chance::id);
        let known = list.iter().position(|known| known.id == id);
        let mut record = known.map_or_else(
            || ImageRecord {
                id: id.clone(),
                metadata: Some("{}".into()),
                ..ImageRecord::default()
            },
            |place| list[place].clone(),
        );
        let layer = image.layers.last().cloned();
        if known.is_some()
            && record.layer.as_deref().unwrap_or_default() != layer.as_deref().unwrap_or_default()
        {
            return Err(Error::Unsupported(format!(
                "image with ID `{id}` exists already, and uses a different top layer"
            )));
        }
        record.layer = layer;
        record.created = record.created.or_else(|| image.created.clone());
        self.keep_beside(&mut record, image)?;
        match known {
            Some(place) => list[place] = record,
            None => list.push(record),
        }
        for name in &image.names {
            give_name(&mut list, &id, name);
        }
        records::write(&path, &list)?;
        lock.touch()?;
        let made = list.into_iter().find(|known| known.id == id);
        made.ok_or_else(|| Error::NotFound(format!("image `{id}` is gone")))
    }

    /// Writes what is kept beside an image.
    fn keep_beside(&self, record: &mut ImageRecord, image: &NewImage) -> Result<()> {
        let folder = self.home.image_folder(&record.id);
        make_folder(&folder)?;
        records::sweep(&folder);
        let mut keep = |key: &str, content: &[u8]| {
            records::write_file(&big_data::path(&folder, key), content)?;
            let digest = Digest::sha256(content).to_string();
            record.note_big_data(key, content.len(), &digest);
            Ok::<_, Error>(digest)
        };
        for (key, content) in &image.beside {
            keep(key, content)?;
        }
        for manifest in image.index.iter().chain([&image.manifest]) {
            let digest = Digest::sha256(manifest);
            keep(&format!("{MANIFEST_KEY}-{digest}"), manifest)?;
        }
        let digest = keep(MANIFEST_KEY, &image.manifest)?;
        record.digest = Some(digest);
        Ok(())
    }
}

/// Makes the record of a layer.
fn record(layer: &NewLayer) -> LayerRecord {
    let mut rest = records::Rest::new();
    if layer.staged.table.is_some() {
        rest.insert("big-data-names".to_owned(), [TABLE_KEY][..].into());
    }
    let set = |ids: &std::collections::BTreeSet<u32>| {
        (!ids.is_empty()).then(|| ids.iter().copied().collect())
    };
    LayerRecord {
        id: layer.id.clone(),
        parent: layer.parent.clone(),
        created: Some(Timestamp::now().to_string()),
        compressed_diff_digest: layer.blob.map(|(digest, _)| digest.to_string()),
        compressed_size: layer.blob.and_then(|(_, size)| i64::try_from(size).ok()),
        diff_digest: Some(layer.diff_id.to_string()),
        diff_size: Some(i64::try_from(layer.diff_size).unwrap_or(i64::MAX)),
        compression: layer.compression.map(records::number_of),
        uidset: set(&layer.staged.owners.users),
        gidset: set(&layer.staged.owners.groups),
        rest,
        ..LayerRecord::default()
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::file("create", to))
}
