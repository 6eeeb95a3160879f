//! Unpacking a layer aside, where nobody else looks.
//!
//! Each layer that is being unpacked has a folder with a lock of its own: what a process that is
//! gone has left behind is known by its lock, and removed by whoever writes next.

use std::fs::{self, File};
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::chance;
use crate::clone_tree::clone_tree;
use crate::delete::remove_layer_files;
use crate::error::{Error, Result};
use crate::home::{Driver, Home};
use crate::lock::Lock;
use crate::open::Store;
use crate::records::{self, LayerRecord, make_folder};
use crate::table::{FileTable, Recorder};
use crate::unpack::{Owners, Target, unpack};

/// A layer that is unpacked and not visible yet. Dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    /// The folder that is to be the layer's.
    pub(crate) folder: PathBuf,
    /// The tar-split description.
    pub(crate) description: PathBuf,
    /// The table of its files, if one was made.
    pub(crate) table: Option<PathBuf>,
    pub(crate) owners: Owners,
    driver: Driver,
    _lock: Lock,
}

/// What a layer stands on, while it is unpacked.
#[derive(Clone, Copy, Debug)]
pub enum Base<'a> {
    /// Nothing, or something that does not matter for this driver.
    Nothing,
    /// A layer of the store, by its ID.
    Layer(&'a str),
    /// A layer that is staged itself.
    Staged(&'a Staged),
}

impl Store {
    /// Unpacks an uncompressed archive, and reads it to its end. Blocks.
    ///
    /// # Errors
    /// When the archive is malformed or an entry cannot be made.
    pub fn stage(&self, input: impl BufRead, base: Base<'_>, table: FileTable) -> Result<Staged> {
        let mut staged = self.begin()?;
        let files = staged.files();
        self.lay_base(&files, base)?;
        let description = File::create(&staged.description)
            .map_err(Error::file("create", &staged.description))?;
        if table == FileTable::Kept {
            staged.table = Some(staged.description.with_extension(TABLE));
        }
        let target = Target {
            folder: &files,
            description,
            table: staged.table.clone().map(Recorder::new),
        };
        staged.owners = unpack(input, target, self.whiteouts(), self.means)?;
        Ok(staged)
    }

    /// Makes an empty folder for a layer.
    fn begin(&self) -> Result<Staged> {
        self.prepare()?;
        let (staging, descriptions) = (staging(&self.home), descriptions(&self.home));
        make_folder(&staging)?;
        make_folder(&descriptions)?;
        let (name, lock) = loop {
            let name = chance::name();
            // The lock first: whoever cleans up removes what nobody has locked, and may have been
            // faster.
            let lock = Lock::exclusive(&staging.join(format!("{name}.lock")))?;
            if lock.is_there() {
                break (name, lock);
            }
        };
        let folder = staging.join(&name);
        make_folder(&folder)?;
        Ok(Staged {
            folder,
            description: descriptions.join(format!("{name}.tar-split.gz")),
            table: None,
            owners: Owners::default(),
            driver: self.home.driver,
            _lock: lock,
        })
    }

    /// Puts what is below a layer where its files will be.
    fn lay_base(&self, files: &Path, base: Base<'_>) -> Result<()> {
        let below = match base {
            Base::Nothing => None,
            Base::Layer(id) => self.home_of(id).map(|home| home.layer_files(id)),
            Base::Staged(staged) => Some(staged.files()),
        };
        if let (Driver::Vfs, Some(below)) = (self.home.driver, below) {
            return clone_tree(&below, files);
        }
        make_folder(files)?;
        fs::set_permissions(files, fs::Permissions::from_mode(ROOT_MODE))
            .map_err(Error::file("change", files))
    }

    /// Removes what processes that are gone have left behind: folders that never became layers, and
    /// layers that were renamed into place and never recorded.
    pub(crate) fn clean(&self) -> Result<()> {
        let staging = staging(&self.home);
        let entries = match fs::read_dir(&staging) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::file("read", &staging)(error)),
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let Some(name) = name.strip_suffix(".lock") else {
                continue;
            };
            let Some(_lock) = Lock::attempt(&path)? else {
                continue;
            };
            tracing::info!(folder = %path.display(), "removing what a process left behind");
            let folder = staging.join(name);
            if let Ok(id) = fs::read_to_string(beside(&folder, LAYER)) {
                self.remove_unrecorded(&id)?;
            }
            let description = descriptions(&self.home).join(format!("{name}.tar-split.gz"));
            remove(&folder, &description);
        }
        Ok(())
    }

    /// Removes the files of a layer, unless somebody has recorded it.
    fn remove_unrecorded(&self, id: &str) -> Result<()> {
        let _lock = Lock::exclusive(&self.home.layers_lock())?;
        let list: Vec<LayerRecord> = records::read(&self.home.layers_list())?;
        if !list.iter().any(|layer| layer.id == id) {
            remove_layer_files(&self.home, id);
        }
        Ok(())
    }
}

impl Staged {
    /// Returns the folder with the files.
    pub(crate) fn files(&self) -> PathBuf {
        match self.driver {
            Driver::Overlay => self.folder.join("diff"),
            // One level deeper: the folder itself belongs to whoever stages.
            Driver::Vfs => self.folder.join("files"),
        }
    }

    /// Notes which layer it is about to become, for whoever cleans up.
    pub(crate) fn note_layer(&self, id: &str) -> Result<()> {
        let path = beside(&self.folder, LAYER);
        fs::write(&path, id).map_err(Error::file("write", &path))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        remove(&self.folder, &self.description);
    }
}

/// Removes what belongs to a staged layer; what is gone already is no matter. The lock goes last: what
/// is left without it would never be found.
fn remove(folder: &Path, description: &Path) {
    let gone = [
        fs::remove_dir_all(folder),
        fs::remove_file(description),
        fs::remove_file(description.with_extension(TABLE)),
        fs::remove_file(beside(folder, LAYER)),
        fs::remove_file(beside(folder, "lock")),
    ];
    for error in gone.into_iter().filter_map(std::result::Result::err) {
        if error.kind() != std::io::ErrorKind::NotFound {
            tracing::warn!(folder = %folder.display(), %error, "a staged layer could not be removed");
        }
    }
}

/// Returns the file beside a staged folder.
fn beside(folder: &Path, what: &str) -> PathBuf {
    folder.with_extension(what)
}

/// Returns the folder in which layers are unpacked: a place from which they can be renamed, since
/// the driver's folder may be a mount of its own. No driver takes its name for a layer.
fn staging(home: &Home) -> PathBuf {
    home.driver_folder().join("dhow-staging")
}

/// Returns the folder in which descriptions are written.
fn descriptions(home: &Home) -> PathBuf {
    home.layers_folder().join("dhow-staging")
}

/// COMPAT(podman): the mode of the root of an image that does not say it.
pub(crate) const ROOT_MODE: u32 = 0o555;

/// What the file with the table is called, beside the description.
const TABLE: &str = "table";

/// What the file is called that says which layer a staged folder becomes.
const LAYER: &str = "layer";
