//! Finding an image by what it is called.

use crate::big_data;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::open::Store;
use crate::records::{ImageRecord, LayerRecord, MANIFEST_KEY};

/// What an image is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageName {
    /// Its whole name, with a registry and a tag: `docker.io/library/alpine:latest`.
    pub tagged: Option<String>,
    /// The repository of its name, and the digest of its manifest.
    pub digested: Option<(String, String)>,
    /// Its ID, or the start of it.
    pub id: Option<String>,
}

/// An image that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its record.
    pub record: ImageRecord,
    home: Home,
}

impl Found {
    /// Reads something that is kept beside the image.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn big_data(&self, key: &str) -> Result<Vec<u8>> {
        big_data::read(&self.home.image_folder(&self.record.id), key)
    }

    /// Reads its manifest, or the one with this digest, which may be an index that it came from.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn manifest(&self, digest: Option<&str>) -> Result<Vec<u8>> {
        let Some(digest) = digest else {
            return self.big_data(MANIFEST_KEY);
        };
        let key = format!("{MANIFEST_KEY}-{digest}");
        if self.record.big_data_names().contains(&key) {
            return self.big_data(&key);
        }
        if self.record.big_data_digest(MANIFEST_KEY) == Some(digest) {
            return self.big_data(MANIFEST_KEY);
        }
        Err(Error::NotFound(format!(
            "image `{}` has no manifest `{digest}`",
            self.record.id
        )))
    }
}

impl Store {
    /// Finds an image; `None`: nothing is called so.
    ///
    /// # Errors
    /// When the records cannot be read, or the start of an ID fits several images.
    pub fn find(&self, name: &ImageName) -> Result<Option<Found>> {
        for home in self.homes() {
            let images = home.images()?;
            if let Some(record) = choose(&images, name)? {
                return Ok(Some(Found {
                    record: record.clone(),
                    home: home.clone(),
                }));
            }
        }
        Ok(None)
    }

    /// Finds the first image of which something holds.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn find_by(&self, holds: impl Fn(&ImageRecord) -> bool) -> Result<Option<Found>> {
        for home in self.homes() {
            let mut images = home.images()?.into_iter();
            if let Some(record) = images.find(&holds) {
                let home = home.clone();
                return Ok(Some(Found { record, home }));
            }
        }
        Ok(None)
    }

    /// Returns all images, this store's own first.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        let mut images = Vec::new();
        for home in self.homes() {
            images.extend(home.images()?);
        }
        Ok(images)
    }

    /// Returns the layers of an image, the lowest first.
    ///
    /// # Errors
    /// When the records cannot be read, or a layer is missing.
    pub fn layers_of(&self, image: &ImageRecord) -> Result<Vec<LayerRecord>> {
        let known = self.layers()?;
        let mut layers: Vec<LayerRecord> = Vec::new();
        let mut wanted = image.layer.clone().filter(|id| !id.is_empty());
        while let Some(id) = wanted {
            let layer = known.iter().find(|layer| layer.id == id);
            let Some(layer) = layer.filter(|_| layers.len() < MAX_DEPTH) else {
                return Err(Error::NotFound(format!(
                    "image `{}` has lost its layer `{id}`",
                    image.id
                )));
            };
            wanted = layer.parent.clone().filter(|parent| !parent.is_empty());
            layers.push(layer.clone());
        }
        layers.reverse();
        Ok(layers)
    }

    /// Returns all complete layers, this store's own first.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn layers(&self) -> Result<Vec<LayerRecord>> {
        let mut layers = Vec::new();
        for home in self.homes() {
            layers.extend(home.layers()?);
        }
        layers.retain(|layer| !layer.is_incomplete());
        Ok(layers)
    }

    /// Returns the folder of images and layers that has this layer's files.
    pub(crate) fn home_of(&self, id: &str) -> Option<&Home> {
        self.homes().find(|home| home.layer_files(id).is_dir())
    }
}

/// Chooses the image that is called so.
pub(crate) fn choose<'a>(
    images: &'a [ImageRecord],
    name: &ImageName,
) -> Result<Option<&'a ImageRecord>> {
    let named = |image: &&ImageRecord| match (&name.tagged, &name.digested) {
        (Some(tagged), _) if image.names().contains(tagged) => true,
        (None, Some((repository, digest))) => {
            image.has_manifest(digest) && image.names().iter().any(|own| is_of(own, repository))
        }
        _ => false,
    };
    let is_named = name.tagged.is_some() || name.digested.is_some();
    let Some(id) = &name.id else {
        return Ok(images.iter().find(named));
    };
    let mut with_id = images.iter().filter(|image| image.id.starts_with(id));
    let found = with_id.next();
    if with_id.next().is_some() && found.is_some_and(|image| image.id != *id) {
        return Err(Error::NotFound(format!(
            "several images have an ID that begins with `{id}`"
        )));
    }
    // A name and an ID: the ID decides, as long as the image has the name.
    Ok(found.filter(|image| !is_named || named(image)))
}

/// Returns whether a name is one of this repository.
fn is_of(name: &str, repository: &str) -> bool {
    name.strip_prefix(repository)
        .is_some_and(|rest| rest.starts_with(':') || rest.starts_with('@'))
}

/// The most layers of an image: more than any kernel mounts.
const MAX_DEPTH: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_name_by_digest_and_by_the_start_of_an_id() {
        let image = |id: &str, name: &str, digest: &str| ImageRecord {
            id: id.into(),
            names: Some(vec![name.into()]),
            digest: Some(digest.into()),
            ..ImageRecord::default()
        };
        let images = [
            image("abc1", "quay.io/a/b:1", "sha256:11"),
            image("abd2", "quay.io/a/b:2", "sha256:22"),
            image("e", "quay.io/a/bb:2", "sha256:22"),
        ];
        let tagged = |name: &str| ImageName {
            tagged: Some(name.into()),
            ..ImageName::default()
        };
        let digested = |repository: &str, digest: &str| ImageName {
            digested: Some((repository.into(), digest.into())),
            ..ImageName::default()
        };
        let id = |id: &str| ImageName {
            id: Some(id.into()),
            ..ImageName::default()
        };
        for (name, expected) in [
            (tagged("quay.io/a/b:2"), Some("abd2")),
            (tagged("quay.io/a/b:3"), None),
            (digested("quay.io/a/bb", "sha256:22"), Some("e")),
            (digested("quay.io/a/b", "sha256:33"), None),
            (id("abc"), Some("abc1")),
            (id("f"), None),
            (
                ImageName {
                    id: Some("abc1".into()),
                    ..tagged("quay.io/a/b:2")
                },
                None,
            ),
        ] {
            let found = choose(&images, &name).expect("not several");
            assert_eq!(found.map(|image| image.id.as_str()), expected, "{name:?}");
        }
        assert!(choose(&images, &id("ab")).is_err());
    }
}
