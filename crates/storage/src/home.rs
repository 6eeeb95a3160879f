//! One folder of images and layers, and where everything in it is.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::lock::Lock;
use crate::records::{self, ContainerRecord, ImageRecord, LayerRecord};

/// How layers become the files of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Driver {
    /// Each layer has a folder with what it changes; the kernel puts them on top of each other.
    Overlay,
    /// Each layer has a folder with all files.
    Vfs,
}

impl Driver {
    /// Returns the driver of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "overlay" | "overlay2" => Some(Self::Overlay),
            "vfs" => Some(Self::Vfs),
            _ => None,
        }
    }

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Vfs => "vfs",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A folder of images and layers.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) root: PathBuf,
    pub(crate) driver: Driver,
}

impl Home {
    /// Returns the folder of the driver.
    pub(crate) fn driver_folder(&self) -> PathBuf {
        self.root.join(self.driver.name())
    }

    /// Returns a folder of records.
    fn records(&self, what: &str) -> PathBuf {
        self.root.join(format!("{}-{what}", self.driver))
    }

    pub(crate) fn layers_folder(&self) -> PathBuf {
        self.records("layers")
    }

    pub(crate) fn images_folder(&self) -> PathBuf {
        self.records("images")
    }

    pub(crate) fn containers_folder(&self) -> PathBuf {
        self.records("containers")
    }

    pub(crate) fn layers_lock(&self) -> PathBuf {
        self.layers_folder().join("layers.lock")
    }

    pub(crate) fn layers_list(&self) -> PathBuf {
        self.layers_folder().join("layers.json")
    }

    pub(crate) fn images_lock(&self) -> PathBuf {
        self.images_folder().join("images.lock")
    }

    pub(crate) fn images_list(&self) -> PathBuf {
        self.images_folder().join("images.json")
    }

    /// Returns the folder that a layer has with the driver.
    pub(crate) fn layer_folder(&self, id: &str) -> PathBuf {
        match self.driver {
            Driver::Overlay => self.driver_folder().join(id),
            Driver::Vfs => self.driver_folder().join("dir").join(id),
        }
    }

    /// Returns the folder with the files of a layer.
    pub(crate) fn layer_files(&self, id: &str) -> PathBuf {
        match self.driver {
            Driver::Overlay => self.layer_folder(id).join("diff"),
            Driver::Vfs => self.layer_folder(id),
        }
    }

    /// Returns the file that says how the archive of a layer is made again.
    pub(crate) fn description(&self, id: &str) -> PathBuf {
        self.layers_folder().join(format!("{id}.tar-split.gz"))
    }

    /// Returns the folder with what is kept beside a layer.
    pub(crate) fn big_data_folder(&self, id: &str) -> PathBuf {
        self.layers_folder().join(id)
    }

    /// Returns the folder with what is kept beside an image.
    pub(crate) fn image_folder(&self, id: &str) -> PathBuf {
        self.images_folder().join(id)
    }

    /// Reads the layers.
    pub(crate) fn layers(&self) -> Result<Vec<LayerRecord>> {
        let _lock = Lock::shared(&self.layers_lock())?;
        let mut layers = records::read(&self.layers_list())?;
        layers.extend(self.volatile_layers()?);
        Ok(layers)
    }

    /// Reads the layers that do not outlive a restart of the machine.
    pub(crate) fn volatile_layers(&self) -> Result<Vec<LayerRecord>> {
        records::read(&self.layers_folder().join("volatile-layers.json"))
    }

    /// Reads the images.
    pub(crate) fn images(&self) -> Result<Vec<ImageRecord>> {
        let _lock = Lock::shared(&self.images_lock())?;
        records::read(&self.images_list())
    }

    /// Reads the containers.
    pub(crate) fn containers(&self) -> Result<Vec<ContainerRecord>> {
        let folder = self.containers_folder();
        let _lock = Lock::shared(&folder.join("containers.lock"))?;
        let mut containers = records::read(&folder.join("containers.json"))?;
        containers.extend(records::read(&folder.join("volatile-containers.json"))?);
        Ok(containers)
    }

    /// Returns whether a folder looks like one of images and layers of this driver.
    pub(crate) fn looks_used(root: &Path, driver: Driver) -> bool {
        let home = Self {
            root: root.to_owned(),
            driver,
        };
        home.images_folder().is_dir() || home.driver_folder().is_dir()
    }
}
