//! Giving a layer back as the archive it came in.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::{Error, Result};
use crate::open::Store;
use crate::records::LayerRecord;
use crate::stage::Staged;
use crate::tar_split::Merged;

/// The uncompressed archive of a layer. A file of the layer that was changed since is an error.
#[derive(Debug)]
pub struct LayerReader(Merged);

impl Store {
    /// Opens a layer for reading.
    ///
    /// # Errors
    /// When the store does not have what it takes to make the archive again.
    pub fn read_layer(&self, layer: &LayerRecord) -> Result<LayerReader> {
        let Some(home) = self.home_of(&layer.id) else {
            return Err(Error::NotFound(format!(
                "the files of layer `{}` are gone",
                layer.id
            )));
        };
        let description = home.description(&layer.id);
        let file = match File::open(&description) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotFound(format!(
                    "layer `{}` has no tar-split data, by which its archive could be made again",
                    layer.id
                )));
            }
            Err(error) => return Err(Error::file("read", &description)(error)),
        };
        let files = home.layer_files(&layer.id);
        let open = opener(&files)?;
        Ok(LayerReader(Merged::new(file, Box::new(open))))
    }
}

impl Store {
    /// Returns whether the store has what it takes to read a layer.
    pub fn can_read(&self, layer: &LayerRecord) -> bool {
        let home = self.home_of(&layer.id);
        home.is_some_and(|home| home.description(&layer.id).is_file())
    }

    /// Opens a layer that is unpacked and not visible yet.
    ///
    /// # Errors
    /// When its files cannot be opened.
    pub fn read_staged(&self, staged: &Staged) -> Result<LayerReader> {
        let description = &staged.description;
        let file = File::open(description).map_err(Error::file("read", description))?;
        let open = opener(&staged.files())?;
        Ok(LayerReader(Merged::new(file, Box::new(open))))
    }
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Returns what opens the files of a layer. No name leads out of it.
fn opener(files: &PathBuf) -> Result<impl FnMut(&[u8]) -> io::Result<File> + Send + use<>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(files, flags, Mode::empty());
    let folder = folder.map_err(Error::call("open", files))?;
    Ok(move |name: &[u8]| {
        let name = name.strip_prefix(b"/").unwrap_or(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(&folder, name, flags, Mode::empty(), resolve);
        let opened = opened.map(File::from).map_err(|errno| {
            let error = io::Error::from(errno);
            let shown = String::from_utf8_lossy(name).escape_debug().to_string();
            io::Error::new(
                error.kind(),
                format!("file `{shown}` of the layer: {error}"),
            )
        })?;
        Ok(opened)
    })
}
