//! Opening a store.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::home::{Driver, Home};
use crate::lock::Lock;
use crate::records::{self, make_folder};
use crate::unpack::{Means, Whiteouts};

/// Where a store is, and how it is used.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `overlay` or `vfs`; `None`: what is there, else overlay.
    pub driver: Option<String>,
    /// The folder of images and layers.
    pub graph_root: PathBuf,
    /// The folder for what does not outlive a restart of the machine.
    pub run_root: PathBuf,
    /// More folders of images and layers, which are only read.
    pub additional_image_stores: Vec<PathBuf>,
    /// Owners that cannot be set are left away.
    pub ignore_chown_errors: bool,
    /// The process is root in a user namespace.
    pub in_user_namespace: bool,
}

/// A store.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) home: Home,
    pub(crate) run_root: PathBuf,
    /// Only read.
    pub(crate) others: Vec<Home>,
    pub(crate) means: Means,
}

impl Store {
    /// Opens a store. Nothing is changed, and nothing need be there.
    ///
    /// # Errors
    /// When the driver is none that is known here.
    pub fn open(options: &Options) -> Result<Self> {
        let driver = driver(options)?;
        let others = options.additional_image_stores.iter();
        let others = others.map(|root| Home {
            root: root.clone(),
            driver,
        });
        Ok(Self {
            home: Home {
                root: options.graph_root.clone(),
                driver,
            },
            run_root: options.run_root.clone(),
            others: others.collect(),
            means: Means {
                in_user_namespace: options.in_user_namespace,
                ignore_chown_errors: options.ignore_chown_errors,
            },
        })
    }

    /// Returns the driver.
    pub const fn driver(&self) -> Driver {
        self.home.driver
    }

    /// Returns the folder of images and layers.
    pub fn graph_root(&self) -> &Path {
        &self.home.root
    }

    /// Returns the store as `[driver@graph root+run root]`, as it stands in names.
    pub fn specifier(&self) -> String {
        format!(
            "[{}@{}+{}]",
            self.home.driver,
            self.home.root.display(),
            self.run_root.display()
        )
    }

    /// Makes what a store has to have, unless it is there.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub(crate) fn prepare(&self) -> Result<()> {
        let home = &self.home;
        let is_new = !home.driver_folder().exists();
        for folder in [
            home.root.clone(),
            home.driver_folder(),
            home.layers_folder(),
            home.images_folder(),
            home.containers_folder(),
        ] {
            make_folder(&folder)?;
        }
        if home.driver == Driver::Vfs {
            make_folder(&home.driver_folder().join("dir"))?;
        } else if is_new && !self.means.in_user_namespace {
            // COMPAT(podman): else it takes strange names in the first layers for a sign that the
            // kernel's overlay is not to be used.
            records::write_file(&home.driver_folder().join(".has-mount-program"), b"false")?;
        }
        self.clean()
    }

    /// Returns all folders of images and layers, this store's own first.
    pub(crate) fn homes(&self) -> impl Iterator<Item = &Home> {
        std::iter::once(&self.home).chain(&self.others)
    }

    /// Waits until nobody opens or closes the store. COMPAT(podman): it holds this lock no longer,
    /// either: whoever has it while waiting for layers keeps all others from starting.
    pub(crate) fn pass(&self) -> Result<()> {
        Lock::exclusive(&self.home.root.join("storage.lock")).map(drop)
    }

    /// Returns what becomes of whiteouts.
    pub(crate) const fn whiteouts(&self) -> Whiteouts {
        match self.home.driver {
            Driver::Vfs => Whiteouts::Applied,
            Driver::Overlay if self.means.in_user_namespace => Whiteouts::Kept {
                opaque: "user.overlay.opaque",
            },
            Driver::Overlay => Whiteouts::Kept {
                opaque: "trusted.overlay.opaque",
            },
        }
    }

    /// Returns how often a layer is mounted.
    pub(crate) fn mounts_of(&self, id: &str) -> Result<i64> {
        let folder = format!("{}-layers", self.home.driver);
        let list = self.run_root.join(folder).join("mountpoints.json");
        let mounts: Vec<records::MountRecord> = records::read(&list)?;
        let mounts = mounts.iter().filter(|mount| mount.id == id);
        Ok(mounts.map(|mount| mount.count).sum())
    }
}

/// Finds the driver.
fn driver(options: &Options) -> Result<Driver> {
    if let Some(name) = options.driver.as_deref().filter(|name| !name.is_empty()) {
        return Driver::parse(name).ok_or_else(|| {
            Error::Unsupported(format!(
                "storage driver `{}` is not supported: dhow knows overlay and vfs",
                name.escape_debug()
            ))
        });
    }
    // COMPAT(podman): a store that was used before keeps its driver.
    let known = [Driver::Overlay, Driver::Vfs];
    let used = known
        .into_iter()
        .find(|driver| Home::looks_used(&options.graph_root, *driver));
    Ok(used.unwrap_or(Driver::Overlay))
}
