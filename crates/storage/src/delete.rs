//! Deleting images, and layers that nothing uses any more.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::home::{Driver, Home};
use crate::lock::Lock;
use crate::open::Store;
use crate::overlay;
use crate::records::{self, ContainerRecord, ImageRecord, LayerRecord};
use crate::resolve::{ImageName, choose};

impl Store {
    /// Takes a name away from an image; an image without another name goes, with the layers that
    /// nothing else uses. An image that is named by its ID goes with all its names.
    ///
    /// # Errors
    /// When nothing is called so, or a container or a mount uses the image.
    pub fn delete(&self, name: &ImageName) -> Result<()> {
        if !self.home.images_folder().exists() {
            return Err(self.not_here(name));
        }
        self.pass()?;
        let layers_lock = Lock::exclusive(&self.home.layers_lock())?;
        let images_lock = Lock::exclusive(&self.home.images_lock())?;
        let path = self.home.images_list();
        let mut images: Vec<ImageRecord> = records::read(&path)?;
        let Some(image) = choose(&images, name)?.cloned() else {
            return Err(self.not_here(name));
        };
        if let Some(tagged) = name.tagged.as_ref().filter(|_| image.names().len() > 1) {
            for known in &mut images {
                if known.id == image.id {
                    known
                        .names
                        .get_or_insert_default()
                        .retain(|own| own != tagged);
                }
            }
            records::write(&path, &images)?;
            return images_lock.touch();
        }
        let containers = self.home.containers()?;
        self.check_unused(&image, &containers)?;
        images.retain(|known| known.id != image.id);
        records::write(&path, &images)?;
        images_lock.touch()?;
        remove_folder(&self.home.image_folder(&image.id));
        self.delete_layers(&layers_lock, &image, &images, &containers)
    }

    fn not_here(&self, name: &ImageName) -> Error {
        let elsewhere = self.others.iter().any(|home| {
            let images = home.images().unwrap_or_default();
            choose(&images, name).is_ok_and(|found| found.is_some())
        });
        if elsewhere {
            let message = "the image is in an additional image store, which is only read";
            return Error::Unsupported(message.into());
        }
        Error::NotFound("the store has no such image".into())
    }

    fn check_unused(&self, image: &ImageRecord, containers: &[ContainerRecord]) -> Result<()> {
        let user = containers
            .iter()
            .find(|container| container.image == image.id);
        if let Some(container) = user {
            return Err(Error::InUse(format!(
                "image `{}` is used by container `{}`",
                image.id, container.id
            )));
        }
        let Some(layer) = &image.layer else {
            return Ok(());
        };
        if self.mounts_of(layer)? > 0 {
            return Err(Error::InUse(format!("image `{}` is mounted", image.id)));
        }
        Ok(())
    }

    /// Removes the layers of an image from the top down, as long as nothing else uses them.
    fn delete_layers(
        &self,
        lock: &Lock,
        image: &ImageRecord,
        images: &[ImageRecord],
        containers: &[ContainerRecord],
    ) -> Result<()> {
        let path = self.home.layers_list();
        let mut list: Vec<LayerRecord> = records::read(&path)?;
        self.drop_incomplete(&mut list);
        let volatile = self.home.volatile_layers()?;
        let gone = unused(image, images, containers, &list, &volatile);
        if gone.is_empty() {
            return Ok(());
        }
        // What is marked so and still there when somebody writes next is removed then.
        for layer in list.iter_mut().filter(|layer| gone.contains(&layer.id)) {
            layer.mark_incomplete();
        }
        records::write(&path, &list)?;
        lock.touch()?;
        self.drop_incomplete(&mut list);
        records::write(&path, &list)?;
        lock.touch()
    }
}

/// Returns the layers of an image that nothing uses when it is gone.
fn unused(
    image: &ImageRecord,
    images: &[ImageRecord],
    containers: &[ContainerRecord],
    list: &[LayerRecord],
    volatile: &[LayerRecord],
) -> HashSet<String> {
    let mut used: HashSet<&str> = HashSet::new();
    for other in images {
        used.extend(other.layer.as_deref());
        let mapped = other
            .rest
            .get("mapped-layers")
            .and_then(|ids| ids.as_array());
        used.extend(mapped.into_iter().flatten().filter_map(|id| id.as_str()));
    }
    used.extend(containers.iter().map(|container| container.layer.as_str()));
    let mut gone = HashSet::new();
    let mut next = image.layer.clone();
    while let Some(id) = next {
        let has_child = list
            .iter()
            .chain(volatile)
            .any(|layer| layer.parent.as_deref() == Some(&id) && !gone.contains(&layer.id));
        let Some(layer) = list.iter().find(|layer| layer.id == id) else {
            break;
        };
        let named = layer.names.as_ref().is_some_and(|names| !names.is_empty());
        let parent = layer.parent.clone();
        if has_child || named || used.contains(id.as_str()) || !gone.insert(id) {
            break;
        }
        next = parent;
    }
    gone
}

/// Removes the files of a layer, its short name and its description.
pub(crate) fn remove_layer_files(home: &Home, id: &str) {
    // An ID is one component, or it is not from a store.
    if id.len() < 3 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        tracing::warn!(id, "a layer with a strange ID is left alone");
        return;
    }
    if home.driver == Driver::Overlay {
        overlay::unlink_layer(home, id);
    }
    remove_folder(&home.layer_folder(id));
    remove_folder(&home.big_data_folder(id));
    if let Err(error) = fs::remove_file(home.description(id))
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(id, %error, "a description could not be removed");
    }
}

fn remove_folder(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %path.display(), %error, "a folder could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(id: &str, parent: Option<&str>) -> LayerRecord {
        LayerRecord {
            id: id.into(),
            parent: parent.map(str::to_owned),
            ..LayerRecord::default()
        }
    }

    fn image(id: &str, layer: &str) -> ImageRecord {
        ImageRecord {
            id: id.into(),
            layer: Some(layer.into()),
            ..ImageRecord::default()
        }
    }

    #[test]
    fn only_layers_that_nothing_uses_go() {
        // a ◀ b ◀ c ◀ d, and b ◀ e
        let list = [
            layer("a", None),
            layer("b", Some("a")),
            layer("c", Some("b")),
            layer("d", Some("c")),
            layer("e", Some("b")),
        ];
        let gone = |images: &[ImageRecord], containers: &[ContainerRecord]| {
            let deleted = image("x", "d");
            let mut gone: Vec<_> = unused(&deleted, images, containers, &list, &[])
                .into_iter()
                .collect();
            gone.sort();
            gone.concat()
        };
        assert_eq!(gone(&[], &[]), "cd", "`b` has another child");
        assert_eq!(gone(&[image("y", "c")], &[]), "d");
        assert_eq!(gone(&[image("y", "d")], &[]), "");
        let container = ContainerRecord {
            id: "k".into(),
            image: "z".into(),
            layer: "c".into(),
        };
        assert_eq!(gone(&[], &[container]), "d");
    }
}
